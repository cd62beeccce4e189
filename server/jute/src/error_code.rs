//! The errors a reply header, a multi result or an `error` transaction can carry.

use crate::record::numbers;

numbers! {
    /// An error of the client protocol. Success is 0 on the wire and no value of this type.
    ErrorCode is "an error code" {
        /// Something failed in the server.
        SystemError = -1,
        /// In a failed multi: this operation was not tried.
        RuntimeInconsistency = -2,
        /// Data do not fit together.
        DataInconsistency = -3,
        /// Client side only: the connection broke, the outcome is unknown.
        ConnectionLoss = -4,
        /// The request could not be read.
        MarshallingError = -5,
        /// No such operation here.
        Unimplemented = -6,
        /// Client side only: no answer in time.
        OperationTimeout = -7,
        /// A path, flag or number is not allowed.
        BadArguments = -8,
        /// The session is not known.
        UnknownSession = -12,
        /// No quorum of the new configuration is in sync.
        NewConfigNoQuorum = -13,
        /// Another reconfiguration has not committed yet.
        ReconfigInProgress = -14,
        /// Bound of the errors below; not sent.
        ApiError = -100,
        /// The znode, or the parent of a new one, does not exist.
        NoNode = -101,
        /// The ACL does not allow it.
        NoAuth = -102,
        /// The version is not the expected one.
        BadVersion = -103,
        /// The parent is ephemeral.
        NoChildrenForEphemerals = -108,
        /// The znode exists already.
        NodeExists = -110,
        /// The znode has children.
        NotEmpty = -111,
        /// The session is gone.
        SessionExpired = -112,
        /// Client side only.
        InvalidCallback = -113,
        /// The ACL is empty or unknown.
        InvalidAcl = -114,
        /// Authentication failed.
        AuthFailed = -115,
        /// The session belongs to another connection now.
        SessionMoved = -118,
        /// A write on a read-only server.
        NotReadOnly = -119,
        /// A local session cannot own ephemerals.
        EphemeralOnLocalSession = -120,
        /// No such watch.
        NoWatcher = -121,
        /// Client side only.
        RequestTimeout = -122,
        /// Reconfiguration is switched off.
        ReconfigDisabled = -123,
        /// This server wants SASL first.
        SessionClosedRequireSaslAuth = -124,
        /// A quota would be exceeded.
        QuotaExceeded = -125,
        /// Waited too long in the server.
        ThrottledOp = -127,
    }
}

impl std::error::Error for ErrorCode {}

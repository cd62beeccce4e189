//! The operations of the client protocol and the transaction types of the log: one set of numbers.

use crate::record::numbers;

numbers! {
    /// An operation (`RequestHeader.type`) or a transaction type (`TxnHeader.type`).
    OpCode is "an operation" {
        /// Transaction type of a write that failed; body is the error code.
        Error = -1,
        /// Internal: a client never sends it.
        CreateSession = -10,
        /// Ends a session.
        CloseSession = -11,
        /// Server to client only.
        Notification = 0,
        /// Creates a znode, answers its path.
        Create = 1,
        /// Deletes a znode.
        Delete = 2,
        /// Stat of a znode.
        Exists = 3,
        /// Data and Stat.
        GetData = 4,
        /// Replaces data.
        SetData = 5,
        /// ACL and Stat.
        GetAcl = 6,
        /// Replaces the ACL.
        SetAcl = 7,
        /// Names of the children.
        GetChildren = 8,
        /// Flushes the way from the leader.
        Sync = 9,
        /// Keeps the session alive.
        Ping = 11,
        /// Names of the children and Stat.
        GetChildren2 = 12,
        /// Version check, in a multi only.
        Check = 13,
        /// Atomic list of writes.
        Multi = 14,
        /// Create that answers path and Stat.
        Create2 = 15,
        /// Changes the membership.
        Reconfig = 16,
        /// Asks whether a watch is set.
        CheckWatches = 17,
        /// Takes watches back.
        RemoveWatches = 18,
        /// Creates a container znode.
        CreateContainer = 19,
        /// Internal: deletes a childless container or an overdue TTL znode.
        DeleteContainer = 20,
        /// Creates a TTL znode.
        CreateTtl = 21,
        /// List of reads.
        MultiRead = 22,
        /// Adds an identity to the connection.
        Auth = 100,
        /// Re-arms one-shot watches after a reconnect.
        SetWatches = 101,
        /// SASL token.
        Sasl = 102,
        /// Ephemeral znodes of the own session.
        GetEphemerals = 103,
        /// Size of a subtree.
        GetAllChildrenNumber = 104,
        /// Re-arms one-shot and persistent watches.
        SetWatches2 = 105,
        /// Adds a persistent watch.
        AddWatch = 106,
        /// Identities of the connection.
        WhoAmI = 107,
    }
}

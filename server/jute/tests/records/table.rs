//! The golden files and every decoder by the name it has in them.

use bytes::Bytes;
use jute::codec::{Decode, DecodeError, Encode};
use jute::data::{Acl, ClientInfo, Id, Stat, StatPersisted};
use jute::election::{Hello, Notification};
use jute::event::WatcherEvent;
use jute::multi::{MultiHeader, MultiRequest, MultiResponse};
use jute::quorum::{LearnerInfo, QuorumAuthPacket, QuorumPacket};
use jute::request::*;
use jute::response::*;
use jute::txn::*;

/// Decodes and encodes again.
pub(crate) type Again = fn(&[u8]) -> Result<Bytes, DecodeError>;

fn again<'a, T: Decode<'a> + Encode>(bytes: &'a [u8]) -> Result<Bytes, DecodeError> {
    T::decode_all(bytes).map(|value| value.to_bytes())
}

macro_rules! table {
    ($($record:ident: $($name:literal)+;)*) => {
        /// `(name in the golden files, decoder)`.
        pub(crate) const TABLE: &[(&str, Again)] = &[
            $($(($name, |bytes| again::<$record>(bytes)),)+)*
            ("MultiTxn", |bytes| {
                let txn = Txn::decode(jute::OpCode::Multi, &mut jute::Reader::new(bytes))?;
                Ok(txn.to_bytes())
            }),
            ("LogPayload", |bytes| decode_log_payload(bytes).map(|payload| payload.to_bytes())),
        ];
    };
}

table! {
    Id: "Id" "IdCesu8";
    Acl: "Acl";
    Stat: "Stat";
    StatPersisted: "StatPersisted";
    ClientInfo: "ClientInfo";
    ConnectRequest: "ConnectRequest" "ConnectRequestNew" "ConnectRequestNull";
    ConnectResponse: "ConnectResponse";
    AuthPacket: "AuthPacket";
    RequestHeader: "RequestHeader";
    ReplyHeader: "ReplyHeader";
    MultiHeader: "MultiHeader";
    ErrorResponse: "ErrorResponse";
    WatcherEvent: "WatcherEvent";
    CreateRequest: "CreateRequest" "CreateRequestNull" "CreateRequestEmpty";
    CreateTtlRequest: "CreateTtlRequest";
    DeleteRequest: "DeleteRequest";
    ReadRequest: "ExistsRequest" "GetDataRequest" "GetChildrenRequest" "GetChildren2Request";
    SetDataRequest: "SetDataRequest";
    PathRequest: "GetAclRequest" "SyncRequest" "GetEphemeralsRequest" "GetAllChildrenNumberRequest";
    SetAclRequest: "SetAclRequest";
    CheckVersionRequest: "CheckVersionRequest";
    WatchesRequest: "CheckWatchesRequest" "RemoveWatchesRequest";
    AddWatchRequest: "AddWatchRequest";
    SetWatches: "SetWatches";
    SetWatches2: "SetWatches2";
    ReconfigRequest: "ReconfigRequest";
    SaslToken: "SaslToken";
    MultiRequest: "MultiRequest" "MultiRequestEmpty" "MultiReadRequest";
    PathResponse: "CreateResponse" "SyncResponse";
    Create2Response: "Create2Response";
    StatResponse: "ExistsResponse" "SetDataResponse" "SetAclResponse";
    GetDataResponse: "GetDataResponse" "GetDataResponseNull";
    ListResponse: "GetChildrenResponse" "GetEphemeralsResponse";
    GetChildren2Response: "GetChildren2Response";
    GetAclResponse: "GetAclResponse";
    CountResponse: "GetAllChildrenNumberResponse";
    WhoAmIResponse: "WhoAmIResponse";
    MultiResponse: "MultiResponse" "MultiResponseFailed" "MultiReadResponse";
    TxnHeader: "TxnHeader";
    CreateTxn: "CreateTxn";
    CreateTxnV0: "CreateTxnV0";
    CreateTtlTxn: "CreateTtlTxn";
    CreateContainerTxn: "CreateContainerTxn";
    DeleteTxn: "DeleteTxn";
    SetDataTxn: "SetDataTxn";
    SetAclTxn: "SetAclTxn";
    CheckVersionTxn: "CheckVersionTxn";
    CreateSessionTxn: "CreateSessionTxn";
    CloseSessionTxn: "CloseSessionTxn";
    ErrorTxn: "ErrorTxn";
    TxnDigest: "TxnDigest";
    QuorumPacket: "QuorumPacket" "QuorumPacketBare";
    LearnerInfo: "LearnerInfo";
    QuorumAuthPacket: "QuorumAuthPacket";
    FileHeader: "LogFileHeader" "SnapshotFileHeader";
    Hello: "Hello";
    Notification: "Notification";
}

/// The `name hex` lines of a golden file.
pub(crate) fn golden(file: &str) -> Vec<(String, Vec<u8>)> {
    let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').expect(line);
            (name.to_owned(), unhex(hex))
        })
        .collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

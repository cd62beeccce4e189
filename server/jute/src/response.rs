//! What a server sends: the connect response, then reply headers each with its record.

use crate::codec::Trailing;
use crate::data::{Acl, ClientInfo, Stat};
use crate::record::record;

record! {
    /// Answers the connect request. An expired or unknown session is told by timeout 0.
    ConnectResponse<'a> {
        protocol_version: i32,
        /// The timeout granted.
        timeout_ms: i32,
        session_id: i64,
        password: Option<&'a [u8]>,
        /// Answered only to those that sent it.
        read_only: Trailing<bool>,
    }
}

record! {
    /// Stands before every answer but the first. With `err` other than 0 no record follows.
    #[derive(Copy)]
    ReplyHeader {
        xid: i32,
        zxid: i64,
        /// 0 or an [`ErrorCode`](crate::error_code::ErrorCode) number.
        err: i32,
    }
}

record! {
    /// An error as a record: AddWatch's answer, and the body of a failed multi result.
    #[derive(Copy)]
    ErrorResponse { err: i32 }
}

record! {
    /// Create, Sync: the path.
    PathResponse<'a> { path: &'a str }
}

record! {
    /// Create2, CreateTtl, CreateContainer.
    Create2Response<'a> { path: &'a str, stat: Stat }
}

record! {
    /// Exists, SetData, SetAcl.
    #[derive(Copy)]
    StatResponse { stat: Stat }
}

record! {
    /// GetData, Reconfig.
    GetDataResponse<'a> { data: Option<&'a [u8]>, stat: Stat }
}

record! {
    /// GetChildren, GetEphemerals: a list of names or paths.
    ListResponse<'a> { items: Vec<&'a str> }
}

record! {
    /// GetChildren2.
    GetChildren2Response<'a> { children: Vec<&'a str>, stat: Stat }
}

record! {
    /// GetAcl.
    GetAclResponse<'a> { acl: Vec<Acl<'a>>, stat: Stat }
}

record! {
    /// GetAllChildrenNumber.
    #[derive(Copy)]
    CountResponse { count: i32 }
}

record! {
    /// WhoAmI.
    WhoAmIResponse<'a> { client_info: Vec<ClientInfo<'a>> }
}

//! Who may do what: ACL lists, the schemes of their entries, and the check against what a
//! connection has proved of its identity.
//!
//! Schemes: `world:anyone`, `auth` (only when given: it becomes the ids of the giver),
//! `digest:user:base64(SHA1(user:password))`, `ip:address[/bits]`, and any other that a connection
//! was authenticated with, compared literally. An id of scheme `super` may do everything.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use jute::codec::encode_vector;
use jute::data::{Acl, Id, permission};
use jute::{Encode, ErrorCode, OwnedId};
use sha1::{Digest as _, Sha1};

/// One entry of an ACL list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// Bits of [`permission`].
    pub perms: i32,
    /// The scheme.
    pub scheme: Box<str>,
    /// The id, in the form of the scheme.
    pub id: Box<str>,
}

impl AclEntry {
    fn is_anyone(&self) -> bool {
        &*self.scheme == "world" && &*self.id == "anyone"
    }

    fn borrowed(&self) -> Acl<'_> {
        Acl { perms: self.perms, id: Id { scheme: &self.scheme, id: Cow::Borrowed(&self.id) } }
    }
}

impl From<&Acl<'_>> for AclEntry {
    fn from(acl: &Acl<'_>) -> Self {
        Self { perms: acl.perms, scheme: acl.id.scheme.into(), id: acl.id.id.as_ref().into() }
    }
}

/// An ACL list. Cheap to clone; the open list, by far the most common, holds nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclList(Option<Arc<[AclEntry]>>);

impl AclList {
    /// `world:anyone` may do everything.
    pub const OPEN: Self = Self(None);

    /// A list of entries.
    #[must_use]
    pub fn new(entries: Vec<AclEntry>) -> Self {
        match &entries[..] {
            [entry] if entry.perms == permission::ALL && entry.is_anyone() => Self::OPEN,
            _ => Self(Some(entries.into())),
        }
    }

    /// Takes over a list from the wire.
    #[must_use]
    pub fn from_wire(entries: &[Acl<'_>]) -> Self {
        match entries {
            [entry] if *entry == Acl::OPEN => Self::OPEN,
            _ => Self::new(entries.iter().map(AclEntry::from).collect()),
        }
    }

    /// True for [`AclList::OPEN`].
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// The entries in the form of the wire.
    #[must_use]
    pub fn to_wire(&self) -> Vec<Acl<'_>> {
        match &self.0 {
            None => vec![Acl::OPEN],
            Some(entries) => entries.iter().map(AclEntry::borrowed).collect(),
        }
    }

    /// Checks that one of `ids` has one of the permissions `perms`. A list without entries, which
    /// only very old servers accepted, permits everything, as in Java.
    ///
    /// # Errors
    /// `NoAuth`.
    #[inline]
    pub fn check(&self, perms: i32, ids: &[OwnedId]) -> Result<(), ErrorCode> {
        match &self.0 {
            None => Ok(()),
            Some(entries) if permits(entries, perms, ids) => Ok(()),
            Some(_) => Err(ErrorCode::NoAuth),
        }
    }

    /// The list as it is shown to those without ADMIN: the hash of digest ids is hidden.
    #[must_use]
    pub fn masked(&self) -> Self {
        let Some(entries) = &self.0 else {
            return Self::OPEN;
        };
        let mask = |entry: &AclEntry| match entry.id.split_once(':') {
            Some((user, _)) if &*entry.scheme == "digest" => {
                AclEntry { id: format!("{user}:x").into(), ..entry.clone() }
            }
            _ => entry.clone(),
        };
        Self::new(entries.iter().map(mask).collect())
    }
}

impl Encode for AclList {
    fn encode(&self, out: &mut BytesMut) {
        match &self.0 {
            None => encode_vector([Acl::OPEN].into_iter(), out),
            Some(entries) => encode_vector(entries.iter().map(AclEntry::borrowed), out),
        }
    }
}

fn permits(entries: &[AclEntry], perms: i32, ids: &[OwnedId]) -> bool {
    entries.is_empty()
        || ids.iter().any(|id| id.scheme == "super")
        || entries.iter().any(|entry| {
            entry.perms & perms != 0
                && (entry.is_anyone() || ids.iter().any(|id| matches(entry, id)))
        })
}

fn matches(entry: &AclEntry, id: &OwnedId) -> bool {
    if id.scheme != *entry.scheme {
        return false;
    }
    match &*entry.scheme {
        "ip" => Network::parse(&entry.id).is_some_and(|network| network.contains(&id.id)),
        _ => id.id == *entry.id,
    }
}

/// Turns the list of a create or setACL request into the one to store: duplicates dropped, `auth`
/// replaced by the ids of the asker that were authenticated (not `ip`), everything else checked.
///
/// # Errors
/// `InvalidAcl` when the list is null or empty, a scheme is unknown, an id does not have the form
/// of its scheme, or `auth` was given by someone with no authenticated id.
pub fn fix_up(acl: Option<&[Acl<'_>]>, ids: &[OwnedId]) -> Result<AclList, ErrorCode> {
    let given = acl.unwrap_or_default();
    if let [entry] = given
        && *entry == Acl::OPEN
    {
        return Ok(AclList::OPEN);
    }
    if given.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    let mut entries = Vec::with_capacity(given.len());
    for (index, entry) in given.iter().enumerate() {
        if given[..index].contains(entry) {
            continue;
        }
        match (entry.id.scheme, entry.id.id.as_ref()) {
            ("world", "anyone") => entries.push(entry.into()),
            ("auth", _) => {
                let before = entries.len();
                entries.extend(ids.iter().filter(|id| is_authenticated(id)).map(|id| AclEntry {
                    perms: entry.perms,
                    scheme: id.scheme.as_str().into(),
                    id: id.id.as_str().into(),
                }));
                if entries.len() == before {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            ("digest", id) if is_digest(id) => entries.push(entry.into()),
            ("ip", id) if Network::parse(id).is_some() => entries.push(entry.into()),
            // Whoever holds an id of such a scheme was let in by its provider.
            ("sasl" | "x509", id) if !id.is_empty() => entries.push(entry.into()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(AclList::new(entries))
}

/// An address alone proves nothing, and `super` is not a scheme an ACL may name.
fn is_authenticated(id: &OwnedId) -> bool {
    !matches!(id.scheme.as_str(), "ip" | "super" | "world")
}

/// `user:hash` with both parts; Java forgives colons behind them.
fn is_digest(id: &str) -> bool {
    let mut parts = id.trim_end_matches(':').split(':');
    matches!((parts.next(), parts.next(), parts.next()), (Some(_), Some(_), None))
}

/// The digest id of `user:password`, in the form in which ACLs name it.
#[must_use]
pub fn digest_id(user_password: &str) -> String {
    let user = user_password.split_once(':').map_or(user_password, |(user, _)| user);
    format!("{user}:{}", BASE64.encode(Sha1::digest(user_password)))
}

/// The ids that an auth request of scheme `digest` adds to its connection: its digest, and `super`
/// before it when that digest equals `super_digest`.
#[must_use]
pub fn authenticate_digest(auth: &[u8], super_digest: Option<&str>) -> Vec<OwnedId> {
    let digest = digest_id(&String::from_utf8_lossy(auth));
    let mut ids = Vec::new();
    if super_digest == Some(digest.as_str()) {
        ids.push(OwnedId { scheme: "super".into(), id: String::new() });
    }
    ids.push(OwnedId { scheme: "digest".into(), id: digest });
    ids
}

/// An address with the number of leading bits that count.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(Self { address, bits })
    }

    fn contains(self, address: &str) -> bool {
        match (self.address, address.parse()) {
            (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32, scheme: &'static str, id: &'static str) -> Acl<'static> {
        Acl { perms, id: Id { scheme, id: Cow::Borrowed(id) } }
    }

    fn id(scheme: &str, id: &str) -> OwnedId {
        OwnedId { scheme: scheme.into(), id: id.into() }
    }

    #[test]
    fn digests_are_those_of_java() {
        assert_eq!(digest_id("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        let ids = authenticate_digest(b"super:test", Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU="));
        assert_eq!(ids[0], id("super", ""));
        assert_eq!(ids[1].scheme, "digest");
        assert_eq!(authenticate_digest(b"super:test", None).len(), 1);
    }

    #[test]
    fn permissions_come_from_any_matching_entry() {
        let list = AclList::from_wire(&[
            acl(permission::READ, "world", "anyone"),
            acl(permission::WRITE, "digest", "u:h"),
            acl(permission::CREATE, "ip", "10.1.0.0/16"),
            acl(permission::DELETE, "ip", "fd00::/8"),
        ]);
        let user = [id("ip", "10.1.2.3"), id("digest", "u:h")];
        assert!(list.check(permission::READ, &[]).is_ok());
        assert_eq!(list.check(permission::WRITE, &[]), Err(ErrorCode::NoAuth));
        assert!(list.check(permission::WRITE, &user).is_ok());
        assert!(list.check(permission::CREATE, &user).is_ok());
        assert!(list.check(permission::CREATE, &[id("ip", "10.2.0.1")]).is_err());
        assert!(list.check(permission::DELETE, &[id("ip", "fd12::1")]).is_ok());
        assert!(list.check(permission::DELETE, &user).is_err());
        assert!(list.check(permission::ADMIN | permission::READ, &[]).is_ok());
        assert!(list.check(permission::ADMIN, &[id("super", "")]).is_ok());
    }

    #[test]
    fn fix_up_expands_auth_and_refuses_what_no_scheme_knows() {
        let ids = [id("ip", "1.2.3.4"), id("digest", "u:h"), id("digest", "v:i")];
        let auth = [acl(3, "auth", "")];
        let fixed = fix_up(Some(&auth), &ids).unwrap();
        assert_eq!(fixed.to_wire(), [acl(3, "digest", "u:h"), acl(3, "digest", "v:i")]);
        assert_eq!(fix_up(Some(&auth), &ids[..1]), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_up(None, &ids), Err(ErrorCode::InvalidAcl));
        assert_eq!(fix_up(Some(&[]), &ids), Err(ErrorCode::InvalidAcl));
        for bad in [
            acl(31, "world", "nobody"),
            acl(31, "digest", "u"),
            acl(31, "digest", "a:b:c"),
            acl(31, "digest", "u:"),
            acl(31, "ip", "1.2.3"),
            acl(31, "ip", "1.2.3.4/33"),
            acl(31, "ip", "1.2.3.4/x"),
            acl(31, "super", ""),
            acl(31, "foo", "bar"),
        ] {
            assert_eq!(fix_up(Some(&[bad]), &ids), Err(ErrorCode::InvalidAcl));
        }
        let twice = [acl(31, "world", "anyone"), acl(31, "world", "anyone")];
        assert!(fix_up(Some(&twice), &ids).unwrap().is_open());
    }

    #[test]
    fn masking_hides_only_the_hash_of_digests() {
        let list = AclList::from_wire(&[acl(1, "digest", "u:h:k"), acl(1, "ip", "::1")]);
        assert_eq!(list.masked().to_wire(), [acl(1, "digest", "u:x"), acl(1, "ip", "::1")]);
    }
}

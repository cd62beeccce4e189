//! One line `server.N=host:quorumPort:electionPort[:role][;[clientAddress:]clientPort]`.

use std::fmt;

use zab::Membership;

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port, at least 1.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

/// A host as it stands before a `:`.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// One member of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its host, resolved anew for every connection.
    pub host: String,
    /// Where it accepts learners while it leads.
    pub quorum_port: u16,
    /// Where it accepts election connections.
    pub election_port: u16,
    /// Its part.
    pub membership: Membership,
    /// Where it serves clients, when its line says so.
    pub client: Option<HostPort>,
}

/// What a `server.N` line looks like.
pub(crate) const EXPECTED: &str =
    "host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]";

impl Member {
    /// Reads the value of a `server.N` line.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('|') {
            return Err("several addresses per server are not supported".to_owned());
        }
        let mut parts = text.split(';').map(str::trim);
        let address = parts.next().unwrap_or_default();
        let client = match parts.next() {
            None | Some("") => None,
            Some(client) => Some(parse_client(client)?),
        };
        if parts.next().is_some() {
            return Err("a second ';' (secure client port) is not supported".to_owned());
        }
        let (host, rest) = split_host(address)?;
        let mut fields = rest.split(':');
        let mut port = |name: &str| {
            let field = fields.next().ok_or(format!("the {name} is missing"))?;
            parse_port(name, field)
        };
        let quorum_port = port("quorumPort")?;
        let election_port = port("electionPort")?;
        let membership = match fields.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("participant") => Membership::Voter,
            Some("observer") => Membership::Observer,
            Some(other) => return Err(format!("the role is {other:?}")),
        };
        if let Some(more) = fields.next() {
            return Err(format!("{more:?} follows the role"));
        }
        Ok(Self { host, quorum_port, election_port, membership, client })
    }

    /// Where it accepts learners.
    #[must_use]
    pub fn quorum_address(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.quorum_port }
    }

    /// Where it accepts election connections.
    #[must_use]
    pub fn election_address(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.election_port }
    }
}

/// As Java prints it in the configuration text: the role is always there.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.membership {
            Membership::Voter => "participant",
            Membership::Observer => "observer",
        };
        let host = Bracketed(&self.host);
        write!(f, "{host}:{}:{}:{role}", self.quorum_port, self.election_port)?;
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

/// Splits `host:rest`, where the host may be an IPv6 address in brackets.
fn split_host(text: &str) -> Result<(String, &str), String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']').ok_or("a ']' is missing")?;
            (host, rest.strip_prefix(':').unwrap_or(rest))
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if rest.is_empty() {
        return Err("the ports are missing".to_owned());
    }
    Ok((host.to_owned(), rest))
}

fn parse_client(text: &str) -> Result<HostPort, String> {
    match text.rsplit_once(':') {
        // Java: without an address, all of them.
        None => Ok(HostPort { host: "0.0.0.0".to_owned(), port: parse_port("clientPort", text)? }),
        Some(_) => {
            let (host, port) = split_host(text)?;
            Ok(HostPort { host, port: parse_port("clientPort", port)? })
        }
    }
}

fn parse_port(name: &str, text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("the {name} is {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_prints_as_java_prints_it() {
        for (line, printed) in [
            ("zk1:2888:3888", "zk1:2888:3888:participant"),
            ("zk1:2888:3888:observer", "zk1:2888:3888:observer"),
            ("zk1:2888:3888;2181", "zk1:2888:3888:participant;0.0.0.0:2181"),
            ("zk1:1:2:PARTICIPANT;10.0.0.1:2181", "zk1:1:2:participant;10.0.0.1:2181"),
            ("[fd00::1]:1:2;[::]:3", "[fd00::1]:1:2:participant;[::]:3"),
        ] {
            assert_eq!(Member::parse(line).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        for (line, why) in [
            ("zk1", "the ports are missing"),
            (":1:2", "the host is missing"),
            ("zk1:2888", "the electionPort is missing"),
            ("zk1:2888:x", "the electionPort is \"x\""),
            ("zk1:0:1", "the quorumPort is \"0\""),
            ("zk1:1:2:boss", "the role is \"boss\""),
            ("zk1:1:2:observer:3", "\"3\" follows the role"),
            ("zk1:1:2;70000", "the clientPort is \"70000\""),
            ("zk1:1:2|zk2:1:2", "several addresses per server are not supported"),
            ("[::1:1:2", "a ']' is missing"),
            ("a:1:2;3;4", "a second ';' (secure client port) is not supported"),
        ] {
            assert_eq!(Member::parse(line), Err(why.to_owned()), "{line}");
        }
    }
}

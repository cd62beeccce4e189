//! What all connections between servers have in common: names resolved for every dial, options, listeners.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::config::{HostPort, QuorumListen};

/// Pause between two tries to bind a port.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Connects to `address`, whose name is looked up now: a server that moved is found under its new address. Tries all
/// addresses of the name, `limit` for all of them together.
///
/// # Errors
/// Why no connection came about; names the address.
pub async fn dial(address: &HostPort, limit: Duration) -> io::Result<TcpStream> {
    let attempt = async {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in lookup_host((address.host.as_str(), address.port)).await? {
            match TcpStream::connect(resolved).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    };
    let outcome = match timeout(limit, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    };
    outcome.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Sets the options of a connection between servers: no delay, and an end to it when the other side acknowledges
/// nothing for `silence`. Without the latter a connection that outlives a partition would sleep in TCP's
/// retransmission pauses for up to minutes after the partition is over.
///
/// # Errors
/// As the system says; the connection is of no use then.
pub fn prepare(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // The system counts both in whole seconds.
    let second = Duration::from_secs(1);
    let keepalive =
        TcpKeepalive::new().with_time(silence.max(second)).with_interval((silence / 3).max(second));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(silence))
}

/// Listens on the port of `own`, on its own address or on all. Tries up to `tries_max` times (0 = without end), as the
/// own name may take a while to resolve and a predecessor may still hold the port.
///
/// # Errors
/// Why the last try failed; names the address.
pub async fn listen(own: &HostPort, on: QuorumListen, tries_max: u32) -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        let bound = match on {
            QuorumListen::OwnHost => TcpListener::bind((own.host.as_str(), own.port)).await,
            // All addresses of both families, or of the one there is.
            QuorumListen::All => match TcpListener::bind(("::", own.port)).await {
                Ok(listener) => Ok(listener),
                Err(_) => TcpListener::bind(("0.0.0.0", own.port)).await,
            },
        };
        tries += 1;
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) if tries == tries_max => {
                return Err(io::Error::new(error.kind(), format!("{own}: cannot listen: {error}")));
            }
            Err(error) => {
                tracing::warn!(address = %own, %error, "cannot listen yet");
                sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// Pauses that double from `FIRST` to `LAST`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff(Duration);

impl Backoff {
    /// The first pause.
    pub const FIRST: Duration = Duration::from_millis(100);
    /// The longest one.
    pub const LAST: Duration = Duration::from_secs(2);

    /// Begins with the first pause.
    #[must_use]
    pub fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LAST);
        pause
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

//! The request to stop, as a future.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT. Until it exists, both end the process at once.
#[derive(Debug)]
pub struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// Takes over both signals; within a runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next request and names its signal. A second one, while the first is still being carried out,
    /// means: without ceremony.
    pub async fn requested(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_signal_is_reported_and_does_not_kill() {
        let mut shutdown = Shutdown::listen().unwrap();
        let own = std::process::id().to_string();
        for (name, option) in [("SIGTERM", "-TERM"), ("SIGINT", "-INT")] {
            assert!(Command::new("kill").args([option, &own]).status().unwrap().success());
            assert_eq!(shutdown.requested().await, name);
        }
    }
}

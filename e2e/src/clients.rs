//! Clients for tests that are told step by step: they live in a thread of their own, so that sessions stay alive while
//! the test waits for something else.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use client::{Client, Config, Event, EventType, Events, Session};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest wait for an answer or an event before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the clients live.
#[derive(Debug)]
pub struct Clients {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clients {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            // Either a word or the end of the sender.
            let _ = runtime.block_on(stopped);
        });
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// The answer's own, or that there is none in half a minute.
    pub fn wait<T>(&self, answer: impl Future<Output = client::Result<T>>) -> Result<T> {
        let answer = async { tokio::time::timeout(PATIENCE, answer).await };
        Ok(self.runtime.block_on(answer).context("no answer in half a minute")??)
    }

    /// Starts something whose answer is waited for later.
    pub fn start<T: Send + 'static>(
        &self,
        answer: impl Future<Output = client::Result<T>> + Send + 'static,
    ) -> JoinHandle<client::Result<T>> {
        self.runtime.spawn(answer)
    }

    /// A new session with the servers of `addresses` (`host:port,host:port`), tried in this order.
    ///
    /// # Errors
    /// When none takes it.
    pub fn connect(&self, addresses: &str) -> Result<(Client, Events)> {
        self.open(addresses, None)
    }

    /// Goes on with a session, at another server perhaps.
    ///
    /// # Errors
    /// When none takes it, or it has expired.
    pub fn resume(&self, addresses: &str, session: Session) -> Result<(Client, Events)> {
        self.open(addresses, Some(session))
    }

    fn open(&self, addresses: &str, session: Option<Session>) -> Result<(Client, Events)> {
        let config = Config {
            connect_timeout_ms: u64::try_from(PATIENCE.as_millis())?,
            session,
            ..Config::new(addresses)
        };
        self.wait(Client::connect(config)).with_context(|| format!("connect to {addresses}"))
    }

    /// Waits until a watch tells of `event` at `path`.
    ///
    /// # Errors
    /// When it does not in half a minute, or tells something else about this path.
    pub fn expect_watch(&self, events: &mut Events, event: EventType, path: &str) -> Result<()> {
        let told = async {
            loop {
                match events.recv().await {
                    Some(Event::Watch { event, path: at, .. }) if at == path => break Some(event),
                    Some(_) => {}
                    None => break None,
                }
            }
        };
        let told = async { tokio::time::timeout(PATIENCE, told).await };
        let told = self.runtime.block_on(told);
        let told = told.with_context(|| format!("no {event:?} of {path} in half a minute"))?;
        match told {
            Some(told) if told == event => Ok(()),
            Some(told) => bail!("expected {event:?} of {path}, and was told {told:?}"),
            None => bail!("the session ended before {event:?} of {path}"),
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Nothing that lives there panics by itself.
            let _ = thread.join();
        }
    }
}

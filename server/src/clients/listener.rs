//! Accepts client connections, answers four-letter words, and deals the rest out to the shards.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

use super::shard_loop::ShardLoop;
use super::stream;

/// How long a new connection may take to say what it is.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// A four-letter word, or the length of the first frame.
const WORD_BYTES: usize = 4;

/// A connection on its way to a shard on another thread.
#[derive(Debug)]
pub struct Handover {
    /// The socket.
    pub stream: std::net::TcpStream,
    /// The client.
    pub address: SocketAddr,
    /// Bytes read already.
    pub first: BytesMut,
    /// Held while the connection lasts.
    pub slot: Slot,
}

/// Where a shard takes new connections.
pub enum Entrance {
    /// On this thread.
    Here(ShardLoop),
    /// On another thread.
    Elsewhere(UnboundedSender<Handover>),
}

/// How many connections are open, in all and per address; shared by the threads.
#[derive(Debug)]
pub struct Slots {
    per_address_max: usize,
    all_max: usize,
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// One open connection's place in the count.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
}

impl Slots {
    /// Limits of 0 are none.
    #[must_use]
    pub fn new(per_address_max: usize, all_max: usize) -> Arc<Self> {
        Arc::new(Self { per_address_max, all_max, open: Mutex::default() })
    }

    /// Takes a place, or says which limit is reached.
    fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, String> {
        let mut open = self.open.lock();
        let (all, per_address) = &mut *open;
        if self.all_max != 0 && *all >= self.all_max {
            return Err(format!("maxCnxns: {} connections are open", self.all_max));
        }
        let here = per_address.entry(address).or_default();
        if self.per_address_max != 0 && *here >= self.per_address_max {
            let max = self.per_address_max;
            return Err(format!("maxClientCnxns: {max} connections from {address} are open"));
        }
        *all += 1;
        *here += 1;
        Ok(Slot { slots: self.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        let (all, per_address) = &mut *open;
        *all -= 1;
        if let Some(here) = per_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                per_address.remove(&self.address);
            }
        }
    }
}

/// Answers a four-letter word; `None` when the bytes are none.
pub type Words = Rc<dyn Fn([u8; WORD_BYTES]) -> Option<String>>;

/// Accepts connections for as long as the server lives.
pub struct Acceptor {
    /// Where clients connect.
    pub listener: TcpListener,
    /// The limits.
    pub slots: Arc<Slots>,
    /// Shards, dealt to in turn.
    pub entrances: Rc<Vec<Entrance>>,
    /// The four-letter words.
    pub words: Words,
    /// Connections turned away.
    pub rejected: Rc<Cell<u64>>,
}

impl Acceptor {
    /// Runs until its task is dropped.
    pub async fn run(self) {
        let mut turn = 0;
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, for instance: accepting again at once would only spin.
                    tracing::warn!(%error, "a client connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match self.slots.take(address.ip()) {
                Ok(slot) => {
                    let (entrances, words) = (self.entrances.clone(), self.words.clone());
                    tokio::task::spawn_local(async move {
                        greet(stream, address, slot, &entrances[turn % entrances.len()], &words)
                            .await;
                    });
                    turn = turn.wrapping_add(1);
                }
                Err(why) => {
                    self.rejected.set(self.rejected.get() + 1);
                    tracing::warn!(%address, why, "client connection refused");
                }
            }
        }
    }
}

/// Reads the first four bytes: they decide what kind of connection it is.
async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    slot: Slot,
    entrance: &Entrance,
    words: &Words,
) {
    let first = tokio::time::timeout(FIRST_BYTES_TIMEOUT, first_bytes(&stream)).await;
    let Ok(Ok(Some(first))) = first else { return };
    if let Ok(word) = <[u8; WORD_BYTES]>::try_from(&first[..WORD_BYTES])
        && let Some(answer) = words(word)
    {
        let _ = answer_word(stream, &answer).await;
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "client connection ended");
        return;
    }
    match entrance {
        Entrance::Here(shard) => {
            stream::serve(stream, address, first, shard.clone()).await;
            drop(slot);
        }
        Entrance::Elsewhere(queue) => {
            if let Ok(stream) = stream.into_std() {
                // A shard is gone only when the process ends.
                let _ = queue.send(Handover { stream, address, first, slot });
            }
        }
    }
}

/// At least four bytes, or `None` when the stream ends before.
async fn first_bytes(stream: &TcpStream) -> io::Result<Option<BytesMut>> {
    let mut first = BytesMut::with_capacity(4096);
    while first.len() < WORD_BYTES {
        stream.readable().await?;
        match stream.try_read_buf(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(first))
}

async fn answer_word(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

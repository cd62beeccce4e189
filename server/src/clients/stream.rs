//! The socket of one client: bytes in, bytes out, one task.
//!
//! One read takes whatever has come, all whole frames in it are handled, one write sends all answers.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use replica::ConnectionId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::shard_loop::{Flow, ShardLoop};

/// Room made for one read: some hundred pipelined small requests.
const READ_BYTES: usize = 16 * 1024;

/// Serves a connection to its end. `first` holds bytes that were read already.
pub async fn serve(stream: TcpStream, address: SocketAddr, first: BytesMut, shard: ShardLoop) {
    let (connection, waker) = shard.open(address);
    let mut client = ClientStream { stream, connection, waker, shard, input: first };
    match client.run().await {
        Ok(()) => {}
        Err(End::Io(error)) => tracing::debug!(%address, %error, "client connection ended"),
        Err(End::Fault(why)) => tracing::warn!(%address, why, "client connection closed"),
    }
    client.shard.closed(connection);
}

/// Waits until something has come and reads it; 0 bytes are the end of the stream. A read that does not fill the room
/// is known to have taken everything: no second one is tried for nothing.
async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<usize> {
    input.reserve(READ_BYTES);
    stream.read_buf(input).await
}

enum End {
    Io(io::Error),
    Fault(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct ClientStream {
    stream: TcpStream,
    connection: ConnectionId,
    waker: Rc<Notify>,
    shard: ShardLoop,
    input: BytesMut,
}

impl ClientStream {
    async fn run(&mut self) -> Result<(), End> {
        let mut output = BytesMut::new();
        loop {
            self.receive().await?;
            let flow = self.shard.take_output(self.connection, &mut output);
            if !output.is_empty() {
                self.write(&mut output).await?;
            }
            if flow == Flow::Closing {
                self.stream.shutdown().await?;
                return Ok(());
            }
            let may_receive = self.shard.may_receive(self.connection);
            tokio::select! {
                biased;
                () = self.waker.notified() => {}
                read = read(&mut self.stream, &mut self.input), if may_receive => {
                    match read? {
                        0 => return Ok(()),
                        bytes => self.shard.count_received(bytes),
                    }
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<(), End> {
        if self.input.is_empty() {
            return Ok(());
        }
        let received = self.shard.receive(self.connection, &mut self.input).await;
        received.map_err(|fault| End::Fault(fault.0))
    }

    async fn write(&mut self, output: &mut BytesMut) -> Result<(), End> {
        while output.has_remaining() {
            // Nearly always there is room: trying first saves a wait.
            match self.stream.try_write(output) {
                Ok(written) => {
                    output.advance(written);
                    self.shard.count_sent(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        output.clear();
        Ok(())
    }
}

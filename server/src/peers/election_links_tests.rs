//! Server 2 against real sockets: another instance, or a raw one that plays a Java server.

use super::*;
use crate::peers::testing::{Heard, member, notification, run};

const TEXT: &str = "version=0";

/// Listeners for the election ports of servers 1, 2 and 3.
struct Ports {
    listeners: BTreeMap<u64, TcpListener>,
    members: BTreeMap<ServerId, Member>,
}

impl Ports {
    async fn open() -> Self {
        let (mut listeners, mut members) = (BTreeMap::new(), BTreeMap::new());
        for id in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            members.insert(ServerId(id), member(1, port));
            listeners.insert(id, listener);
        }
        Self { listeners, members }
    }

    fn take(&mut self, id: u64) -> TcpListener {
        self.listeners.remove(&id).unwrap()
    }

    fn start(&mut self, me: u64) -> (ElectionLinks, Heard) {
        let heard = Heard::default();
        let settings = Settings {
            me: ServerId(me),
            members: self.members.clone(),
            config_text: TEXT.to_owned(),
            connect_timeout: Duration::from_secs(5),
        };
        (ElectionLinks::start(settings, self.take(me), heard.clone()), heard)
    }

    /// A raw connection to server `id`.
    async fn connect(&self, id: u64) -> TcpStream {
        let port = self.members[&ServerId(id)].election_port;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

fn hello(id: i64) -> Bytes {
    Hello { server_id: id, addresses: vec!["127.0.0.1:1"] }.to_bytes()
}

/// The round of the next notification on a raw connection.
async fn round(stream: &mut TcpStream) -> u64 {
    let length = stream.read_i32().await.unwrap();
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    assert!(body.ends_with(TEXT.as_bytes()));
    wire::decode_notification(&body).unwrap().round
}

/// Waits until the other side has hung up; whatever it still sent does not count.
async fn hung_up(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest).await;
}

#[test]
fn two_servers_hear_each_other_whoever_starts_first() {
    run(async {
        let mut ports = Ports::open().await;
        let (one, heard_by_one) = ports.start(1);
        one.notify(ServerId(2), &notification(11));
        let (two, heard_by_two) = ports.start(2);
        two.notify(ServerId(1), &notification(22));
        assert_eq!(heard_by_one.notification().await, (2, 22));
        assert_eq!(heard_by_two.notification().await, (1, 11));
        one.notify(ServerId(2), &notification(12));
        assert_eq!(heard_by_two.notification().await, (1, 12));
    });
}

#[test]
fn the_larger_id_dials_says_hello_in_one_piece_and_keeps_the_connection() {
    run(async {
        let mut ports = Ports::open().await;
        let one = ports.take(1);
        let (two, heard) = ports.start(2);
        two.notify(ServerId(1), &notification(5));
        let (mut stream, _) = one.accept().await.unwrap();
        let address = ports.members[&ServerId(2)].election_address().to_string();
        let expected = Hello { server_id: 2, addresses: vec![&address] }.to_bytes();
        let mut first = vec![0; expected.len()];
        assert_eq!(stream.read(&mut first).await.unwrap(), expected.len());
        assert_eq!(first, expected);
        assert_eq!(round(&mut stream).await, 5);
        stream.write_all(&wire::encode_notification(&notification(6), TEXT)).await.unwrap();
        assert_eq!(heard.notification().await, (1, 6));
    });
}

#[test]
fn a_smaller_id_that_dials_is_dialed_back() {
    run(async {
        let mut ports = Ports::open().await;
        let one = ports.take(1);
        let (two, _) = ports.start(2);
        let mut old = one.accept().await.unwrap().0;
        two.notify(ServerId(1), &notification(5));
        let mut greeting = vec![0; hello(2).len() + 4];
        old.read_exact(&mut greeting).await.unwrap();
        assert_eq!(round(&mut old).await, 5);
        // Server 1 has lost its end without our noticing. A hello that comes too soon after the connection was
        // made counts for nothing, so it says it again, as a server does.
        let mut dialed = ports.connect(2).await;
        dialed.write_all(&hello(1)).await.unwrap();
        hung_up(dialed).await;
        sleep(SETTLED_AFTER).await;
        let mut dialed = ports.connect(2).await;
        dialed.write_all(&hello(1)).await.unwrap();
        hung_up(dialed).await;
        hung_up(old).await;
        let mut new = one.accept().await.unwrap().0;
        new.read_exact(&mut greeting).await.unwrap();
        assert_eq!(round(&mut new).await, 5, "what was said last is said again");
    });
}

#[test]
fn a_hello_and_a_message_may_come_byte_by_byte() {
    run(async {
        let mut ports = Ports::open().await;
        let (two, heard) = ports.start(2);
        let mut three = ports.connect(2).await;
        let message = wire::encode_notification(&notification(9), TEXT);
        for byte in hello(3).iter().chain(&message) {
            three.write_all(&[*byte]).await.unwrap();
            three.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.notification().await, (3, 9));
        two.notify(ServerId(3), &notification(1));
        assert_eq!(round(&mut three).await, 1);
    });
}

#[test]
fn only_the_newest_message_is_sent_and_it_is_sent_again_on_a_new_connection() {
    run(async {
        let mut ports = Ports::open().await;
        let (two, _) = ports.start(2);
        for round in 1..=3 {
            two.notify(ServerId(3), &notification(round));
        }
        let mut three = ports.connect(2).await;
        three.write_all(&hello(3)).await.unwrap();
        assert_eq!(round(&mut three).await, 3);
        drop(three);
        let mut three = ports.connect(2).await;
        three.write_all(&hello(3)).await.unwrap();
        assert_eq!(round(&mut three).await, 3);
        two.notify(ServerId(3), &notification(4));
        assert_eq!(round(&mut three).await, 4);
        // A second connection of the same server takes the place of the first.
        let mut newer = ports.connect(2).await;
        newer.write_all(&hello(3)).await.unwrap();
        assert_eq!(round(&mut newer).await, 4);
        hung_up(three).await;
    });
}

#[test]
fn a_server_that_comes_up_late_is_reached_soon() {
    run(async {
        let mut ports = Ports::open().await;
        let address = ports.take(1).local_addr().unwrap();
        let (two, _) = ports.start(2);
        two.notify(ServerId(1), &notification(8));
        let start = Instant::now();
        let one = TcpListener::bind(address).await.unwrap();
        let mut stream = one.accept().await.unwrap().0;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let mut greeting = vec![0; hello(2).len() + 4];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(round(&mut stream).await, 8);
    });
}

#[test]
fn a_larger_id_has_a_moment_to_dial_before_we_do() {
    run(async {
        let mut ports = Ports::open().await;
        let three = ports.take(3);
        let (_two, heard) = ports.start(2);
        let mut stream = ports.connect(2).await;
        stream.write_all(&hello(3)).await.unwrap();
        stream.write_all(&wire::encode_notification(&notification(9), TEXT)).await.unwrap();
        assert_eq!(heard.notification().await, (3, 9));
        // What it dialed before it was connected; then it waits for the end of that.
        while timeout(2 * Backoff::FIRST, three.accept()).await.is_ok() {}
        let start = Instant::now();
        drop(stream);
        let _dialed = three.accept().await.unwrap();
        assert!(start.elapsed() >= Backoff::FIRST, "{:?}", start.elapsed());
    });
}

#[test]
fn a_server_that_hangs_up_on_us_is_not_dialed_in_a_tight_loop() {
    run(async {
        let mut ports = Ports::open().await;
        let one = ports.take(1);
        let (_two, _) = ports.start(2);
        let start = Instant::now();
        for _ in 0..4 {
            let (stream, _) = one.accept().await.unwrap();
            drop(stream);
        }
        // Between four dials lie pauses of 100, 200 and 400 ms.
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    });
}

#[test]
fn strangers_and_malformed_greetings_are_hung_up_on() {
    run(async {
        let mut ports = Ports::open().await;
        let (_two, heard) = ports.start(2);
        let mut endless = hello(3).to_vec();
        endless[16..20].copy_from_slice(&2049i32.to_be_bytes());
        let mut unknown = hello(3).to_vec();
        unknown[..8].copy_from_slice(&(-7i64).to_be_bytes());
        for greeting in [&hello(9)[..], &hello(2)[..], &endless, &unknown] {
            let mut stream = ports.connect(2).await;
            stream.write_all(greeting).await.unwrap();
            hung_up(stream).await;
        }
        let mut three = ports.connect(2).await;
        three.write_all(&hello(3)).await.unwrap();
        three.write_all(&(ELECTION_FRAME_LIMIT as i32 + 1).to_be_bytes()).await.unwrap();
        hung_up(three).await;
        assert!(heard.is_empty());
    });
}

//! What a server of ours shows to people and machines, and how it answers bad input.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use client::{Acl, CreateMode, Watch};
use e2e::clients::Clients;
use e2e::ensemble::Ensemble;
use e2e::promtool;
use e2e::scratch::{Scratch, ports};
use e2e::server::Kind::Zab;
use e2e::server::{PATIENCE, Server, binary};
use e2e::wait::wait_briefly_for;

#[test]
fn promtool_accepts_the_metrics_of_every_role() {
    let mut ensemble = Ensemble::new("pages", &[Zab, Zab, Zab]).unwrap();
    for id in ensemble.ids() {
        ensemble.start(id).unwrap();
    }
    ensemble.wait_until_serving(&[1, 2, 3]).unwrap();
    ensemble.wait_until_new_leader(&[1, 2, 3]).unwrap();
    let clients = Clients::new().unwrap();
    let (client, _events) = clients.connect(&ensemble.address(1)).unwrap();
    clients.wait(client.create("/a", b"", &[Acl::OPEN], CreateMode::Persistent)).unwrap();
    let mut roles = Vec::new();
    for id in ensemble.ids() {
        let role = ensemble.mode(id).unwrap();
        let server = ensemble.running(id).unwrap();
        assert_eq!(server.page("/livez").unwrap(), (200, "ok\n".to_owned()));
        assert_eq!(server.page("/readyz").unwrap().0, 200);
        let status: serde_json::Value =
            serde_json::from_str(&server.page("/status").unwrap().1).unwrap();
        assert_eq!(status["role"], role.as_str(), "{status}");
        check_metrics(server, &role).unwrap();
        roles.push(role);
    }
    roles.sort();
    assert_eq!(roles, ["follower", "follower", "leader"]);
}

#[test]
fn a_standalone_server_shows_itself_on_its_pages() {
    let (_scratch, server) = standalone("pages-one").unwrap();
    check_metrics(&server, "standalone").unwrap();
    assert_eq!(server.page("/livez").unwrap().0, 200);
    assert_eq!(server.page("/readyz").unwrap(), (200, "ok: standalone\n".to_owned()));
    let port = format!("clientPort={}\n", server.client_address().port());
    assert!(server.word("conf").unwrap().contains(&port));
    assert!(server.word("mntr").unwrap().contains("zk_server_state\tstandalone\n"));
}

#[test]
fn a_server_alone_of_three_is_alive_and_not_ready() {
    let mut ensemble = Ensemble::new("pages-alone", &[Zab, Zab, Zab]).unwrap();
    ensemble.start(1).unwrap();
    let server = ensemble.running(1).unwrap();
    let ready = || server.page("/readyz").map(Some);
    let (status, reason) = wait_briefly_for(PATIENCE, "an answer", ready).unwrap();
    assert_eq!(status, 503, "{reason}");
    assert!(reason.len() > 5, "a reason is given: {reason:?}");
    assert_eq!(server.page("/livez").unwrap().0, 200);
}

#[test]
fn bad_frames_close_their_connection_only_with_one_line_each() {
    let (_scratch, mut server) = standalone("pages-frames").unwrap();
    let clients = Clients::new().unwrap();
    let (client, _events) = clients.connect(&server.client_address().to_string()).unwrap();
    let session = client.session().unwrap();

    // Before a session: a length nobody may send, a negative one, a greeting of nonsense.
    let too_long = 0x0200_0000_i32.to_be_bytes().to_vec();
    let negative = (-2_i32).to_be_bytes().to_vec();
    let nonsense = framed(&[0xff; 9]);
    // In a session: a frame too short for a header, and one beyond jute.maxbuffer. (A header whose body cannot be
    // read is answered with an error, as Java does, and the connection stays.)
    let headless = [greeting(), framed(&[0, 0])].concat();
    let oversized = [greeting(), 0x0010_0000_i32.to_be_bytes().to_vec()].concat();
    let cases = [
        ("too long", too_long),
        ("negative", negative),
        ("nonsense", nonsense),
        ("headless", headless),
        ("oversized", oversized),
    ];
    for (name, bytes) in cases {
        let before = server.log().lines().count();
        let mut socket = TcpStream::connect(server.client_address()).unwrap();
        let own = socket.local_addr().unwrap().to_string();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.write_all(&bytes).unwrap();
        // A reset is an end too.
        let end = socket.read_to_end(&mut Vec::new());
        let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "{name}: the connection is still open");
        let log = server.log();
        let lines: Vec<_> = log.lines().skip(before).collect();
        assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
        assert!(lines[0].contains("WARN") && lines[0].contains(&own), "{name}: {lines:#?}");
    }
    // The other connection has noticed nothing.
    clients.wait(client.create("/a", b"", &[Acl::OPEN], CreateMode::Persistent)).unwrap();
    assert_eq!(client.session(), Some(session));
    assert!(clients.wait(client.exists("/a", Watch::No)).unwrap().is_some());
    assert_eq!(server.page("/livez").unwrap().0, 200);
    server.kill().unwrap();
}

#[test]
fn a_wrong_configuration_is_answered_with_file_line_key_and_what_was_expected() {
    let scratch = Scratch::new("pages-config").unwrap();
    let file = scratch.path().join("zoo.cfg");
    let cases = [
        ("dataDir=/tmp/zab\nclientPort=twelve\n", vec!["zoo.cfg", "2", "clientPort", "twelve"]),
        ("clientPort=2181\n", vec!["zoo.cfg", "dataDir"]),
        ("dataDir=/tmp/zab\nclientPort=2181\nserver.1=nowhere\n", vec!["3", "server.1", "nowhere"]),
    ];
    let refused = |text: &str, variable: Option<(&str, &str)>, words: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(binary().unwrap());
        let output = command.arg(&file).envs(variable).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let line = said.lines().find(|line| line.contains("ERROR")).unwrap_or_default();
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} are not in {said}");
    };
    for (text, words) in cases {
        refused(text, None, &words);
    }
    let good = "dataDir=/tmp/zab\nclientPort=2181\n";
    let words = ["ZAB_TICK_TIME", "tickTime", "fast", "milliseconds"];
    refused(good, Some(("ZAB_TICK_TIME", "fast")), &words);
    let words = ["3", "enforceQuota", "not enforced"];
    refused(&format!("{good}enforceQuota=true\n"), None, &words);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (_scratch, server) = standalone("pages-taken").unwrap();
    let scratch = Scratch::new("pages-late").unwrap();
    let port = server.client_address().port();
    let mut late = Server::start_standalone(Zab, scratch.path(), port).unwrap();
    assert_eq!(late.wait_for_end().unwrap().code(), Some(1), "{}", late.log());
    let said = late.log();
    let line = said.lines().find(|line| line.contains("ERROR")).unwrap();
    assert!(line.contains(&format!("127.0.0.1:{port}")) && line.contains("in use"), "{line}");
}

#[test]
fn a_damaged_directory_is_refused_with_path_and_offset_and_a_torn_tail_is_cut() {
    let (scratch, mut server) = standalone("pages-damage").unwrap();
    let clients = Clients::new().unwrap();
    let (client, _events) = clients.connect(&server.client_address().to_string()).unwrap();
    for path in ["/first", "/second", "/third"] {
        clients.wait(client.create(path, &[7; 100], &[Acl::OPEN], CreateMode::Persistent)).unwrap();
    }
    server.kill().unwrap();
    let log = fs::read_dir(server.data_directory().join("version-2"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."))
        })
        .unwrap();
    let intact = fs::read(&log).unwrap();
    let at = |text: &[u8]| intact.windows(text.len()).position(|part| part == text).unwrap();

    let mut damaged = intact.clone();
    damaged[at(b"/second") + 2] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let port = server.client_address().port();
    let mut refused = Server::start_standalone(Zab, scratch.path(), port).unwrap();
    let status = refused.wait_for_end().unwrap();
    assert_eq!(status.code(), Some(3), "{}", refused.log());
    let said = refused.log();
    let line = said.lines().find(|line| line.contains("ERROR")).unwrap();
    assert!(line.contains(log.to_str().unwrap()) && line.contains("offset"), "{line}");

    // The end of the newest log, torn in the middle of a transaction that was never acknowledged.
    fs::write(&log, &intact[..at(b"/third") + 3]).unwrap();
    let mut cut = Server::start_standalone(Zab, scratch.path(), port).unwrap();
    cut.wait_until_serving().unwrap();
    let (client, _events) = clients.connect(&cut.client_address().to_string()).unwrap();
    let there = |path| clients.wait(client.exists(path, Watch::No)).unwrap().is_some();
    assert!(there("/second") && !there("/third"));
}

fn standalone(name: &str) -> Result<(Scratch, Server)> {
    let scratch = Scratch::new(name)?;
    let mut server = Server::start_standalone(Zab, scratch.path(), ports(1)?[0])?;
    server.wait_until_serving()?;
    Ok((scratch, server))
}

fn check_metrics(server: &Server, role: &str) -> Result<()> {
    let (status, page) = server.page("/metrics")?;
    ensure!(status == 200, "{page}");
    let own = format!("zab_role{{role=\"{role}\"}} 1\n");
    ensure!(page.contains(&own), "{own} is not in {page}");
    promtool::check(&page)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes(), body].concat()
}

/// A request for a new session of 10 s.
fn greeting() -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend(10_000_i32.to_be_bytes());
    body.extend([0; 8]);
    body.extend(16_i32.to_be_bytes());
    body.extend([0; 16]);
    body.push(0);
    framed(&body)
}

//! Good files and what they mean; bad files and the sentence each of them gets.

use std::fs;

use super::identity::{self, Initialize};
use super::*;

const THREE: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/data\n\
                     server.1=zk1.zone.svc:2888:3888;2181\nserver.2=zk2.zone.svc:2888:3888;2181\n\
                     server.3=zk3.zone.svc:2888:3888:observer;2181\n";

fn parse(text: &str) -> Result<Config, Error> {
    let settings = Settings::parse(Path::new("zoo.cfg"), text)?;
    Config::interpret(settings, None, 2)
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_bad_file_is_refused_with_place_key_and_what_was_expected() {
    let ensemble = "dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2\n";
    for (text, sentence) in [
        ("dataDir=/d\nnonsense", "zoo.cfg:2: expected key=value, found \"nonsense\""),
        ("dataDir=", "zoo.cfg:1: dataDir: expected a value, found none"),
        ("clientPort=1", "zoo.cfg: dataDir: missing; expected the directory of snapshots and myid"),
        (
            "tickTime=fast",
            "zoo.cfg:1: tickTime: expected a whole number from 1 to 86400000 (milliseconds), found \"fast\"",
        ),
        (
            "dataDir=/d\nclientPort=70000",
            "zoo.cfg:2: clientPort: expected a whole number from 1 to 65535 (a port), found \"70000\"",
        ),
        (
            "dataDir=/d\nquorumListenOnAllIPs=maybe",
            "zoo.cfg:2: quorumListenOnAllIPs: expected true or false, found \"maybe\"",
        ),
        (
            "dataDir=/d\nminSessionTimeout=9000\nmaxSessionTimeout=8000",
            "zoo.cfg:3: maxSessionTimeout: expected minSessionTimeout to be at most \
             maxSessionTimeout, found 9000 and 8000",
        ),
        (
            &format!("{ensemble}syncLimit=5"),
            "zoo.cfg: initLimit: missing; expected a number of ticks, as there are server.N lines",
        ),
        (
            "dataDir=/d\nserver.one=a:1:2",
            "zoo.cfg:2: server.one: expected a server id from 1 to 255 after the dot",
        ),
        (
            "dataDir=/d\nserver.1=a:1:2\nserver.01=b:1:2",
            "zoo.cfg:2: server.1: expected one line per server, found a second one",
        ),
        (
            "dataDir=/d\nserver.1=a:2888",
            "zoo.cfg:2: server.1: expected host:quorumPort:electionPort[:participant|observer]\
             [;[clientAddress:]clientPort] (the electionPort is missing), found \"a:2888\"",
        ),
        (
            "dataDir=/d\nserver.1=a:1:2:observer\nserver.2=b:1:2:observer",
            "zoo.cfg: server.N: missing; expected at least one participant, found only observers",
        ),
        (
            "dataDir=/d\npeerType=boss",
            "zoo.cfg:2: peerType: expected participant or observer, found \"boss\"",
        ),
        (
            "dataDir=/d\ngroup.1=1:2",
            "zoo.cfg:2: group.1: hierarchical quorums are not supported; remove the group and weight lines",
        ),
        (
            "dataDir=/d\nsecureClientPort=2182",
            "zoo.cfg:2: secureClientPort: TLS is not supported; remove the line",
        ),
        (
            "dataDir=/d\nDigestAuthenticationProvider.superDigest=secret",
            "zoo.cfg:2: DigestAuthenticationProvider.superDigest: expected \
             user:base64(sha1(user:password))",
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert_eq!(error, sentence);
    }
}

#[test]
fn an_ensemble_file_means_what_it_means_to_java() {
    let mut config = parse(THREE).unwrap();
    assert_eq!(
        config.cluster.text(),
        "server.1=zk1.zone.svc:2888:3888:participant;0.0.0.0:2181\n\
         server.2=zk2.zone.svc:2888:3888:participant;0.0.0.0:2181\n\
         server.3=zk3.zone.svc:2888:3888:observer;0.0.0.0:2181\nversion=0"
    );
    assert_eq!(config.warnings, ["2 participants bear no more failures than 1"]);
    assert_eq!(config.cluster.min_session_timeout_ms, 4000);
    assert_eq!(config.cluster.max_session_timeout_ms, 40_000);
    config.adopt(ServerId(3)).unwrap();
    assert_eq!(config.process.client.to_string(), "0.0.0.0:2181");
    assert_eq!(config.process.http.as_ref().unwrap().to_string(), "0.0.0.0:7000");
    assert_eq!(config.protocol(ServerId(3)).ensemble.voters().len(), 2);
    let stranger = config.adopt(ServerId(9)).unwrap_err().to_string();
    assert_eq!(stranger, "zoo.cfg: server.9: missing; expected a line for this server (myid 9)");
}

#[test]
fn a_lonely_server_line_runs_standalone_unless_told_otherwise() {
    let text = "dataDir=/d\nserver.1=a:1:2;2181\n";
    let mut config = parse(text).unwrap();
    assert!(config.cluster.is_standalone());
    config.adopt(ServerId(0)).unwrap();
    assert_eq!(config.process.client.port, 2181);
    let config = parse(&format!("{text}standaloneEnabled=false\n")).unwrap();
    assert!(!config.cluster.is_standalone());
    assert_eq!(config.cluster.init_limit_ticks, 10);
}

#[test]
fn a_server_without_a_client_port_is_refused() {
    let mut config = parse("dataDir=/d").unwrap();
    let error = config.adopt(ServerId(0)).unwrap_err().to_string();
    assert_eq!(error, "zoo.cfg: clientPort: missing; expected a port from 1 to 65535");
    let mut config = parse(&format!("{THREE}clientPort=2182\n")).unwrap();
    let error = config.adopt(ServerId(1)).unwrap_err().to_string();
    assert_eq!(error, "zoo.cfg: clientPort: expected 2181 as server.1 says, found 2182");
}

#[test]
fn unknown_keys_are_named_and_known_ones_are_not() {
    let text = "dataDir=/d\nclientPort=2181\nadmin.enableServer=false\nsnapCuont=3\n\
                zookeeper.jute.maxbuffer=4194304\n4lw.commands.whitelist=ruok, srvr,mntr\nskipACL=no\n";
    let config = parse(text).unwrap();
    assert_eq!(config.warnings, ["zoo.cfg:4: snapCuont is not known here and is ignored"]);
    assert!(config.process.four_letter_words.allow("srvr"), "it is always answered");
    assert_eq!(config.process.frame_bytes_max, 4_194_304);
    assert!(config.process.four_letter_words.allow("mntr"));
    assert!(!config.process.four_letter_words.allow("stat"));
}

#[test]
fn a_key_without_effect_is_named_with_what_holds_instead() {
    let text = "dataDir=/d\nautopurge.purgeInterval=24\nforceSync=no\nleaderServes=yes\n\
                zookeeper.admin.serverPort=8081\nssl.keyStore.location=/k\nenforceQuota=false\n";
    assert_eq!(
        parse(text).unwrap().warnings,
        [
            "zoo.cfg:5: admin.serverPort has no effect: there is no AdminServer; the pages are \
             served on metricsProvider.httpPort",
            "zoo.cfg:2: autopurge.purgeInterval has no effect: old snapshots and logs are deleted \
             after every new snapshot",
            "zoo.cfg:3: forceSync has no effect: every write is on disk before it is acknowledged",
            "zoo.cfg:6: ssl.keyStore.location has no effect: TLS is not supported",
        ]
    );
    let error = parse("dataDir=/d\nenforceQuota=true").unwrap_err().to_string();
    assert_eq!(error, "zoo.cfg:2: enforceQuota: quotas are not enforced; remove the line");
}

#[test]
fn a_log_file_is_as_long_as_pre_alloc_size_says() {
    assert_eq!(parse("dataDir=/d").unwrap().process.segment_bytes, 64 << 20);
    let config = parse("dataDir=/d\npreAllocSize=1024").unwrap();
    assert_eq!(config.process.segment_bytes, 1 << 20);
}

#[test]
fn minus_one_asks_for_the_default_where_it_does_in_java() {
    let text = "dataDir=/d\nclientPortListenBacklog=-1\nminSessionTimeout=-1\ntickTime=1000";
    let config = parse(text).unwrap();
    assert_eq!(config.process.client_backlog, 1024);
    assert_eq!(config.cluster.min_session_timeout_ms, 2000);
}

#[test]
fn shards_leave_one_core_to_the_core() {
    for (cores, shards) in [(1, 1), (2, 1), (4, 3), (128, 64)] {
        let settings = Settings::parse(Path::new("zoo.cfg"), "dataDir=/d").unwrap();
        let config = Config::interpret(settings, None, cores).unwrap();
        assert_eq!(config.process.io_shards, shards);
    }
}

#[test]
fn a_dynamic_file_brings_members_and_their_version() {
    let directory = tempfile::tempdir().unwrap();
    let dynamic = directory.path().join("zoo.cfg.dynamic.100000002");
    fs::write(&dynamic, "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2;3\n").unwrap();
    let file = directory.path().join("zoo.cfg");
    let head = "dataDir=/d\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile=";
    fs::write(&file, format!("{head}{}\n", dynamic.display())).unwrap();
    let config = Config::load(&file, &environment(&[("ZAB_SERVER_2", "moved:1:2;3")])).unwrap();
    assert_eq!(config.cluster.members[&ServerId(2)].host, "moved");
    assert!(config.cluster.text().ends_with("\nversion=100000002"));
    let unnumbered = directory.path().join("members");
    fs::write(&unnumbered, "server.1=a:1:2;3\nserver.2=b:1:2;3\nversion=1f\n").unwrap();
    fs::write(&file, format!("{head}{}\n", unnumbered.display())).unwrap();
    let config = Config::load(&file, &environment(&[])).unwrap();
    assert!(config.cluster.text().ends_with("\nversion=1f"));
    fs::write(&file, format!("{head}/no/such/file\n")).unwrap();
    let error = Config::load(&file, &environment(&[])).unwrap_err().to_string();
    assert!(error.contains("zoo.cfg:4: dynamicConfigFile: expected a readable file"), "{error}");
}

#[test]
fn the_id_comes_from_the_environment_once_and_from_the_disk_ever_after() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = parse(THREE).unwrap();
    config.process.data_dir = directory.path().join("fresh");
    let id = |variables: &[(&str, &str)]| {
        identity::server_id(&config, &environment(variables)).map_err(|error| error.to_string())
    };
    assert!(id(&[]).unwrap_err().contains("myid: missing; expected a file with the id"));
    assert!(id(&[("ZAB_MYID", "0")]).unwrap_err().starts_with("environment variable ZAB_MYID: "));
    assert!(id(&[("ZAB_SERVER_NAME", "zk")]).unwrap_err().contains("first label, found \"zk\""));
    let contradiction = id(&[("ZAB_SERVER_NAME", "zk2"), ("ZAB_MYID", "1")]).unwrap_err();
    assert!(contradiction.contains("expected 2 as ZAB_SERVER_NAME says, found 1"));

    assert_eq!(id(&[("ZAB_SERVER_NAME", "zk2")]), Ok(ServerId(2)));
    assert_eq!(fs::read_to_string(directory.path().join("fresh/myid")).unwrap(), "2");
    assert_eq!(id(&[]), Ok(ServerId(2)));
    assert_eq!(id(&[("ZAB_MYID", "2")]), Ok(ServerId(2)));
    let other = id(&[("ZAB_SERVER_NAME", "zk1")]).unwrap_err();
    assert!(other.contains("this data directory belongs to another server"), "{other}");

    fs::write(directory.path().join("fresh/myid"), "two\n").unwrap();
    assert!(id(&[]).unwrap_err().contains("myid:1: expected a server id from 1 to 255"));
}

#[test]
fn an_empty_database_votes_only_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = parse(THREE).unwrap().process;
    process.data_dir = directory.path().to_owned();
    process.data_log_dir = directory.path().join("log");
    let nothing = environment(&[]);
    assert_eq!(identity::initialize(&process, &nothing), Initialize::Yes);

    process.empty_database = EmptyDatabase::TrustedWhenInitialized;
    assert!(!identity::initialize(&process, &nothing).is_trusted());
    let mounted = directory.path().join("bootstrap");
    let variable = environment(&[("ZAB_INITIALIZE_FILE", mounted.to_str().unwrap())]);
    assert_eq!(identity::initialize(&process, &variable), Initialize::No);
    fs::write(&mounted, "").unwrap();
    assert_eq!(identity::initialize(&process, &variable), Initialize::Yes);

    let marker = directory.path().join("initialize");
    fs::write(&marker, "").unwrap();
    let marked = identity::initialize(&process, &nothing);
    assert_eq!(marked, Initialize::Marked(marker.clone()));
    marked.done().unwrap();
    marked.done().unwrap();
    assert!(!marker.exists());
    assert_eq!(identity::initialize(&process, &nothing), Initialize::No);
}

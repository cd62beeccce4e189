//! The generator against a responder that is in the same process.

use std::time::Duration;

use bench::load::{self, Target};
use bench::report::Outcome;
use bench::stub::{Background, Behaviour};
use bench::workload::{Mix, Pace, PathShape, Workload};

fn workload(mix: &str) -> Workload {
    Workload {
        mix: mix.parse::<Mix>().expect("the mix is one"),
        sessions: 4,
        pace: Pace::Outstanding(8),
        value_bytes: 100,
        keys: 200,
        paths: PathShape::Short,
        warm_up: Duration::from_millis(50),
        measured: Duration::from_millis(200),
    }
}

fn outcome(workload: &Workload, stall: Option<(Duration, Duration)>, read_back: bool) -> Outcome {
    let behaviour = Behaviour { value_bytes: workload.value_bytes, stall };
    let stub = Background::start(behaviour, None).expect("a stub listens");
    let target =
        Target { servers: vec![stub.address()], processes: vec![std::process::id()], read_back };
    load::run(workload, &target).expect("the load runs")
}

#[test]
fn every_operation_is_answered_and_counted() {
    let mix = "get=1,exists=1,children=1,set=1,create=1,delete=1,sync=1";
    for paths in [PathShape::Short, PathShape::Deep] {
        let workload = Workload { paths, ..workload(mix) };
        let outcome = outcome(&workload, None, false);
        assert_eq!(outcome.failure(), None);
        assert_eq!(outcome.kinds.len(), 7);
        let counted: u64 = outcome.kinds.iter().map(|kind| kind.operations).sum();
        assert_eq!(counted, outcome.operations);
        assert!(outcome.server_us_per_operation > 0.0, "{outcome}");
        assert!(outcome.generator_us_per_operation > 0.0, "{outcome}");
    }
}

#[test]
fn a_server_that_does_not_keep_what_it_acknowledged_is_found_out() {
    for mix in ["set", "create"] {
        let outcome = outcome(&workload(mix), None, true);
        let verification = outcome.verification.as_ref().unwrap();
        assert!(verification.checked > 0);
        assert_eq!(verification.wrong, verification.checked);
        let failure = outcome.failure().unwrap();
        assert!(failure.contains("not there as acknowledged (/bench/"), "{failure}");
    }
}

#[test]
fn values_longer_than_any_buffer_come_through() {
    let workload = Workload { value_bytes: 3 << 20, keys: 2, ..workload("50/50") };
    let outcome = outcome(&workload, None, false);
    assert_eq!(outcome.failure(), None);
}

#[test]
fn an_open_loop_offers_what_was_asked_for() {
    let workload = Workload {
        pace: Pace::PerSecond(5_000),
        measured: Duration::from_millis(400),
        ..workload("get")
    };
    let outcome = outcome(&workload, None, false);
    assert_eq!(outcome.failure(), None);
    assert_eq!(outcome.operations, 2_000);
}

#[test]
fn an_open_loop_charges_a_standstill_to_all_requests_that_met_it() {
    let stall = (Duration::from_millis(100), Duration::from_millis(200));
    let paced = |pace| Workload {
        pace,
        sessions: 1,
        measured: Duration::from_millis(900),
        ..workload("get")
    };
    // A third of the time the stub serves; half of the requests wait longer than 30 ms.
    let open = outcome(&paced(Pace::PerSecond(1_000)), Some(stall), false);
    assert!(open.latency.p50_us > 30_000.0, "{open}");
    assert!(open.latency.max_us > 150_000.0, "{open}");
    // A closed loop hides it: it asks nothing while it waits.
    let closed = outcome(&paced(Pace::Outstanding(1)), Some(stall), false);
    assert!(closed.latency.p50_us < 30_000.0, "{closed}");
}

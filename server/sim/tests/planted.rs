//! The simulator can fail: each fault of the protocol that is put in on purpose is found, and by a check that names it.

use sim::{Options, Planted};

/// Runs seeds with a planted fault until one shows it; panics when `seeds_max` do not.
fn caught(planted: Planted, seeds_max: u64, checks: &[&str]) {
    for seed in 0..seeds_max {
        let options = Options { planted: Some(planted), ..Options::default() };
        let Err(violation) = sim::run(seed, options) else { continue };
        println!("{planted:?}: caught by seed {seed}: {violation}");
        assert!(
            checks.contains(&violation.check),
            "seed {seed} found something else than one of {checks:?}: {violation}"
        );
        return;
    }
    panic!("{planted:?} was not caught within {seeds_max} seeds");
}

#[test]
fn an_ack_before_its_fsync_is_caught() {
    caught(Planted::AckBeforeFsync, 10, &["AckConsistency", "AckedIsDurableOnQuorum"]);
}

#[test]
fn a_commit_without_a_majority_is_caught() {
    caught(Planted::CommitWithoutMajority, 10, &["AckedIsDurableOnQuorum"]);
}

#[test]
fn an_epoch_written_before_its_history_is_caught() {
    caught(Planted::EpochBeforeHistory, 200, &["HistoryBeforeEpoch"]);
}

#[test]
fn a_truncation_that_is_skipped_is_caught() {
    // The store's own assertion sees it when the leader goes on in the epoch of what should be gone.
    let checks = ["Assertion", "AckConsistency", "AckedIsDurableOnQuorum", "HistoryConsistency"];
    caught(Planted::TruncSkipped, 200, &checks);
}

#[test]
fn an_old_leader_that_is_not_fenced_is_caught() {
    // Or the promise is seen to be broken on the disk before two leaders come of it.
    let checks = ["Leadership1", "Leadership2", "EpochsOnDisk"];
    caught(Planted::ForgottenPromise, 500, &checks);
}

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
    let checks = [
        "Assertion",
        "AckConsistency",
        "AckedIsDurableOnQuorum",
        "HistoryBeforeEpoch",
        "HistoryConsistency",
    ];
    caught(Planted::TruncSkipped, 200, &checks);
}

#[test]
fn an_old_leader_that_is_not_fenced_is_caught() {
    caught(Planted::ForgottenPromise, 500, &["Leadership1", "Leadership2"]);
}

#[test]
fn epochs_that_are_vouched_for_before_they_are_saved_are_caught() {
    // What is acked is not on the disk yet, or a promise is given that a power cut takes back.
    let checks = ["AckConsistency", "Leadership1", "Leadership2", "EpochsOnDisk"];
    caught(Planted::EpochReportedEarly, 500, &checks);
}

#[test]
fn a_snapshot_that_is_not_written_is_caught() {
    caught(Planted::SnapshotNotPersisted, 50, &["HistoryBeforeEpoch", "AckConsistency"]);
}

#[test]
fn a_tree_that_keeps_what_was_cut_from_the_log_is_caught() {
    let checks = ["HistoryConsistency", "TotalOrder", "EqualDigests"];
    caught(Planted::TreeNotRebuilt, 200, &checks);
}

#[test]
fn a_server_that_votes_with_an_empty_disk_is_caught() {
    let checks =
        ["Leadership2", "LeaderLogCompleteness", "CommittedLogDurability", "PrefixConsistency"];
    caught(Planted::WipedVotes, 1000, &checks);
}

#[test]
fn sessions_that_end_too_early_are_caught() {
    caught(Planted::SessionsUnheard, 50, &["SessionExpiry"]);
}

#[test]
fn sessions_that_never_end_are_caught() {
    caught(Planted::SessionsImmortal, 50, &["SessionExpiry"]);
}

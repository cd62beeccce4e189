//! Which snapshots and log files are no longer needed.

use zab::Zxid;

/// Fewer snapshots than this are never kept: one may turn out bad, and a truncation may need an
/// older one.
pub const SNAPSHOTS_MIN: usize = 3;

/// What may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doomed {
    pub(crate) snapshots: Vec<Zxid>,
    pub(crate) logs: Vec<Zxid>,
}

/// Chooses: the newest `keep` whole snapshots stay (at least [`SNAPSHOTS_MIN`]), and every log file
/// that may hold a transaction after the oldest of them. `whole` and `logs` ascend; a damaged
/// snapshot is in `snapshots` only, and goes when it is older than all that are kept.
pub(crate) fn choose(snapshots: &[Zxid], whole: &[Zxid], logs: &[Zxid], keep: usize) -> Doomed {
    let keep = keep.max(SNAPSHOTS_MIN);
    let Some(oldest_kept) = whole.len().checked_sub(keep).map(|index| whole[index]) else {
        return Doomed::default();
    };
    // The last file that begins at or before the next transaction may hold it; all before that one
    // are covered.
    let needed_from = logs.iter().rposition(|first| *first <= oldest_kept.next()).unwrap_or(0);
    Doomed {
        snapshots: snapshots.iter().copied().filter(|zxid| *zxid < oldest_kept).collect(),
        logs: logs[..needed_from].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxids(counters: &[i64]) -> Vec<Zxid> {
        counters.iter().copied().map(Zxid).collect()
    }

    #[test]
    fn three_snapshots_stay_whatever_is_asked() {
        let snapshots = zxids(&[10, 20, 30]);
        assert_eq!(choose(&snapshots, &snapshots, &zxids(&[8, 15, 25]), 1), Doomed::default());
    }

    #[test]
    fn logs_stay_from_the_one_that_holds_the_transaction_after_the_oldest_kept_snapshot() {
        let snapshots = zxids(&[10, 20, 30, 40]);
        let doomed = choose(&snapshots, &snapshots, &zxids(&[1, 8, 15, 25]), 3);
        assert_eq!(doomed.snapshots, zxids(&[10]));
        // Snapshot 20 is the oldest kept; 21 is in the file that begins with 15.
        assert_eq!(doomed.logs, zxids(&[1, 8]));
        let doomed = choose(&snapshots, &snapshots, &zxids(&[1, 11, 21, 31]), 3);
        assert_eq!(doomed.logs, zxids(&[1, 11]));
        // Here it is in the file before the one that begins with 22.
        let doomed = choose(&snapshots, &snapshots, &zxids(&[1, 15, 22]), 3);
        assert_eq!(doomed.logs, zxids(&[1]));
    }

    #[test]
    fn damaged_snapshots_are_not_counted() {
        let snapshots = zxids(&[10, 20, 30, 40]);
        let whole = zxids(&[10, 30, 40]);
        assert_eq!(choose(&snapshots, &whole, &[], 3), Doomed::default());
    }
}

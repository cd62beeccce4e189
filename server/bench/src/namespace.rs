//! The znodes of a run and the paths that lead to them; all paths of a kind have one length.

use crate::workload::PathShape;

/// Everything the generator creates is below this znode.
pub const ROOT: &str = "/bench";

/// Parent of the znodes that create operations make.
pub const CREATED: &str = "/bench/created";

/// Keys with a deep path share their parent with this many others.
const KEYS_PER_DIRECTORY: u32 = 64;

/// Directories with a deep path share their parent with this many others.
const DIRECTORIES_PER_DIRECTORY: u32 = 16;

/// The path of key number `key`.
#[must_use]
pub fn key_path(shape: PathShape, key: u32) -> String {
    match shape {
        PathShape::Short => format!("{ROOT}/k{key:08}"),
        PathShape::Deep => format!("{}/replica-{key:016}", directory(key)),
    }
}

/// The parents of the keys, each before its children; [`ROOT`] and [`CREATED`] come first.
#[must_use]
pub fn directories(shape: PathShape, keys: u32) -> Vec<String> {
    let mut paths = vec![ROOT.to_owned(), CREATED.to_owned()];
    if shape == PathShape::Deep {
        for key in (0..keys).step_by(KEYS_PER_DIRECTORY as usize) {
            let deepest = directory(key);
            let cuts = deepest.match_indices('/').map(|(at, _)| at).skip(2);
            let parents: Vec<_> =
                cuts.chain([deepest.len()]).map(|end| deepest[..end].to_owned()).collect();
            paths.extend(parents);
        }
        let mut seen = std::collections::BTreeSet::new();
        paths.retain(|path| seen.insert(path.clone()));
    }
    paths
}

/// The path of created znode number `number` of the run `run`.
#[must_use]
pub fn created_path(run: u32, number: u32) -> String {
    format!("{CREATED}/{run:08x}-{number:010}")
}

fn directory(key: u32) -> String {
    let third = key / KEYS_PER_DIRECTORY;
    let second = third / DIRECTORIES_PER_DIRECTORY;
    let first = second / DIRECTORIES_PER_DIRECTORY;
    format!("{ROOT}/namespace-{first:017}/databases-{second:017}/tables-{third:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_kind_have_one_length_and_the_deep_ones_that_of_production() {
        for key in [0, 63, 64, 99_999_999] {
            assert_eq!(key_path(PathShape::Short, key).len(), 16);
            let deep = key_path(PathShape::Deep, key);
            assert_eq!(deep.len(), 115);
            assert_eq!(deep.rsplit('/').next().unwrap().len(), 24);
        }
        assert_eq!(created_path(1, 2).len(), created_path(!0, !0).len());
    }

    #[test]
    fn every_key_has_its_parents_before_it() {
        for shape in [PathShape::Short, PathShape::Deep] {
            let mut there = std::collections::BTreeSet::from([String::new()]);
            let keys = (0..3_000).map(|key| key_path(shape, key));
            for path in directories(shape, 3_000).into_iter().chain(keys) {
                let (parent, _) = path.rsplit_once('/').unwrap();
                assert!(there.contains(parent), "{path} comes before its parent");
                assert!(there.insert(path.clone()), "{path} comes twice");
            }
        }
    }
}

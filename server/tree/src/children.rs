//! The children of a znode: their full paths, in order.
//!
//! A set holds the very `Arc<str>` of each child's path, so a name costs 16 bytes and no copy.
//! Siblings share all but their last segment, hence the order of paths is that of names.
//!
//! Few children live in a sorted vector. Many live in a persistent B+ tree, because a znode is
//! copied when it changes after a freeze: that must cost O(log n) for a parent of 10⁷ children,
//! not 10⁷.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

/// Vectors are turned into trees above this: moving up to 64 × 16 bytes costs less than a tree.
const FEW_MAX: usize = 64;
/// Trees are turned back into vectors below this, well under `FEW_MAX` so that a set at the limit
/// does not turn with every change.
const FEW_AGAIN: usize = 24;

/// A sorted set of paths.
#[derive(Clone, Debug)]
pub(crate) enum Children {
    Few(Vec<Arc<str>>),
    Many(OrdSet<Arc<str>>),
}

impl Children {
    pub(crate) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(paths) => paths.len(),
            Self::Many(paths) => paths.len(),
        }
    }

    /// Adds a path; false when it is there already.
    pub(crate) fn insert(&mut self, path: Arc<str>) -> bool {
        match self {
            Self::Few(paths) => match paths.binary_search(&path) {
                Ok(_) => false,
                Err(at) if paths.len() < FEW_MAX => {
                    // Most znodes that get a child get few: grow by a half, not to the double.
                    if paths.len() == paths.capacity() {
                        paths.reserve_exact(paths.len() / 2 + 1);
                    }
                    paths.insert(at, path);
                    true
                }
                Err(_) => {
                    let mut many: OrdSet<_> = std::mem::take(paths).into_iter().collect();
                    many.insert(path);
                    *self = Self::Many(many);
                    true
                }
            },
            Self::Many(paths) => paths.insert(path).is_none(),
        }
    }

    /// Removes a path; false when it is not there.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        match self {
            Self::Few(paths) => match paths.binary_search_by(|it| (**it).cmp(path)) {
                Ok(at) => {
                    paths.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Many(paths) => {
                let removed = paths.remove(path).is_some();
                if paths.len() < FEW_AGAIN {
                    *self = Self::Few(paths.iter().cloned().collect());
                }
                removed
            }
        }
    }

    /// The first path after `path`, or the first of all.
    pub(crate) fn next_after(&self, path: Option<&str>) -> Option<&Arc<str>> {
        match (self, path) {
            (Self::Few(paths), None) => paths.first(),
            (Self::Few(paths), Some(path)) => paths.get(paths.partition_point(|it| **it <= *path)),
            (Self::Many(paths), None) => paths.get_min(),
            (Self::Many(paths), Some(path)) => {
                paths.range::<_, str>((Bound::Excluded(path), Bound::Unbounded)).next()
            }
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        match self {
            Self::Few(paths) => Iter::Few(paths.iter()),
            Self::Many(paths) => Iter::Many(paths.iter()),
        }
    }
}

/// Paths in order.
pub(crate) enum Iter<'a> {
    Few(std::slice::Iter<'a, Arc<str>>),
    Many(imbl::ordset::Iter<'a, Arc<str>, imbl::shared_ptr::DefaultSharedPtr>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<str>;

    fn next(&mut self) -> Option<&'a Arc<str>> {
        match self {
            Self::Few(paths) => paths.next(),
            Self::Many(paths) => paths.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let length = match self {
            Self::Few(paths) => paths.len(),
            Self::Many(paths) => paths.len(),
        };
        (length, Some(length))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(children: &Children) -> Vec<String> {
        children.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_set_stays_sorted_while_it_grows_into_a_tree_and_shrinks_back() {
        let mut children = Children::new();
        let mut model = std::collections::BTreeSet::new();
        for step in 0..400_u32 {
            let path = format!("/{:04}", step * 7919 % 400);
            assert!(children.insert(path.as_str().into()));
            assert!(!children.insert(path.as_str().into()));
            model.insert(path);
        }
        assert!(matches!(children, Children::Many(_)));
        assert_eq!(paths(&children), model.iter().cloned().collect::<Vec<_>>());
        let copy = children.clone();
        for step in 0..390_u32 {
            let path = format!("/{:04}", step * 7919 % 400);
            assert!(children.remove(&path));
            assert!(!children.remove(&path));
            model.remove(&path);
        }
        assert!(matches!(children, Children::Few(_)));
        assert_eq!(paths(&children), model.into_iter().collect::<Vec<_>>());
        assert_eq!(copy.len(), 400);
    }

    #[test]
    fn stepping_visits_every_path_once() {
        for size in [0, 1, 64, 65, 500] {
            let mut children = Children::new();
            for i in 0..size {
                children.insert(format!("/{i:05}").as_str().into());
            }
            let mut at: Option<Arc<str>> = None;
            let mut seen = Vec::new();
            while let Some(next) = children.next_after(at.as_deref()) {
                seen.push(next.to_string());
                at = Some(next.clone());
            }
            assert_eq!(seen, paths(&children));
        }
    }
}

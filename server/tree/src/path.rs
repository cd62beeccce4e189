//! Paths of znodes: what a valid one is, and how to take one apart.
//!
//! Paths stay `&str`: most requests carry a path that is looked up once and never stored, and a
//! lookup of a malformed path must answer `NoNode` like Java's, not fail to parse. Only what is
//! about to be created or changed is checked, by [`is_valid`].

use jute::ErrorCode;

/// The root.
pub const ROOT: &str = "/";
/// The node under which the server keeps its own.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Root of the quota nodes.
pub const QUOTA: &str = "/zookeeper/quota";
/// The committed ensemble configuration.
pub const CONFIG: &str = "/zookeeper/config";

/// True for the four nodes that always exist and cannot be deleted.
#[must_use]
pub fn is_special(path: &str) -> bool {
    [ROOT, ZOOKEEPER, QUOTA, CONFIG].contains(&path)
}

/// True when a znode may have this path.
///
/// It begins with `/`, does not end with one (but for the root), has no empty, `.` or `..`
/// segment, no control character and none that Java holds as a surrogate or keeps private
/// (U+D800–U+F8FF, U+FFF0–U+FFFF and everything beyond the basic plane).
#[must_use]
pub fn is_valid(path: &str) -> bool {
    if path == ROOT {
        return true;
    }
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    segments.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..") && segment.chars().all(is_valid_character)
    })
}

fn is_valid_character(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// [`is_valid`] as the error a client is told.
///
/// # Errors
/// `BadArguments`.
pub fn check(path: &str) -> Result<(), ErrorCode> {
    if is_valid(path) { Ok(()) } else { Err(ErrorCode::BadArguments) }
}

/// The path of the parent, `None` for the root and for what has no slash.
#[must_use]
pub fn parent(path: &str) -> Option<&str> {
    if path == ROOT {
        return None;
    }
    path.rfind('/').map(|slash| if slash == 0 { ROOT } else { &path[..slash] })
}

/// All proper ancestors, nearest first, the root last.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

/// Where the names of the children of `path` begin in their full paths.
pub(crate) fn name_offset(path: &str) -> usize {
    if path == ROOT { 1 } else { path.len() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_and_invalid_paths_are_told_apart_as_java_does() {
        for path in ["/", "/a", "/a/b", "/a/..b", "/a/...", "/a/.b", "/a b", "/ü/é", "/\u{a0}"] {
            assert!(is_valid(path), "{path:?}");
        }
        for path in [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/.",
            "/a/../b",
            "/a/./b",
            "/a\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn parents_and_ancestors_end_at_the_root() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("a"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
    }
}

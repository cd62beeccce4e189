//! Where it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

/// What is worth knowing of the machine and of the versions.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Number of processors.
    pub processors: usize,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// File system and device of the data.
    pub disk: String,
    /// Version of ours, with the commit if the source is a checkout.
    pub ours: String,
    /// Version of Apache ZooKeeper.
    pub zookeeper: String,
    /// Version of the Java runtime.
    pub java: String,
}

impl Machine {
    /// Looks around; what cannot be told is `unknown`.
    pub fn look(data: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let memory = field(&meminfo, "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let commit = first_line("git", &["rev-parse", "--short=10", "HEAD"]);
        Ok(Self {
            processor: field(&cpuinfo, "model name").unwrap_or_else(unknown),
            processors: crate::cpu::allowed()?.len(),
            memory_mib: memory_kib / 1024,
            kernel: kernel.trim().to_owned(),
            disk: mount_of(&mounts, &data.canonicalize()?).unwrap_or_else(unknown),
            ours: format!(
                "{} ({})",
                env!("CARGO_PKG_VERSION"),
                commit.unwrap_or_else(|| "no checkout".to_owned())
            ),
            zookeeper: e2e::java::VERSION.to_owned(),
            java: first_line("java", &["-version"]).unwrap_or_else(unknown),
        })
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value of the first `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}

/// File system and device of the mount that `path` is on.
fn mount_of(mounts: &str, path: &Path) -> Option<String> {
    let parsed = mounts.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    });
    let (device, _, kind) = parsed
        .filter(|(_, point, _)| path.starts_with(point))
        .max_by_key(|(_, point, _)| point.len())?;
    Some(format!("{kind} on {device}"))
}

/// The first line that a command prints, on either output.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).ok()?;
    let line = text.lines().next().filter(|_| output.status.success())?;
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_the_innermost_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /srv/x tmpfs rw 0 0\n/dev/b /srv xfs rw 0 0\n";
        let disk = |path: &str| mount_of(mounts, Path::new(path)).unwrap();
        assert_eq!(disk("/srv/x/y"), "tmpfs on tmpfs");
        assert_eq!(disk("/srv/xy"), "xfs on /dev/b");
        assert_eq!(disk("/home"), "ext4 on /dev/a");
    }
}

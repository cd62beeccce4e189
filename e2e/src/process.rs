//! A program that runs beside the one that started it: its output goes to a log, it is waited for, and it never
//! outlives who started it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::scratch::last_lines;
use crate::wait::wait_briefly_for;

/// Pause between two looks at a process: short beside the start of a server.
const POLL_PAUSE: Duration = Duration::from_millis(30);

/// How long the system may take to pause a process.
const PAUSE_PATIENCE: Duration = Duration::from_secs(10);

/// Lines of a log that an error shows.
const LAST_WORDS: usize = 30;

/// A command whose process is killed by the system when the thread that started it ends, however it ends: a test run
/// that is itself killed leaves nothing behind.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    // `setpriv` is part of util-linux, as `taskset` is. To ask the system for this from here would take unsafe code.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// A process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, best one of [`command`]. What it prints is appended to the file `log`.
    ///
    /// # Errors
    /// When there is no such program, or the log cannot be written.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = fs::OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that was ever printed to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Looks at it again and again until `is_so`.
    ///
    /// # Errors
    /// When it ends or `patience` is over first; with `what` was waited for, and the end of its log.
    pub fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !is_so() {
            if let Some(status) = self.child.try_wait()? {
                bail!("waited until {what}, but it ended with {status}:\n{}", self.last_words());
            }
            if deadline < Instant::now() {
                bail!("waited {patience:?} until {what}:\n{}", self.last_words());
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `patience`; with the end of its log.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if deadline < Instant::now() {
                bail!("waited {patience:?} until it ends:\n{}", self.last_words());
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Sends a signal, such as `Signal::STOP`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.id())?).context("a process has an id")?;
        Ok(kill_process(id, signal)?)
    }

    /// Pauses it, and waits until not one of its threads runs any more: the system stops them one by one, and until
    /// then they still answer.
    ///
    /// # Errors
    /// When it has ended, or does not pause.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let threads = PathBuf::from(format!("/proc/{}/task", self.id()));
        wait_briefly_for(PAUSE_PATIENCE, "all threads to stop", || {
            for thread in fs::read_dir(&threads)? {
                let stat = fs::read_to_string(thread?.path().join("stat"))?;
                // The state follows the name, which may hold anything.
                let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
                ensure!(state == Some('T'), "{stat}");
            }
            Ok(Some(()))
        })
    }

    /// Kills it at once, as a crash would, and waits for its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn last_words(&self) -> String {
        last_lines(&self.log(), LAST_WORDS)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(scratch: &Scratch, script: &str) -> Process {
        let mut command = command("sh");
        command.args(["-c", script]);
        Process::start(command, &scratch.path().join("log")).unwrap()
    }

    fn runs(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn what_it_said_last_is_in_the_error() {
        let scratch = Scratch::new("process-ends").unwrap();
        let mut process = shell(&scratch, "echo no luck; exit 7");
        let error = process.wait_until("it serves", PATIENCE, || false).unwrap_err().to_string();
        assert!(error.contains("it serves") && error.contains("exit status: 7"), "{error}");
        assert!(error.ends_with("no luck"), "{error}");
        assert_eq!(process.wait_for_end(PATIENCE).unwrap().code(), Some(7));
    }

    #[test]
    fn a_paused_one_does_nothing_until_it_is_killed() {
        let scratch = Scratch::new("process-paused").unwrap();
        let mut process = shell(&scratch, "while :; do echo on; done");
        process.wait_until("it writes", PATIENCE, || scratch.path().join("log").exists()).unwrap();
        process.pause().unwrap();
        let written = process.log().len();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(process.log().len(), written);
        process.kill().unwrap();
    }

    #[test]
    fn it_ends_with_its_owner() {
        let scratch = Scratch::new("process-dropped").unwrap();
        let process = shell(&scratch, "exec sleep 60");
        let id = process.id();
        assert!(runs(id));
        drop(process);
        assert!(!runs(id));
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let scratch = Scratch::new("process-orphan").unwrap();
        let (mut process, id) = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                let mut process = shell(&scratch, "echo up; exec sleep 60");
                process
                    .wait_until("it is up", PATIENCE, || {
                        std::fs::read(scratch.path().join("log")).is_ok_and(|log| !log.is_empty())
                    })
                    .unwrap();
                let id = process.id();
                (process, id)
            });
            starter.join().unwrap()
        });
        process.wait_for_end(PATIENCE).unwrap();
        assert!(!runs(id));
    }
}

//! Waiting until something is so: with a deadline, and with what was seen last in the error.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two questions that take a program to ask, such as kubectl.
const PAUSE: Duration = Duration::from_millis(500);

/// Pause between two questions that take next to nothing.
const SHORT_PAUSE: Duration = Duration::from_millis(30);

/// Asks again and again until there is an answer. An error of `ask` says why there is none yet.
///
/// # Errors
/// After `deadline`, with what `what` names and the last error.
pub fn wait_for<T>(
    deadline: Duration,
    what: &str,
    ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    poll(deadline, PAUSE, what, ask)
}

/// The same for something that can be asked often.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_briefly_for<T>(
    deadline: Duration,
    what: &str,
    ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    poll(deadline, SHORT_PAUSE, what, ask)
}

fn poll<T>(
    deadline: Duration,
    pause: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = String::from("it is not so yet");
    while start.elapsed() < deadline {
        match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => last = format!("{error:#}"),
        }
        thread::sleep(pause);
    }
    bail!("waited {} s for {what}: {last}", deadline.as_secs())
}

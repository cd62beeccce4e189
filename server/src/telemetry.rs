//! Log lines to standard error: for people by default, as JSON for machines.
//!
//! `ZAB_LOG` is a level (`debug`) or a filter (`info,zab_server::peers=debug`), `ZAB_LOG_FORMAT` is `text` or `json`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Why logging could not be set up: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: expected {expected}, found {found:?}")]
pub struct Error {
    variable: &'static str,
    expected: &'static str,
    found: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Starts logging. Called once, before the first line.
///
/// # Errors
/// When one of the two variables says something unknown.
pub fn start() -> Result<(), Error> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let filter = filter(variable("ZAB_LOG"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start in one process (tests) keeps the first one.
    let _ = match format(variable("ZAB_LOG_FORMAT"))? {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn filter(level: Option<String>) -> Result<EnvFilter, Error> {
    let level = level.unwrap_or_else(|| "info".to_owned());
    let expected = "a level (error, warn, info, debug, trace) or a filter";
    EnvFilter::try_new(&level).map_err(|_| Error { variable: "ZAB_LOG", expected, found: level })
}

fn format(name: Option<String>) -> Result<Format, Error> {
    match name.as_deref() {
        None | Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error {
            variable: "ZAB_LOG_FORMAT",
            expected: "text or json",
            found: other.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_or_filter_is_refused_in_a_sentence() {
        assert_eq!(format(None), Ok(Format::Text));
        assert_eq!(format(Some("json".to_owned())), Ok(Format::Json));
        assert_eq!(
            format(Some("xml".to_owned())).unwrap_err().to_string(),
            "environment variable ZAB_LOG_FORMAT: expected text or json, found \"xml\""
        );
        assert!(filter(Some("info,zab_server=debug".to_owned())).is_ok());
        assert!(filter(Some("zab=loud".to_owned())).unwrap_err().to_string().contains("zab=loud"));
    }
}

//! The raw settings: `zoo.cfg` in the form of a Java properties file, overlaid with environment variables.
//!
//! Here a setting is a key, a text and the place it came from; what it means is decided in `config`. A key may carry
//! the prefix `zookeeper.` (the name of its Java system property), which is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::keys;

/// A setting that cannot be used, in one sentence: where it stands, its key, what was expected and what was found.
///
/// The process exits with [`Error::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Error {
    place: Place,
    problem: String,
}

impl Error {
    /// The exit code of a process that was configured wrongly.
    pub const EXIT_CODE: u8 = 2;

    pub(crate) fn new(place: Place, problem: impl Into<String>) -> Self {
        Self { place, problem: problem.into() }
    }
}

/// Where a setting, or the lack of one, was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line(PathBuf, usize),
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One setting as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its text, trimmed.
    pub value: String,
    /// Where it was given.
    pub place: Place,
}

impl Setting {
    /// The error that this setting, known as `key`, is not what was expected.
    pub(crate) fn expected(&self, key: &str, expected: &str) -> Error {
        let problem = format!("{key}: expected {expected}, found {:?}", self.value);
        Error::new(self.place.clone(), problem)
    }
}

/// All settings of one process, by key.
#[derive(Clone, Debug)]
pub struct Settings {
    file: PathBuf,
    by_key: BTreeMap<String, Setting>,
    warnings: Vec<String>,
}

impl Settings {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// A line that has no key, or no value.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let mut settings =
            Self { file: file.to_owned(), by_key: BTreeMap::new(), warnings: Vec::new() };
        settings.add_file(file, text)?;
        Ok(settings)
    }

    /// Adds the settings of a second file (`dynamicConfigFile`).
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn add_file(&mut self, file: &Path, text: &str) -> Result<(), Error> {
        for (line, content) in logical_lines(text) {
            let place = Place::Line(file.to_owned(), line);
            let Some((key, value)) = split_key(&content) else {
                let problem = format!("expected key=value, found {content:?}");
                return Err(Error::new(place, problem));
            };
            if value.is_empty() {
                return Err(Error::new(place, format!("{key}: expected a value, found none")));
            }
            let key = key.strip_prefix("zookeeper.").unwrap_or(key).to_owned();
            let setting = Setting { value: value.to_owned(), place };
            if let Some(older) = self.by_key.insert(key.clone(), setting) {
                self.warnings.push(format!("{}: {key} is given again later", older.place));
            }
        }
        Ok(())
    }

    /// Lays the environment over the files: a variable wins over a line.
    ///
    /// # Errors
    /// A key given by two variables, or without a value.
    pub fn overlay(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Error> {
        let mut given: BTreeMap<String, &str> = BTreeMap::new();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix("ZAB_") else {
                continue;
            };
            if keys::OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let Some(key) = keys::key_of_variable(rest) else {
                if !is_service_link(rest, value) {
                    self.warnings.push(format!("environment variable {name}: no such setting"));
                }
                continue;
            };
            // Kubernetes gives every pod `<SERVICE>_PORT=tcp://…` of each service: one named `zab-client` would be
            // read as `clientPort`.
            if value.starts_with("tcp://") || value.starts_with("udp://") {
                let why = "looks like a Kubernetes service link and is ignored";
                self.warnings.push(format!("environment variable {name}: {why}"));
                continue;
            }
            if let Some(other) = given.insert(key.clone(), name) {
                let problem = format!("{key}: given by {other} as well; expected one of the two");
                return Err(Error::new(Place::Variable(name.clone()), problem));
            }
            let place = Place::Variable(name.clone());
            if value.trim().is_empty() {
                return Err(Error::new(place, format!("{key}: expected a value, found none")));
            }
            self.by_key.insert(key, Setting { value: value.trim().to_owned(), place });
        }
        Ok(())
    }

    /// The file these settings began with.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What was odd but can be lived with.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.by_key.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The setting `key`, if given.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.by_key.get(key)
    }

    /// The error that `key` is missing.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> Error {
        let problem = format!("{key}: missing; expected {expected}");
        Error::new(Place::File(self.file.clone()), problem)
    }

    /// A whole number within `range`, if given.
    pub(crate) fn number(
        &self,
        key: &str,
        unit: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(setting) = self.get(key) else {
            return Ok(None);
        };
        match setting.value.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = (range.start(), range.end());
                let expected = format!("a whole number from {least} to {most} ({unit})");
                Err(setting.expected(key, &expected))
            }
        }
    }

    /// The same for a key whose default is also written as -1 in ZooKeeper.
    pub(crate) fn number_or_minus_one(
        &self,
        key: &str,
        unit: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        if self.get(key).is_some_and(|setting| setting.value == "-1") {
            return Ok(None);
        }
        self.number(key, unit, range)
    }

    /// `true`, `yes`, `false` or `no`, if given.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(setting) = self.get(key) else {
            return Ok(None);
        };
        match setting.value.to_ascii_lowercase().as_str() {
            "true" | "yes" => Ok(Some(true)),
            "false" | "no" => Ok(Some(false)),
            _ => Err(setting.expected(key, "true or false")),
        }
    }
}

/// The variables that Kubernetes adds for each service: `ZAB_SERVICE_HOST`, `ZAB_PORT`, `ZAB_PORT_2181_TCP_ADDR` …
fn is_service_link(name: &str, value: &str) -> bool {
    value.contains("://") || name.contains("SERVICE_") || name.contains("_TCP")
}

/// Lines without comments and blanks, with continued lines joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut physical = text.lines().enumerate();
    while let Some((index, line)) = physical.next() {
        let mut content = line.trim().to_owned();
        if content.is_empty() || content.starts_with(['#', '!']) {
            continue;
        }
        while content.ends_with('\\') && !content.ends_with("\\\\") {
            content.pop();
            match physical.next() {
                Some((_, more)) => content.push_str(more.trim()),
                None => break,
            }
        }
        lines.push((index + 1, content.replace("\\\\", "\\")));
    }
    lines
}

/// Key and value around the first `=`, `:` or blank, as Java's properties have it.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| c == '=' || c == ':' || c.is_whitespace())?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (!key.is_empty()).then_some((key, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_properties_file_is_read_as_java_reads_it() {
        let text = "# comment\n! another\n\n tickTime = 2000 \ninitLimit 10\nserver.1=a:1:2;3\n\
                    long=a,\\\n   b\npath=C:\\\\zk\nzookeeper.snapCount:7\n";
        let settings = Settings::parse(Path::new("zoo.cfg"), text).unwrap();
        let all: Vec<_> = settings.iter().map(|(key, it)| (key, it.value.as_str())).collect();
        let expected = [
            ("initLimit", "10"),
            ("long", "a,b"),
            ("path", "C:\\zk"),
            ("server.1", "a:1:2;3"),
            ("snapCount", "7"),
            ("tickTime", "2000"),
        ];
        assert_eq!(all, expected);
        let place = &settings.get("snapCount").unwrap().place;
        assert_eq!(*place, Place::Line("zoo.cfg".into(), 10));
    }

    #[test]
    fn the_environment_wins_and_service_links_do_not_count() {
        let mut settings =
            Settings::parse(Path::new("zoo.cfg"), "tickTime=1\nclientPort=2181").unwrap();
        let environment = [
            ("ZAB_TICK_TIME", "5"),
            ("ZAB_4LW_COMMANDS_WHITELIST", "*"),
            ("ZAB_SERVER_12", "h:1:2"),
            ("ZAB_IO_SHARDS", "3"),
            ("ZAB_ZOOKEEPER_DB_AUTOCREATE", "false"),
            ("ZAB_CLIENT_PORT", "tcp://10.0.0.1:2181"),
            ("ZAB_PORT_2181_TCP_ADDR", "10.0.0.1"),
            ("ZAB_TICKTIME", "6"),
            ("ZAB_LOG", "debug"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.overlay(&environment.into()).unwrap();
        let value = |key: &str| settings.get(key).map(|it| it.value.as_str());
        assert_eq!(value("tickTime"), Some("5"));
        assert_eq!(value("4lw.commands.whitelist"), Some("*"));
        assert_eq!(value("server.12"), Some("h:1:2"));
        assert_eq!(value("zab.ioShards"), Some("3"));
        assert_eq!(value("db.autocreate"), Some("false"));
        assert_eq!(value("clientPort"), Some("2181"));
        let warnings = settings.take_warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("service link") && warnings[1].contains("ZAB_TICKTIME"));
    }
}

//! Who this server is, and whether an empty data directory may vote.
//!
//! The id stands in `<dataDir>/myid`. In a container it comes from the environment instead: `ZAB_MYID=<id>`, or
//! `ZAB_SERVER_NAME=<host name>`, which stands for the `server.N` line of that host. It is then written to `myid` on
//! the first start and must be the same ever after: a volume that belongs to another server is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zab::ServerId;

use super::zoo_cfg::{Error, Place};
use super::{Config, EmptyDatabase, ProcessConfig};

/// The id of this server; writes `myid` when the environment named it first.
///
/// A standalone server needs none and is number 0 in reports.
///
/// # Errors
/// No id, a malformed one, one without a `server.N` line, or one that differs from `myid`.
pub fn server_id(
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Result<ServerId, Error> {
    if config.cluster.is_standalone() {
        return Ok(ServerId(0));
    }
    let file = config.process.data_dir.join("myid");
    let given = given_id(config, environment)?;
    match (read_id(&file)?, given) {
        (Some(stored), None) => Ok(stored),
        (Some(stored), Some((id, _))) if stored == id => Ok(id),
        (Some(stored), Some((id, place))) => {
            let problem = format!(
                "expected {stored}, the id in {}, found {id}: this data directory belongs to another server",
                file.display()
            );
            Err(Error::new(place, problem))
        }
        (None, Some((id, _))) => {
            write_id(&file, id).map_err(|error| {
                Error::new(Place::File(file.clone()), format!("cannot be written: {error}"))
            })?;
            Ok(id)
        }
        (None, None) => {
            let problem = "missing; expected a file with the id of this server, or ZAB_MYID or \
                           ZAB_SERVER_NAME in the environment";
            Err(Error::new(Place::File(file), problem))
        }
    }
}

/// The id that the environment names, and by which variable.
fn given_id(
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Result<Option<(ServerId, Place)>, Error> {
    let place = |name: &str| Place::Variable(name.to_owned());
    let by_number = match environment.get("ZAB_MYID") {
        None => None,
        Some(text) => Some(parse_id(text).ok_or_else(|| {
            let problem = format!("expected a server id from 1 to 255, found {text:?}");
            Error::new(place("ZAB_MYID"), problem)
        })?),
    };
    let by_name = match environment.get("ZAB_SERVER_NAME") {
        None => None,
        Some(name) => Some(id_of_host(config, name).ok_or_else(|| {
            let problem = format!(
                "expected the host of one server.N line, or its first label, found {name:?}"
            );
            Error::new(place("ZAB_SERVER_NAME"), problem)
        })?),
    };
    match (by_number, by_name) {
        (Some(number), Some(named)) if number != named => {
            let problem = format!("expected {named} as ZAB_SERVER_NAME says, found {number}");
            Err(Error::new(place("ZAB_MYID"), problem))
        }
        (Some(number), _) => Ok(Some((number, place("ZAB_MYID")))),
        (None, Some(named)) => Ok(Some((named, place("ZAB_SERVER_NAME")))),
        (None, None) => Ok(None),
    }
}

/// The only server whose host is `name` or begins with `name.`.
fn id_of_host(config: &Config, name: &str) -> Option<ServerId> {
    let mut found = config.cluster.members.iter().filter(|(_, member)| {
        let rest = member.host.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    match (found.next(), found.next()) {
        (Some((id, _)), None) if !name.is_empty() => Some(*id),
        _ => None,
    }
}

fn parse_id(text: &str) -> Option<ServerId> {
    text.trim().parse().ok().filter(|id| (1..=255).contains(id)).map(ServerId)
}

fn read_id(file: &Path) -> Result<Option<ServerId>, Error> {
    match fs::read_to_string(file) {
        Ok(text) => match parse_id(&text) {
            Some(id) => Ok(Some(id)),
            None => {
                let problem = format!("expected a server id from 1 to 255, found {text:?}");
                Err(Error::new(Place::Line(file.to_owned(), 1), problem))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Error::new(Place::File(file.to_owned()), format!("cannot be read: {error}")))
        }
    }
}

/// Writes `myid` so that a crash leaves either nothing or all of it.
fn write_id(file: &Path, id: ServerId) -> io::Result<()> {
    let directory = file.parent().expect("myid stands in a directory");
    fs::create_dir_all(directory)?;
    let temporary = directory.join("myid.tmp");
    let mut out = fs::File::create(&temporary)?;
    write!(out, "{id}")?;
    out.sync_all()?;
    fs::rename(&temporary, file)?;
    fs::File::open(directory)?.sync_all()
}

/// Whether this server may vote although it finds nothing on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initialize {
    /// It may not, until it has been synchronized.
    No,
    /// It may.
    Yes,
    /// It may, because of this marker, which is to be removed once the first epoch is on disk: see [`Self::done`].
    Marked(PathBuf),
}

impl Initialize {
    /// Whether the empty database may vote.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        *self != Self::No
    }

    /// Removes the marker. A marker that stayed would let the next empty directory vote, which may have been a full
    /// one that was lost.
    ///
    /// # Errors
    /// When the marker cannot be removed.
    pub fn done(&self) -> io::Result<()> {
        match self {
            Self::No | Self::Yes => Ok(()),
            Self::Marked(file) => match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all(),
            },
        }
    }
}

/// Looks for a permission to start from nothing: `db.autocreate`, Java's marker file `initialize` in `dataDir` or
/// `dataLogDir`, or the existence of the file that `ZAB_INITIALIZE_FILE` names (mounted by the operator while it
/// bootstraps an ensemble; never removed here).
#[must_use]
pub fn initialize(process: &ProcessConfig, environment: &BTreeMap<String, String>) -> Initialize {
    if process.empty_database == EmptyDatabase::Trusted {
        return Initialize::Yes;
    }
    let directories = [&process.data_dir, &process.data_log_dir];
    let marker = directories.map(|directory| directory.join("initialize"));
    if let Some(marker) = marker.into_iter().find(|marker| marker.exists()) {
        return Initialize::Marked(marker);
    }
    match environment.get("ZAB_INITIALIZE_FILE") {
        Some(file) if Path::new(file).exists() => Initialize::Yes,
        _ => Initialize::No,
    }
}

//! The disk of the operating system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::disk::{Dir, Disk, File, ZEROS_BYTES, fill};
use crate::error::{Error, Result};

/// The subdirectory that names the version of the formats, as Apache ZooKeeper does.
const VERSION_DIR: &str = "version-2";

/// Held locked while a server uses a directory. Apache ZooKeeper ignores it.
const LOCK_NAME: &str = "zab.lock";

/// Two directories of the file system, locked against a second server.
#[derive(Debug)]
pub struct OsDisk {
    home: PathBuf,
    data: PathBuf,
    log: PathBuf,
    // Locks are released when the files are closed.
    _locks: Vec<fs::File>,
}

impl OsDisk {
    /// Creates what is missing of `data_dir/version-2` and `log_dir/version-2`, durably, and locks
    /// both.
    ///
    /// # Errors
    /// When a directory cannot be made, or another process holds it.
    pub fn open(data_dir: &Path, log_dir: &Path) -> Result<Self> {
        let data = make_dir(data_dir)?;
        let log = make_dir(log_dir)?;
        let mut locks = vec![lock(&data)?];
        let same = fs::canonicalize(&data).ok() == fs::canonicalize(&log).ok();
        if !same {
            locks.push(lock(&log)?);
        }
        Ok(Self { home: data_dir.to_owned(), data, log, _locks: locks })
    }

    fn dir(&self, dir: Dir) -> &Path {
        match dir {
            Dir::Home => &self.home,
            Dir::Data => &self.data,
            Dir::Log => &self.log,
        }
    }
}

/// Makes `parent/version-2` and syncs every directory that got a new name.
fn make_dir(parent: &Path) -> Result<PathBuf> {
    let path = parent.join(VERSION_DIR);
    let fail = |source| Error::Io { op: "create directory", path: path.clone(), source };
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(&path).map_err(fail)?;
    for dir in missing {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new("."))).map_err(fail)?;
    }
    Ok(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn lock(dir: &Path) -> Result<fs::File> {
    let path = dir.join(LOCK_NAME);
    let fail = |source| Error::Io { op: "lock", path: path.clone(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Refused {
            path: dir.to_owned(),
            what: "another process is using this directory; stop it first".into(),
        }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

impl Disk for OsDisk {
    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        self.dir(dir).join(name)
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir(dir))? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(dir, name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(dir, name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn create_zeroed(&self, dir: Dir, name: &str, head: &[u8], bytes: u64) -> io::Result<()> {
        match fill_past_cache(&self.path(dir, name), head, bytes) {
            // Not every file system takes such writes.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                fill(self.create(dir, name)?, head, bytes)
            }
            done => done,
        }
    }

    fn rename(&self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(dir, from), self.path(dir, to))
    }

    fn remove(&self, dir: Dir, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(dir, name))
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        sync_directory(self.dir(dir))
    }
}

/// The least that is cached. Offsets, lengths and addresses of writes past the cache are multiples of it, which is as
/// much as any disk asks.
const PAGE_BYTES: usize = 4096;

/// Writes zeros straight to the disk. Nobody will read them, so they need no place in the cache, and the processor does
/// not copy them.
fn fill_past_cache(path: &Path, head: &[u8], bytes: u64) -> io::Result<()> {
    let first = PAGE_BYTES.min(bytes as usize);
    if !bytes.is_multiple_of(PAGE_BYTES as u64) || head.len() > first {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(direct);
    let file = options.open(path)?;
    let mut room = vec![0; ZEROS_BYTES + PAGE_BYTES];
    let start = room.as_ptr().align_offset(PAGE_BYTES);
    let zeros = &mut room[start..start + ZEROS_BYTES];
    file.set_len(bytes)?;
    zeros[..head.len()].copy_from_slice(head);
    file.write_all_at(&zeros[..first], 0)?;
    zeros[..head.len()].fill(0);
    let mut offset = first as u64;
    while offset < bytes {
        let length = (bytes - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..length as usize], offset)?;
        offset += length;
    }
    file.sync_data()
}

#[derive(Debug)]
struct OsFile(fs::File);

impl File for OsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn page_bytes(&self) -> u64 {
        PAGE_BYTES as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.0.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

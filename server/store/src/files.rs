//! File operations whose errors name the operation and the path.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Dir, Disk, File};
use crate::error::{Error, Result};

/// A [`Disk`] that reports failures as [`Error::Io`].
#[derive(Clone, Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    pub(crate) fn path(&self, dir: Dir, name: &str) -> PathBuf {
        self.disk.path(dir, name)
    }

    fn explain(&self, op: &'static str, dir: Dir, name: &str) -> impl Fn(io::Error) -> Error {
        let path = self.disk.path(dir, name);
        move |source| Error::Io { op, path: path.clone(), source }
    }

    pub(crate) fn list(&self, dir: Dir) -> Result<Vec<String>> {
        self.disk.list(dir).map_err(self.explain("list", dir, ""))
    }

    pub(crate) fn open(&self, dir: Dir, name: &str) -> Result<OpenFile> {
        let file = self.disk.open(dir, name);
        Ok(OpenFile {
            file: file.map_err(self.explain("open", dir, name))?,
            path: self.disk.path(dir, name),
        })
    }

    pub(crate) fn create(&self, dir: Dir, name: &str) -> Result<OpenFile> {
        let file = self.disk.create(dir, name);
        Ok(OpenFile {
            file: file.map_err(self.explain("create", dir, name))?,
            path: self.disk.path(dir, name),
        })
    }

    /// See [`Disk::create_zeroed`].
    pub(crate) fn create_zeroed(
        &self,
        dir: Dir,
        name: &str,
        head: &[u8],
        bytes: u64,
    ) -> Result<()> {
        self.disk.create_zeroed(dir, name, head, bytes).map_err(self.explain("fill", dir, name))
    }

    pub(crate) fn rename(&self, dir: Dir, from: &str, to: &str) -> Result<()> {
        self.disk.rename(dir, from, to).map_err(self.explain("rename", dir, from))
    }

    /// Removes a name that may be gone already.
    pub(crate) fn remove(&self, dir: Dir, name: &str) -> Result<()> {
        match self.disk.remove(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(self.explain("remove", dir, name)),
        }
    }

    pub(crate) fn sync_dir(&self, dir: Dir) -> Result<()> {
        self.disk.sync_dir(dir).map_err(self.explain("sync directory", dir, ""))
    }

    pub(crate) fn exists(&self, dir: Dir, name: &str) -> Result<bool> {
        match self.disk.open(dir, name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.explain("open", dir, name)(error)),
        }
    }

    /// The contents of a small file; `None` when there is none.
    pub(crate) fn read_small(&self, dir: Dir, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.exists(dir, name)? {
            return Ok(None);
        }
        let file = self.open(dir, name)?;
        let mut bytes = vec![0; file.size()? as usize];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Replaces a small file so that a crash leaves the old contents or the new.
    pub(crate) fn replace(&self, dir: Dir, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}.tmp");
        let mut file = self.create(dir, &temporary)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        self.rename(dir, &temporary, name)?;
        self.sync_dir(dir)
    }
}

/// An open file whose errors name it.
pub(crate) struct OpenFile {
    file: Box<dyn File>,
    path: PathBuf,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenFile").field(&self.path).finish()
    }
}

impl OpenFile {
    fn explain(&self, op: &'static str) -> impl Fn(io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::Io { op, path: path.clone(), source }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn size(&self) -> Result<u64> {
        let size = self.file.size();
        size.map_err(self.explain("read the length of"))
    }

    pub(crate) fn page_bytes(&self) -> u64 {
        self.file.page_bytes()
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = self.file.read_at(offset, buffer);
        read.map_err(self.explain("read"))
    }

    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_at(offset, bytes);
        written.map_err(self.explain("write"))
    }

    pub(crate) fn truncate(&mut self, size: u64) -> Result<()> {
        let cut = self.file.truncate(size);
        cut.map_err(self.explain("truncate"))
    }

    pub(crate) fn sync(&mut self) -> Result<()> {
        let synced = self.file.sync();
        synced.map_err(self.explain("sync"))
    }
}

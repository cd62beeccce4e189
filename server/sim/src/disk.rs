//! A disk in memory that keeps what was synced apart from what was not.
//!
//! There are two images of everything: what programs see, and what the power cannot take away. When a process dies, the
//! first stays, unsynced as it is. When the power fails, the second is left, with some of the rest by chance: sectors of
//! unsynced writes, each for itself, and changes of names, each for itself. That is all `store::Disk` promises.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Dir, Disk, File};

use crate::random::Random;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size: usize },
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Truncate { size } => contents.resize(*size, 0),
            Self::Write { offset, bytes } => put(contents, *offset, bytes),
        }
    }
}

fn put(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[offset..end].copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    volatile: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.volatile);
        self.pending.push(change);
    }
}

type SharedInode = Arc<Mutex<Inode>>;

/// Names set and unset together.
#[derive(Clone, Debug)]
struct Naming {
    dir: Dir,
    unset: Option<String>,
    set: Option<(String, SharedInode)>,
}

type Names = BTreeMap<(Dir, String), SharedInode>;

impl Naming {
    fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.unset {
            names.remove(&(self.dir, name.clone()));
        }
        if let Some((name, inode)) = &self.set {
            names.insert((self.dir, name.clone()), inode.clone());
        }
    }
}

/// What is shown of a file after a sync of it has failed. Systems differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// What is on the medium.
    Medium,
    /// What was written, although it is not on the medium and no later sync will bring it there (ext4).
    Memory,
}

/// What the disk is about to do to its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Sound,
    /// The power fails after so many more operations.
    CutAfter(u64),
    /// The power is off: nothing works.
    Dark,
    /// The process is killed after so many more operations.
    KillAfter(u64),
    /// The process was killed in the middle of something.
    Killed,
    /// The next sync fails, and what it was to make durable is gone.
    FailNextSync(Shown),
    /// A sync has failed.
    Failed(Shown),
}

#[derive(Debug, Default)]
struct State {
    durable: Names,
    volatile: Names,
    pending: Vec<Naming>,
    mood: Mood,
}

/// The disk of one host. Clones are handles of the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.mood {
            Mood::Sound | Mood::FailNextSync(_) | Mood::Failed(_) => Ok(()),
            Mood::CutAfter(left) | Mood::KillAfter(left) if *left > 0 => {
                *left -= 1;
                Ok(())
            }
            mood @ (Mood::KillAfter(_) | Mood::Killed) => {
                *mood = Mood::Killed;
                Err(io::Error::other("killed"))
            }
            mood => {
                *mood = Mood::Dark;
                Err(io::Error::other("power cut"))
            }
        }
    }

    fn step_sync(&mut self) -> io::Result<()> {
        self.step()?;
        if let Mood::FailNextSync(shown) = self.mood {
            self.mood = Mood::Failed(shown);
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn find(&self, dir: Dir, name: &str) -> io::Result<&SharedInode> {
        self.volatile.get(&(dir, name.to_owned())).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.volatile);
        self.pending.push(naming);
    }
}

impl SimDisk {
    /// Lets the power fail at the end of `operations` more operations that change something.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        lock(&self.0).mood = Mood::CutAfter(operations);
    }

    /// Lets the process die at the end of `operations` more operations that change something.
    pub(crate) fn kill_after(&self, operations: u64) {
        lock(&self.0).mood = Mood::KillAfter(operations);
    }

    /// Lets the next sync fail.
    pub(crate) fn fail_next_sync(&self, shown: Shown) {
        lock(&self.0).mood = Mood::FailNextSync(shown);
    }

    /// Whether the power failed in the middle of an operation.
    pub(crate) fn is_dark(&self) -> bool {
        lock(&self.0).mood == Mood::Dark
    }

    /// Whether it is the reason why its process ends: by an error of its own, or as the place where that was killed.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(lock(&self.0).mood, Mood::Failed(_) | Mood::Killed)
    }

    /// Whether a sync has failed, and nothing worse has happened.
    pub(crate) fn has_failed_sync(&self) -> bool {
        matches!(lock(&self.0).mood, Mood::Failed(_))
    }

    /// Works again as it should.
    pub(crate) fn mend(&self) {
        lock(&self.0).mood = Mood::Sound;
    }

    /// What is left when the power fails now. Handles of before must not be used any more.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Self {
        let keeps = random.below(4);
        let state = lock(&self.0);
        let mut names = state.durable.clone();
        for naming in &state.pending {
            let kept = match keeps {
                0 => false,
                1 => true,
                _ => random.one_in(2),
            };
            if kept {
                naming.apply(&mut names);
            }
        }
        Self::of_names(names, |inode| match keeps {
            0 => inode.durable.clone(),
            _ => torn(inode, random),
        })
    }

    /// Only what is certain to survive.
    pub(crate) fn durable_image(&self) -> Self {
        let names = lock(&self.0).durable.clone();
        Self::of_names(names, |inode| inode.durable.clone())
    }

    fn of_names(names: Names, mut contents: impl FnMut(&Inode) -> Vec<u8>) -> Self {
        let settle = |(name, inode): (&(Dir, String), &SharedInode)| {
            let bytes = contents(&lock(inode));
            let inode = Inode { durable: bytes.clone(), volatile: bytes, pending: Vec::new() };
            (name.clone(), Arc::new(Mutex::new(inode)))
        };
        let names: Names = names.iter().map(settle).collect();
        Self(Arc::new(Mutex::new(State {
            durable: names.clone(),
            volatile: names,
            ..State::default()
        })))
    }
}

/// What may be left of a file: of every unsynced write some sectors, of the last one perhaps only its beginning.
fn torn(inode: &Inode, random: &mut Random) -> Vec<u8> {
    let mut contents = inode.durable.clone();
    let last = inode.pending.len().saturating_sub(1);
    for (index, change) in inode.pending.iter().enumerate() {
        match change {
            Change::Truncate { .. } => {
                if random.one_in(2) {
                    change.apply(&mut contents);
                }
            }
            Change::Write { offset, bytes } => {
                if index == last && random.one_in(2) {
                    let kept = random.below(bytes.len() as u64 + 1) as usize;
                    put(&mut contents, *offset, &bytes[..kept]);
                } else if random.one_in(3) {
                    change.apply(&mut contents);
                } else {
                    tear(&mut contents, *offset, bytes, random);
                }
            }
        }
    }
    contents
}

/// Whole sectors of a write, each by chance.
fn tear(contents: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut Random) {
    let mut start = 0;
    while start < bytes.len() {
        let sector_end = (offset + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
        let end = (sector_end - offset).min(bytes.len());
        if random.one_in(2) {
            put(contents, offset + start, &bytes[start..end]);
        }
        start = end;
    }
}

impl Disk for SimDisk {
    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        PathBuf::from(format!("{dir:?}")).join(name)
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        let here = state.volatile.keys().filter(|(d, _)| *d == dir);
        Ok(here.map(|(_, name)| name.clone()).collect())
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let inode = lock(&self.0).find(dir, name)?.clone();
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = lock(&self.0);
        state.step()?;
        if let Ok(there) = state.find(dir, name) {
            // As on a real disk: it is emptied under whoever else has it open.
            let inode = there.clone();
            drop(state);
            lock(&inode).change(Change::Truncate { size: 0 });
            return Ok(Box::new(SimFile { disk: self.clone(), inode }));
        }
        let inode = SharedInode::default();
        state.name(Naming { dir, unset: None, set: Some((name.to_owned(), inode.clone())) });
        drop(state);
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        let inode = state.find(dir, from)?.clone();
        state.step()?;
        let (unset, set) = (Some(from.to_owned()), Some((to.to_owned(), inode)));
        state.name(Naming { dir, unset, set });
        Ok(())
    }

    fn remove(&self, dir: Dir, name: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.find(dir, name)?;
        state.step()?;
        state.name(Naming { dir, unset: Some(name.to_owned()), set: None });
        Ok(())
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.step_sync()?;
        let (here, elsewhere) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|naming| naming.dir == dir);
        for naming in &here {
            naming.apply(&mut state.durable);
        }
        state.pending = elsewhere;
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: SharedInode,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        lock(&self.disk.0).step()?;
        lock(&self.inode).change(change);
        Ok(())
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).volatile.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inode = lock(&self.inode);
        let rest = inode.volatile.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write { offset: offset as usize, bytes: bytes.to_vec() })
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.change(Change::Truncate { size: size as usize })
    }

    fn sync(&mut self) -> io::Result<()> {
        let (outcome, mood) = {
            let mut state = lock(&self.disk.0);
            (state.step_sync(), state.mood)
        };
        let mut inode = lock(&self.inode);
        let pending = std::mem::take(&mut inode.pending);
        match outcome {
            Ok(()) => {
                for change in &pending {
                    change.apply(&mut inode.durable);
                }
                Ok(())
            }
            Err(error) => {
                match mood {
                    Mood::Failed(Shown::Medium) => inode.volatile = inode.durable.clone(),
                    Mood::Failed(Shown::Memory) => {
                        // Lengths are kept elsewhere, and not lost with the pages.
                        let is_kept = |change: &Change| matches!(change, Change::Truncate { .. });
                        inode.pending = pending.into_iter().filter(is_kept).collect();
                    }
                    _ => inode.pending = pending,
                }
                Err(error)
            }
        }
    }
}

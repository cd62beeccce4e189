//! A disk in memory that keeps what was synced apart from what was not, dies after a given number
//! of operations, and then shows what a machine might find after the power came back.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use store::{Dir, Disk, File};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size: usize },
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    volatile: Vec<u8>,
    pending: Vec<Change>,
}

/// Names set and unset together.
#[derive(Clone, Debug)]
struct Naming {
    dir: Dir,
    unset: Option<String>,
    set: Option<(String, usize)>,
}

type Names = BTreeMap<(Dir, String), usize>;

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    durable: Names,
    volatile: Names,
    pending: Vec<Naming>,
    operations: u64,
    operations_max: Option<u64>,
    fails_next_sync: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<State>>);

/// How the unsynced part fares in a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it survives, as when only the process dies.
    Kept,
    /// Each name, each sector, and the cut of the last write, by chance.
    Torn(u64),
}

/// Good enough chance, the same everywhere (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        if self.operations_max.is_some_and(|max| self.operations >= max) {
            return Err(io::Error::other("power cut"));
        }
        self.operations += 1;
        Ok(())
    }

    fn find(&self, dir: Dir, name: &str) -> io::Result<usize> {
        let found = self.volatile.get(&(dir, name.to_owned()));
        found.copied().ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, naming: Naming) {
        apply_naming(&mut self.volatile, &naming);
        self.pending.push(naming);
    }
}

fn apply_naming(names: &mut Names, naming: &Naming) {
    if let Some(name) = &naming.unset {
        names.remove(&(naming.dir, name.clone()));
    }
    if let Some((name, inode)) = &naming.set {
        names.insert((naming.dir, name.clone()), *inode);
    }
}

fn apply_change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate { size } => bytes.resize(*size, 0),
        Change::Write { offset, bytes: written } => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

/// Applies what is left of a write: whole sectors, each by chance.
fn apply_torn(bytes: &mut Vec<u8>, offset: usize, written: &[u8], chance: &mut Chance) {
    let mut start = 0;
    while start < written.len() {
        let sector_end = (offset + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
        let end = (sector_end - offset).min(written.len());
        if chance.one_in(2) {
            let piece =
                Change::Write { offset: offset + start, bytes: written[start..end].to_vec() };
            apply_change(bytes, &piece);
        }
        start = end;
    }
}

fn surviving(inode: &Inode, fate: Fate, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = inode.durable.clone();
    let last = inode.pending.len().saturating_sub(1);
    for (index, change) in inode.pending.iter().enumerate() {
        match (fate, change) {
            (Fate::Lost, _) => {}
            (Fate::Kept, change) => apply_change(&mut bytes, change),
            (Fate::Torn(_), Change::Truncate { .. }) => {
                if chance.one_in(2) {
                    apply_change(&mut bytes, change);
                }
            }
            (Fate::Torn(_), Change::Write { offset, bytes: written }) => {
                if index == last && chance.one_in(2) {
                    let cut = (chance.next() % (written.len() as u64 + 1)) as usize;
                    let piece = Change::Write { offset: *offset, bytes: written[..cut].to_vec() };
                    apply_change(&mut bytes, &piece);
                } else if chance.one_in(3) {
                    apply_change(&mut bytes, change);
                } else {
                    apply_torn(&mut bytes, *offset, written, chance);
                }
            }
        }
    }
    bytes
}

impl CrashDisk {
    /// Fails every operation after the first `operations_max`.
    pub(crate) fn dying_after(&self, operations_max: u64) -> &Self {
        let mut state = self.lock();
        state.operations = 0;
        state.operations_max = Some(operations_max);
        drop(state);
        self
    }

    /// Fails the next sync of a file as ext4 does: what it could not write is still shown, and counts as written.
    pub(crate) fn fail_next_sync(&self) {
        self.lock().fails_next_sync = true;
    }

    /// Operations so far that change something.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The disk as found after the crash.
    pub(crate) fn after_crash(&self, fate: Fate) -> Self {
        let state = self.lock();
        let mut chance = Chance(match fate {
            Fate::Torn(seed) => seed,
            Fate::Lost | Fate::Kept => 0,
        });
        let mut names = state.durable.clone();
        for naming in &state.pending {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn(_) => chance.one_in(2),
            };
            if kept {
                apply_naming(&mut names, naming);
            }
        }
        let settle = |inode: &Inode, chance: &mut Chance| {
            let bytes = surviving(inode, fate, chance);
            Inode { durable: bytes.clone(), volatile: bytes, pending: Vec::new() }
        };
        let inodes = state.inodes.iter().map(|i| settle(i, &mut chance)).collect();
        Self(Arc::new(Mutex::new(State {
            inodes,
            durable: names.clone(),
            volatile: names,
            ..State::default()
        })))
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, dir: Dir, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            durable: bytes.to_vec(),
            volatile: bytes.to_vec(),
            pending: Vec::new(),
        });
        state.durable.insert((dir, name.to_owned()), inode);
        state.volatile.insert((dir, name.to_owned()), inode);
    }

    /// The contents of a file.
    pub(crate) fn get(&self, dir: Dir, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.find(dir, name).ok()?;
        Some(state.inodes[inode].volatile.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn file(&self, inode: usize) -> Box<dyn File> {
        Box::new(CrashFile { disk: self.clone(), inode })
    }
}

impl Disk for CrashDisk {
    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        PathBuf::from(format!("{dir:?}")).join(name)
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let state = self.lock();
        let here = state.volatile.keys().filter(|(d, _)| *d == dir);
        Ok(here.map(|(_, name)| name.clone()).collect())
    }

    fn open(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let inode = self.lock().find(dir, name)?;
        Ok(self.file(inode))
    }

    fn create(&self, dir: Dir, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        state.step()?;
        // As on a real disk: a file that is there is emptied under whoever else has it open.
        let inode = if let Ok(there) = state.find(dir, name) {
            let inode = &mut state.inodes[there];
            let change = Change::Truncate { size: 0 };
            apply_change(&mut inode.volatile, &change);
            inode.pending.push(change);
            there
        } else {
            let inode = state.inodes.len();
            state.inodes.push(Inode::default());
            state.rename(Naming { dir, unset: None, set: Some((name.to_owned(), inode)) });
            inode
        };
        drop(state);
        Ok(self.file(inode))
    }

    fn rename(&self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.find(dir, from)?;
        state.step()?;
        state.rename(Naming {
            dir,
            unset: Some(from.to_owned()),
            set: Some((to.to_owned(), inode)),
        });
        Ok(())
    }

    fn remove(&self, dir: Dir, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.find(dir, name)?;
        state.step()?;
        state.rename(Naming { dir, unset: Some(name.to_owned()), set: None });
        Ok(())
    }

    fn sync_dir(&self, dir: Dir) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let (here, elsewhere) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|naming| naming.dir == dir);
        for naming in &here {
            apply_naming(&mut state.durable, naming);
        }
        state.pending = elsewhere;
        Ok(())
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    inode: usize,
}

impl CrashFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.step()?;
        let inode = &mut state.inodes[self.inode];
        apply_change(&mut inode.volatile, &change);
        inode.pending.push(change);
        Ok(())
    }
}

impl File for CrashFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].volatile.len() as u64)
    }

    fn page_bytes(&self) -> u64 {
        SECTOR_BYTES as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.lock();
        let bytes = &state.inodes[self.inode].volatile;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
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
        let mut state = self.disk.lock();
        state.step()?;
        let fails = std::mem::take(&mut state.fails_next_sync);
        let inode = &mut state.inodes[self.inode];
        if fails {
            inode.pending.retain(|change| matches!(change, Change::Truncate { .. }));
            return Err(io::Error::other("input/output error"));
        }
        for change in std::mem::take(&mut inode.pending) {
            apply_change(&mut inode.durable, &change);
        }
        Ok(())
    }
}

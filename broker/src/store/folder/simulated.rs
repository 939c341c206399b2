//! A disk that keeps what was synced and no more: the rest it drops, tears at sector borders and reorders when the
//! power fails. On demand its calls fail, as on a full or a dying disk. Everything follows from one seed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::memory::write;
use super::{Folder, StoredFile};

const SECTOR: usize = 512;

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Whatever takes space fails, some of it done.
    Full,
    /// Anything that changes something fails, one time in so many.
    Failing {
        one_in: u32,
    },
}

/// A mistake put in on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBug {
    None,
    /// Directory entries are never synced.
    NoDirectorySync,
    /// Files are never synced, so an ack comes before what it promises.
    NoFileSync,
}

#[derive(Debug, Clone)]
pub struct SimulatedFolder(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    rng: StdRng,
    files: Vec<Content>,
    /// What the process sees, and what a crash leaves.
    entries: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Unsynced changes of entries, in order. A journal may have got any number of them down, but none before another.
    pending: Vec<Entry>,
    health: Health,
    bug: DiskBug,
}

#[derive(Debug, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that are in the cache only, and reach the disk in any order.
    pending: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Entry {
    Created(String, usize),
    Renamed(String, String),
    Removed(String),
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Arc<Mutex<Disk>>,
    id: usize,
}

impl SimulatedFolder {
    pub fn new(seed: u64, bug: DiskBug) -> SimulatedFolder {
        SimulatedFolder(Arc::new(Mutex::new(Disk {
            rng: StdRng::seed_from_u64(seed),
            files: Vec::new(),
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            health: Health::Well,
            bug,
        })))
    }

    pub fn set_health(&self, health: Health) {
        self.lock().health = health;
    }

    /// The power fails.
    pub fn crash(&self) {
        let mut disk = self.lock();
        let Disk {
            rng,
            files,
            entries,
            durable,
            pending,
            ..
        } = &mut *disk;
        let kept = rng.random_range(0..=pending.len());
        for change in pending.drain(..).take(kept) {
            change.apply(durable);
        }
        *entries = durable.clone();
        for file in files {
            file.lose_power(rng);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

impl Disk {
    fn fails(&mut self, takes_space: bool) -> io::Result<()> {
        let fails = match self.health {
            Health::Well => false,
            Health::Full => takes_space,
            Health::Failing { one_in } => self.rng.random_range(0..one_in) == 0,
        };
        match (fails, self.health) {
            (false, _) => Ok(()),
            (true, Health::Full) => Err(io::ErrorKind::StorageFull.into()),
            (true, _) => Err(io::Error::from_raw_os_error(5)),
        }
    }

    fn change(&mut self, change: Entry) {
        change.apply(&mut self.entries);
        self.pending.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.entries
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Entry {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Entry::Created(name, id) => drop(entries.insert(name.clone(), *id)),
            Entry::Removed(name) => drop(entries.remove(name)),
            Entry::Renamed(from, to) => {
                if let Some(id) = entries.remove(from) {
                    entries.insert(to.clone(), id);
                }
            }
        }
    }
}

impl Content {
    fn lose_power(&mut self, rng: &mut StdRng) {
        let mut pending = std::mem::take(&mut self.pending);
        while !pending.is_empty() {
            let (offset, bytes) = pending.swap_remove(rng.random_range(0..pending.len()));
            match rng.random_range(0..3) {
                0 => {}
                1 => write(&mut self.durable, &bytes, offset).unwrap(),
                _ => write_torn(&mut self.durable, &bytes, offset, rng),
            }
        }
        self.cached.clone_from(&self.durable);
    }

    /// Not the whole cache: what an earlier sync dropped stays dropped.
    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            write(&mut self.durable, &bytes, offset).unwrap();
        }
    }
}

/// Each sector gets there or does not.
fn write_torn(durable: &mut Vec<u8>, bytes: &[u8], offset: u64, rng: &mut StdRng) {
    let mut at = 0;
    while at < bytes.len() {
        let to_border = SECTOR - (usize::try_from(offset).unwrap() + at) % SECTOR;
        let end = bytes.len().min(at + to_border);
        if rng.random_bool(0.5) {
            write(durable, &bytes[at..end], offset + at as u64).unwrap();
        }
        at = end;
    }
}

impl Folder for SimulatedFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().entries.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut disk = self.lock();
        if disk.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.fails(true)?;
        let id = disk.files.len();
        disk.files.push(Content::default());
        disk.change(Entry::Created(name.to_owned(), id));
        Ok(Box::new(SimulatedFile {
            disk: Arc::clone(&self.0),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let id = self.lock().find(name)?;
        Ok(Box::new(SimulatedFile {
            disk: Arc::clone(&self.0),
            id,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.find(from)?;
        disk.fails(false)?;
        disk.change(Entry::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.find(name)?;
        disk.fails(false)?;
        disk.change(Entry::Removed(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.fails(false)?;
        if disk.bug == DiskBug::NoDirectorySync {
            return Ok(());
        }
        disk.pending.clear();
        disk.durable = disk.entries.clone();
        Ok(())
    }

    fn destroy(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.entries.clear();
        disk.durable.clear();
        disk.pending.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("(simulated)").join(name)
    }
}

impl StoredFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        let disk = self.disk.lock().unwrap();
        Ok(disk.files[self.id].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let found = disk.files[self.id].cached.get(from..from + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let outcome = disk.fails(true);
        let done = match outcome {
            Ok(()) => bytes.len(),
            Err(_) => disk.rng.random_range(0..=bytes.len()),
        };
        let file = &mut disk.files[self.id];
        write(&mut file.cached, &bytes[..done], offset)?;
        file.pending.push((offset, bytes[..done].to_vec()));
        outcome
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.fails(false)?;
        let file = &mut disk.files[self.id];
        let size = usize::try_from(size).unwrap();
        file.cached.truncate(size);
        file.sync();
        file.durable.truncate(size);
        Ok(())
    }

    /// A failed sync drops what it should have written: the cache still shows it, and the next sync says nothing.
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let disk = &mut *disk;
        if disk.bug == DiskBug::NoFileSync {
            return Ok(());
        }
        let outcome = disk.fails(false);
        let file = &mut disk.files[self.id];
        if outcome.is_err() {
            for (offset, bytes) in std::mem::take(&mut file.pending) {
                if disk.rng.random_bool(0.5) {
                    write(&mut file.durable, &bytes, offset)?;
                }
            }
            return outcome;
        }
        file.sync();
        Ok(())
    }
}

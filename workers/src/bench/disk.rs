//! The disk under a folder: its file system, and how often a second it can sync. All durable work waits for that.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Long enough for a mean, short beside a run.
const PROBE: Duration = Duration::from_millis(500);
/// What a database writes at least.
const BLOCK: [u8; 4096] = [0; 4096];
/// They forget everything when the machine does.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// What is beneath a folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disk {
    /// Such as `ext4`; `unknown` where the system does not tell.
    pub file_system: String,
    /// A block appended and synced, so often a second, one after the other.
    pub fdatasync_per_s: f64,
}

impl Disk {
    /// Looks, and measures for half a second.
    pub(super) fn under(folder: &Path) -> io::Result<Self> {
        let probe = folder.join("probe");
        let fdatasync_per_s = syncs_per_second(&probe)?;
        fs::remove_file(&probe)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = fs::canonicalize(folder)?;
        let file_system = file_system(&mounts, &folder).unwrap_or("unknown").to_owned();
        Ok(Self {
            file_system,
            fdatasync_per_s,
        })
    }

    /// Whether what is synced there outlives a power failure.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !VOLATILE.contains(&self.file_system.as_str())
    }
}

fn syncs_per_second(path: &Path) -> io::Result<f64> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    let mut syncs = 0_u32;
    while began.elapsed() < PROBE {
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / began.elapsed().as_secs_f64())
}

/// Of the mount that is nearest to the folder; the last one wins where two are at the same place.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let parse = |line: &'a str| {
        let (mount, rest) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, rest.split(' ').next()?))
    };
    let above = mounts
        .lines()
        .filter_map(parse)
        .filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            22 21 0:5 / /dev/shm rw - tmpfs tmpfs rw\n\
            23 21 0:6 / /dev/shm rw - ramfs ramfs rw\n";
        let check = |folder: &str, expect: &str| {
            assert_eq!(file_system(mounts, Path::new(folder)), Some(expect), "{folder}");
        };
        check("/srv/data", "ext4");
        check("/dev/shm/x", "ramfs");
        check("/dev/shmoo", "ext4");
    }

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::under(folder.path()).unwrap();
        assert!(disk.fdatasync_per_s > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

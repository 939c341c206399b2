//! PostgreSQL as Debian ships it, on a fresh cluster of its own, as durable as in production (`fsync` on).

use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::spawned::Spawned;

const READY: &str = "database system is ready to accept connections";

/// A port that was free may be taken by the time PostgreSQL binds it; after a kill, a dying backend may hold the
/// shared memory a moment longer. Both pass.
const START_TRIES: u32 = 20;

/// Below the range that Linux hands to outgoing connections, so that `restart` finds its port again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

#[derive(Debug)]
pub(crate) struct Postgres {
    server: Option<Spawned>,
    dir: TempDir,
    bin: PathBuf,
    owner: Option<Owner>,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a cluster and starts its server; ready for connections when this returns.
    pub(crate) fn start() -> Postgres {
        let bin = find_binaries();
        let owner = Owner::unless_unprivileged();
        let dir = tempfile::Builder::new()
            .prefix("postroom-postgres-")
            .tempdir()
            .expect("a temporary folder");
        if let Some(owner) = &owner {
            chown(dir.path(), Some(owner.uid), Some(owner.gid)).expect("root may give a folder away");
        }
        let mut postgres = Postgres {
            server: None,
            dir,
            bin,
            owner,
            port: free_port(),
            databases: AtomicU32::new(0),
        };
        postgres.initdb();
        let mut tries = 1;
        while let Err(said) = postgres.try_start() {
            assert!(tries < START_TRIES, "{said}");
            tries += 1;
            postgres.port = free_port();
        }
        postgres
    }

    /// The URL of the database `postgres`, for a superuser without a password.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a new and empty database, so that many tests can share one server.
    pub(crate) fn fresh_database(&self) -> String {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(self.bin.join("createdb"))
            .args(["--maintenance-db", &self.url(), &name])
            .output()
            .expect("createdb comes with PostgreSQL");
        assert!(
            made.status.success(),
            "createdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        self.url_of(&name)
    }

    /// Ends the server as a crash would: SIGKILL to all its processes.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Ends the server if it still runs (SIGQUIT: connections are cut) and starts it again on the same port; its
    /// recovery is over when this returns.
    pub(crate) fn restart(&mut self) {
        self.quit();
        let mut tries = 1;
        while let Err(said) = self.try_start() {
            assert!(tries < START_TRIES, "{said}");
            tries += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn initdb(&self) {
        let made = self
            .command("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(self.dir.path().join("cluster"))
            .output()
            .expect("initdb was found above");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    fn try_start(&mut self) -> Result<(), String> {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.dir.path().join("cluster"))
            .args(["-h", "127.0.0.1"]);
        command.args(["-p", &self.port.to_string(), "-N", "200"]);
        for setting in [
            "unix_socket_directories=",
            "shared_buffers=32MB",
            "log_min_messages=warning",
        ] {
            command.args(["-c", setting]);
        }
        let ready = |line: &str| line.contains(READY).then_some(());
        let (server, ()) = Spawned::start(&mut command, self.dir.path(), ready)?;
        self.server = Some(server);
        Ok(())
    }

    /// SIGQUIT gives back the shared memory, which a SIGKILL would leave to the next start.
    fn quit(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop("QUIT");
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // The folder that the tests run in may be closed to the owner; the messages looked for are the English ones.
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        if let Some(owner) = &self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.quit();
    }
}

/// PostgreSQL refuses to run as root, so root lends it another user.
#[derive(Debug)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn unless_unprivileged() -> Option<Owner> {
        let me = std::fs::metadata("/proc/self").expect("/proc is mounted").uid();
        if me != 0 {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let owner = Owner::named("postgres", &users).or_else(|| Owner::named("nobody", &users));
        Some(owner.expect("root needs a user postgres or nobody to run PostgreSQL as"))
    }

    fn named(name: &str, passwd: &str) -> Option<Owner> {
        let mut fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = fields.find(|user| user.first() == Some(&name))?;
        Some(Owner {
            uid: user.get(2)?.parse().ok()?,
            gid: user.get(3)?.parse().ok()?,
        })
    }
}

/// The newest of Debian's versions, or the folder of the `initdb` on the PATH.
fn find_binaries() -> PathBuf {
    let version = |bin: &Path| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = debian
        .map(|entry| entry.path().join("bin"))
        .filter(has_server)
        .max_by_key(|bin| version(bin));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .or_else(|| std::env::split_paths(&path).find(has_server))
        .expect("PostgreSQL's server is needed: run scripts/test-setup")
}

#[expect(clippy::ptr_arg, reason = "it is a predicate over an iterator of PathBuf")]
fn has_server(bin: &PathBuf) -> bool {
    bin.join("postgres").exists() && bin.join("initdb").exists()
}

fn free_port() -> u16 {
    let room = u64::from(PORTS.end - PORTS.start);
    loop {
        // Each RandomState has a seed of its own: all the randomness that this needs.
        let draw = std::hash::RandomState::new().build_hasher().finish() % room;
        let port = PORTS.start + u16::try_from(draw).expect("the range is narrower than u16");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

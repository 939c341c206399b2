//! A server process of a test: ready when its log says so, gone when the value or the test process is.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Generous: a loaded machine may take seconds to recover a write-ahead log.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Waits for its standard input to close. A line first means that the server was ended in good order; without one
/// the test process is gone, and the server and its folder go too.
const WATCHDOG: &str = r#"
    read -r _ && exit 0
    kill -KILL "$1"
    # The processes that PostgreSQL leaves behind notice within a second, and write until then.
    sleep 1
    rm -rf -- "$2"
"#;

#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    watchdog: Child,
    /// Held open for as long as the server may run.
    leash: Option<ChildStdin>,
}

impl Spawned {
    /// Starts `command` and reads its standard error until `ready` has found what it looks for in a line.
    /// Otherwise the server's own words are the error. `dir` is removed if the test process dies.
    pub(crate) fn start<T>(
        command: &mut Command,
        dir: &Path,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Spawned, T), String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("could not start {command:?}: {error} (run scripts/test-setup)"))?;
        let log = child.stderr.take().expect("standard error is piped");
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is on every machine");
        let leash = watchdog.stdin.take();
        let mut spawned = Spawned {
            child,
            watchdog,
            leash,
        };

        let lines = lines_of(log);
        let give_up_at = Instant::now() + READY_WITHIN;
        let mut said = String::new();
        loop {
            match lines.recv_timeout(give_up_at.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = ready(&line) {
                        return Ok((spawned, found));
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(why) => {
                    let why = match why {
                        RecvTimeoutError::Timeout => "was not ready in time",
                        RecvTimeoutError::Disconnected => "ended before it was ready",
                    };
                    spawned.kill();
                    return Err(format!("{command:?} {why}; it said:\n{said}"));
                }
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL to the server and its children at once: a crash, not a shutdown.
    pub(crate) fn kill(&mut self) {
        let children = children_of(self.child.id());
        self.signal("KILL", &children);
        self.reap();
    }

    /// Sends `signal` (a name that `kill` knows) to the server and waits until it has ended.
    pub(crate) fn stop(&mut self, signal: &str) {
        self.signal(signal, &[]);
        self.reap();
    }

    fn signal(&mut self, signal: &str, others: &[String]) {
        // A child that has been waited for may have lent its number to a stranger.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill")
                .args(["-s", signal, &self.child.id().to_string()])
                .args(others)
                .stderr(Stdio::null())
                .status();
        }
    }

    fn reap(&mut self) {
        let _ = self.child.wait();
        if let Some(mut leash) = self.leash.take() {
            let _ = std::io::Write::write_all(&mut leash, b"ended\n");
        }
        let _ = self.watchdog.wait();
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What PostgreSQL's processes are to its postmaster: a crash must take them with it, or they go on writing.
fn children_of(pid: u32) -> Vec<String> {
    let parent = pid.to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        // The name in brackets may hold anything; after it come the state and the parent.
        let (_, rest) = stat.rsplit_once(") ")?;
        (rest.split(' ').nth(1)? == parent).then(|| process.file_name().to_string_lossy().into_owned())
    });
    pids.collect()
}

/// The lines of a server's log. They are read to the end even when nobody listens any more, because a full pipe would
/// stop the server.
fn lines_of(log: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

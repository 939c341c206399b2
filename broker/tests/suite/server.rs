//! A server as a process: started on a free port, told apart by its log lines, killed when dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
}

/// Our own binary, built by cargo for this test.
pub(crate) fn ours() -> String {
    env!("CARGO_BIN_EXE_postroom-broker").to_owned()
}

/// The server whose behaviour we follow. It must be there: a divergence that nobody looks for is not found.
pub(crate) fn reference() -> String {
    std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned())
}

impl Server {
    /// With JetStream under `store`, on `port` or any free one.
    pub(crate) fn start(program: &str, store: &Path, port: Option<u16>) -> Server {
        let mut command = Command::new(program);
        command
            .args(["-js", "-a", "127.0.0.1", "-p"])
            .arg(port.map_or("-1".to_owned(), |port| port.to_string()));
        command.arg("-sd").arg(store);
        Server::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Server {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can not be started: {error}; set NATS_SERVER"));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        // Ends with the process, whose stderr it drains.
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut server = Server {
            child,
            lines,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let listening = server.wait_for("Listening for client connections on ");
        server.address = listening.parse().unwrap();
        server.wait_for("Server is ready");
        server
    }

    /// The rest of the first log line that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no {text:?} in the log: {error}"));
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// SIGKILL: no last words, no last sync.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; true if it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        let status = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already after `kill` and `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

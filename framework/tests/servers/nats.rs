//! nats-server with JetStream, the peer that the framework must run on unchanged.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::spawned::Spawned;

const LISTENING: &str = "Listening for client connections on 127.0.0.1:";
const READY: &str = "Server is ready";

#[derive(Debug)]
pub(crate) struct Nats {
    server: Option<Spawned>,
    dir: TempDir,
    port: u16,
}

impl Nats {
    /// Starts a server on a port of its own choosing, with an empty store.
    pub(crate) fn start() -> Nats {
        let dir = tempfile::Builder::new()
            .prefix("postroom-nats-")
            .tempdir()
            .expect("a temporary folder");
        let mut nats = Nats {
            server: None,
            dir,
            port: 0,
        };
        // nats-server picks a free port itself when told -1.
        nats.spawn("-1");
        nats
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Ends the server if it still runs (SIGTERM) and starts it again on the same port and store.
    pub(crate) fn restart(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop("TERM");
        }
        let port = self.port.to_string();
        self.spawn(&port);
    }

    fn spawn(&mut self, port: &str) {
        let mut command = Command::new(binary());
        command
            .args(["-a", "127.0.0.1", "-p", port, "-js", "-sd"])
            .arg(self.dir.path());
        let mut listening = None;
        let started = Spawned::start(&mut command, self.dir.path(), |line| {
            if let Some((_, port)) = line.split_once(LISTENING) {
                listening = port.trim().parse::<u16>().ok();
            }
            if line.contains(READY) { listening } else { None }
        });
        match started {
            Ok((server, port)) => {
                self.server = Some(server);
                self.port = port;
            }
            Err(said) => panic!("{said}"),
        }
    }
}

/// `NATS_SERVER` as `scripts/test` sets it, or where `scripts/test-setup` puts it, or whatever the PATH has.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return named.into();
    }
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/bin/nats-server");
    if tools.exists() {
        tools
    } else {
        PathBuf::from("nats-server")
    }
}

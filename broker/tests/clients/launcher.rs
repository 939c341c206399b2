//! Takes the place of the crate `nats-server` that async-nats' own tests start their servers with.
//!
//! `CLIENT_TESTS_SERVER` is the program, and `CLIENT_TESTS_ARGUMENTS` what it is told besides, words apart by blanks. The
//! configuration files of the tests are handed to it as they are.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server, ended when dropped.
pub struct Server {
    child: Child,
    config: String,
    port: u16,
    store: PathBuf,
}

/// Never more than a name: one node has no cluster.
pub struct Cluster {
    pub servers: Vec<Server>,
}

pub fn run_basic_server() -> Server {
    run_server("")
}

pub fn run_server(config: &str) -> Server {
    run_server_with_port(config, None)
}

pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("client-tests-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let store = std::env::temp_dir().join(name);
    let port = port.unwrap_or("-1");
    let (child, port) = start(config, port, &store);
    Server {
        child,
        config: config.to_owned(),
        port,
        store,
    }
}

pub fn run_cluster(_config: &str) -> Cluster {
    panic!("needs a cluster");
}

pub fn set_lame_duck_mode(server: &Server) {
    let signal = Command::new("kill").args(["-USR2", &server.child.id().to_string()]).status();
    assert!(signal.is_ok_and(|status| status.success()));
}

impl Server {
    pub fn client_url(&self) -> String {
        // The name in the certificates.
        let host = format!("localhost:{}", self.port);
        let secured = ["tls", "ws"].iter().find(|kind| self.config.contains(*kind));
        match secured {
            Some(scheme) => format!("{scheme}://{host}"),
            None => format!("nats://{host}"),
        }
    }

    pub fn client_port(&self) -> u16 {
        self.port
    }

    pub fn restart(&mut self) {
        self.stop();
        let (child, _) = start(&self.config, &self.port.to_string(), &self.store);
        self.child = child;
    }

    fn stop(&mut self) {
        // Gone already, if a test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.store);
    }
}

impl Cluster {
    pub fn client_url(&self) -> String {
        self.servers.iter().map(Server::client_url).collect::<Vec<_>>().join(",")
    }
}

fn start(config: &str, port: &str, store: &PathBuf) -> (Child, u16) {
    let program = std::env::var("CLIENT_TESTS_SERVER").expect("CLIENT_TESTS_SERVER names the server");
    let mut command = Command::new(program);
    command.args(["-a", "127.0.0.1", "-p", port]).arg("-sd").arg(store);
    if !config.is_empty() {
        command.args(["-c", config]);
    }
    let more = std::env::var("CLIENT_TESTS_ARGUMENTS").unwrap_or_default();
    command.args(more.split_whitespace());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
    let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .map_while(Result::ok)
            // Whoever listened may have heard enough; the pipe is drained all the same.
            .for_each(|line| drop(sender.send(line)));
    });
    let mut bound = 0;
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("the server says that it is ready");
        if let Some((_, address)) = line.split_once("Listening for client connections on ") {
            bound = address.rsplit(':').next().and_then(|port| port.trim().parse().ok()).unwrap_or(0);
        }
        if line.contains("Server is ready") {
            return (child, bound);
        }
    }
}

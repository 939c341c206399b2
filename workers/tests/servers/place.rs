//! Where a test server lives: a folder with its filled-in configuration, a certificate, and ports that are free.

use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Below the range that Linux hands to outgoing connections, so that a restart finds its port again.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// A folder that the servers' own users can enter too.
    pub(crate) fn new(name: &str) -> Self {
        let root = fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0;
        assert!(root, "{name} drops privileges, so this test must run as root");
        let dir = tempfile::Builder::new()
            .prefix(&format!("postroom-{name}-"))
            .tempdir()
            .expect("a temporary folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the folder is ours");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a configuration, with every `@NAME@` replaced.
    pub(crate) fn write(&self, name: &str, template: &str, values: &[(&str, String)]) -> PathBuf {
        let mut text = template.replace("@DIR@", &self.path().display().to_string());
        for (key, value) in values {
            text = text.replace(&format!("@{key}@"), value);
        }
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it is inside")).expect("the folder is ours");
        fs::write(&path, text).expect("the folder is ours");
        path
    }

    /// A certificate for localhost and 127.0.0.1 that clients can be told to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        let cert = self.path().join("cert.pem");
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(self.path().join("key.pem"))
            .arg("-out")
            .arg(&cert)
            .output()
            .expect("openssl is needed: run scripts/test-setup");
        assert!(
            made.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        cert
    }
}

/// Ports that were free a moment ago; a server that finds one taken is started again with others.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // Held together, so that no two are the same.
    let held: [TcpListener; N] = std::array::from_fn(|_| {
        loop {
            let room = u64::from(PORTS.end - PORTS.start);
            let draw = std::hash::RandomState::new().build_hasher().finish() % room;
            let port = PORTS.start + u16::try_from(draw).expect("the range is narrower than u16");
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return listener;
            }
        }
    });
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

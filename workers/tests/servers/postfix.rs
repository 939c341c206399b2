//! Postfix: takes mail for example.test, refuses some of its addresses, hands the rest to Dovecot.
//!
//! Mail to nosuch.test (5.1.1) and full.test (5.2.2) it takes, and sends back.
//! `greylist@` 450, `full@` 452, `gone@` 550, `spam@` 554; everybody else is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dovecot::Dovecot;
use super::place::{Place, free_ports};
use super::spawned::Spawned;

const READY: &str = "daemon started";
const START_TRIES: u32 = 10;

#[derive(Debug)]
pub(crate) struct Postfix {
    server: Spawned,
    certificate: PathBuf,
    pub(crate) smtp: u16,
    place: Place,
}

impl Postfix {
    pub(crate) fn start(dovecot: &Dovecot) -> Postfix {
        let place = Place::new("postfix");
        let certificate = place.certificate();
        for dir in ["spool", "data"] {
            fs::create_dir_all(place.path().join(dir)).expect("the folder is ours");
        }
        let owned = Command::new("chown")
            .arg("postfix")
            .arg(place.path().join("data"))
            .status();
        assert!(
            owned.is_ok_and(|status| status.success()),
            "the package postfix makes the user postfix"
        );
        let mut tries = 1;
        loop {
            let [smtp] = free_ports();
            let ports = [("SMTP", smtp), ("LMTP", dovecot.lmtp), ("AUTH", dovecot.auth)];
            let values = ports.map(|(name, port)| (name, port.to_string()));
            place.write("etc/main.cf", include_str!("postfix-main.cf"), &values);
            place.write("etc/master.cf", include_str!("postfix-master.cf"), &values);
            match spawn(place.path()) {
                Ok(server) => {
                    return Postfix {
                        server,
                        certificate,
                        smtp,
                        place,
                    };
                }
                Err(said) => assert!(tries < START_TRIES, "postfix is needed: {said}"),
            }
            tries += 1;
        }
    }

    /// What a client must trust to talk TLS with it.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.server.stop("TERM");
    }
}

fn spawn(dir: &Path) -> Result<Spawned, String> {
    // Its log goes to standard output, and the log is read from standard error.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec postfix -c \"$1\" start-fg >&2", "postfix"])
        .arg(dir.join("etc"));
    let started = Spawned::start(&mut command, dir, |line| line.contains(READY).then_some(()));
    started.map(|(server, ())| server)
}

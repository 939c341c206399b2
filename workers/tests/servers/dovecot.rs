//! Dovecot: IMAP, IMAPS, STARTTLS and LMTP. Any user exists; all have the same password.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::place::{Place, free_ports};
use super::spawned::Spawned;
use super::token_server::TokenServer;

const READY: &str = "starting up for imap, lmtp";
const START_TRIES: u32 = 10;

#[derive(Debug)]
pub(crate) struct Dovecot {
    server: Option<Spawned>,
    config: PathBuf,
    certificate: PathBuf,
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    pub(crate) lmtp: u16,
    /// Where Postfix asks whether a password is right.
    pub(crate) auth: u16,
    place: Place,
}

impl Dovecot {
    /// Every character of it is a trap for some way of quoting.
    pub(crate) const PASSWORD: &str = r#"pa ss"w\örd{3}"#;

    pub(crate) fn start() -> Dovecot {
        let place = Place::new("dovecot");
        let certificate = place.certificate();
        // Mailboxes belong to nobody.
        let mail = place.path().join("mail");
        std::fs::create_dir(&mail).expect("the folder is ours");
        std::fs::set_permissions(&mail, std::fs::Permissions::from_mode(0o777)).expect("the folder is ours");
        place.write("users", &format!("user:{}::::::\n", Self::PASSWORD), &[]);
        place.write("oauth2.conf.ext", include_str!("oauth2.conf.ext"), &[]);
        place.write("keys/default/HS256/default", &TokenServer::shared_key(), &[]);
        let mut tries = 1;
        loop {
            let [imap, imaps, lmtp, auth] = free_ports();
            let ports = [("IMAP", imap), ("IMAPS", imaps), ("LMTP", lmtp), ("AUTH", auth)];
            let values = ports.map(|(name, port)| (name, port.to_string()));
            let config = place.write("dovecot.conf", include_str!("dovecot.conf"), &values);
            match spawn(&config, place.path()) {
                Ok(server) => {
                    return Dovecot {
                        server: Some(server),
                        config,
                        certificate,
                        imap,
                        imaps,
                        lmtp,
                        auth,
                        place,
                    };
                }
                Err(said) => assert!(
                    tries < START_TRIES,
                    "dovecot-imapd and dovecot-lmtpd are needed: {said}"
                ),
            }
            tries += 1;
        }
    }

    /// What a client must trust to talk TLS with it.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it again on the same ports and mailboxes.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // The processes of a killed master end by themselves, and hold its ports until then.
        let mut tries = 1;
        loop {
            match spawn(&self.config, self.place.path()) {
                Ok(server) => break self.server = Some(server),
                Err(said) => assert!(tries < 5 * START_TRIES, "{said}"),
            }
            tries += 1;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Puts a mail into the user's INBOX.
    pub(crate) fn save(&self, user: &str, raw: &[u8]) {
        let mut child = self
            .doveadm(&["save", "-u", user, "-m", "INBOX"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("doveadm comes with dovecot-core");
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(raw)
            .expect("doveadm reads it");
        let done = child.wait_with_output().expect("doveadm ends");
        assert!(
            done.status.success(),
            "doveadm save: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// The server forgets what its UIDs meant.
    pub(crate) fn set_uidvalidity(&self, user: &str, uidvalidity: u32) {
        self.run(&[
            "mailbox",
            "update",
            "--uid-validity",
            &uidvalidity.to_string(),
            "-u",
            user,
            "INBOX",
        ]);
    }

    pub(crate) fn expunge(&self, user: &str, query: &[&str]) {
        let mut words = vec!["expunge", "-u", user, "mailbox", "INBOX"];
        words.extend_from_slice(query);
        self.run(&words);
    }

    /// Cuts the user's connections. It is no fault when there is none at this moment.
    pub(crate) fn kick(&self, user: &str) {
        let _ = self
            .doveadm(&["kick", user])
            .output()
            .expect("doveadm comes with dovecot-core");
    }

    /// UID and flags of each mail in a mailbox, such as `3 \\Seen`.
    pub(crate) fn flags(&self, user: &str, mailbox: &str) -> Vec<String> {
        let done = self
            .doveadm(&["-f", "tab", "fetch", "-u", user, "uid flags", "mailbox", mailbox])
            .output()
            .expect("doveadm comes with dovecot-core");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let rows = text.lines().skip(1);
        rows.map(|row| row.replace('\t', " ").replace(" \\Recent", "").trim().to_owned())
            .collect()
    }

    pub(crate) fn flag(&self, user: &str, flag: &str, query: &[&str]) {
        let mut words = vec!["flags", "add", "-u", user, flag, "mailbox", "INBOX"];
        words.extend_from_slice(query);
        self.run(&words);
    }

    pub(crate) fn create(&self, user: &str, mailbox: &str) {
        self.run(&["mailbox", "create", "-u", user, mailbox]);
    }

    /// The raw mails of the user's INBOX.
    pub(crate) fn mails(&self, user: &str) -> Vec<String> {
        self.mails_in(user, "INBOX")
    }

    /// The raw mails of a mailbox.
    pub(crate) fn mails_in(&self, user: &str, mailbox: &str) -> Vec<String> {
        let done = self
            .doveadm(&["-f", "pager", "fetch", "-u", user, "text", "mailbox", mailbox])
            .output()
            .expect("doveadm comes with dovecot-core");
        assert!(
            done.status.success(),
            "doveadm fetch: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.split("text:\n")
            .skip(1)
            .map(|mail| mail.trim_end_matches(['\u{c}', '\n']).to_owned())
            .collect()
    }

    fn run(&self, words: &[&str]) {
        let done = self
            .doveadm(words)
            .output()
            .expect("doveadm comes with dovecot-core");
        assert!(
            done.status.success(),
            "doveadm {words:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn doveadm(&self, words: &[&str]) -> Command {
        let mut command = Command::new("doveadm");
        // Global options end at the command's name; everything else follows it.
        command.arg("-c").arg(&self.config).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn spawn(config: &Path, dir: &Path) -> Result<Spawned, String> {
    let mut command = Command::new("dovecot");
    command.arg("-F").arg("-c").arg(config);
    let started = Spawned::start(&mut command, dir, |line| line.contains(READY).then_some(()));
    started.map(|(server, ())| server)
}

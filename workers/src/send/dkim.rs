//! Signing (DKIM: RFC 6376, Ed25519: RFC 8463), with relaxed canonicalisation: the mail systems on the way may fold headers
//! and change white space, and the signature still holds.
//!
//! By hand, on the TLS library's own cryptography: every crate that signs brings another one with it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::messages::Send;

/// What is signed where it is there. Whoever unsubscribes with one click must be able to trust those two headers
/// (RFC 8058 section 4), and the rest is what people and mail programs look at.
const SIGNED: [&str; 17] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "reply-to",
    "auto-submitted",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
];
/// Named once more than they are there, so that nobody can add another (RFC 6376 section 8.15).
const SEALED: [&str; 6] = ["from", "to", "cc", "subject", "date", "reply-to"];

/// A key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DkimError {
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("can be read by others, its mode is {mode:04o}; run `chmod 600 {}`", path.display())]
    Mode { mode: u32, path: PathBuf },
    #[error(
        "is no key that can sign; make one of RSA with 2048 bits or more (`openssl genrsa 2048`), or of Ed25519 (`openssl genpkey -algorithm ed25519`), in PEM"
    )]
    NoKey,
    #[error("the mail could not be signed for {domain} with the selector {selector}")]
    Sign { domain: String, selector: String },
}

/// One key of a domain.
#[derive(Clone)]
pub struct Signer {
    domain: String,
    selector: String,
    key: Arc<Key>,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// Reads the key of the domain, in PEM: RSA in PKCS#1 or PKCS#8, Ed25519 in PKCS#8.
    ///
    /// # Errors
    /// When others could read it too, or it is none.
    pub fn read(domain: &str, selector: &str, path: &Path) -> Result<Self, DkimError> {
        let mode = fs::metadata(path).map_err(DkimError::Read)?.permissions().mode() & 0o777;
        if !matches!(mode, 0o600 | 0o400) {
            let path = path.to_owned();
            return Err(DkimError::Mode { mode, path });
        }
        let pem = fs::read(path).map_err(DkimError::Read)?;
        Ok(Self {
            domain: domain.to_ascii_lowercase(),
            selector: selector.to_owned(),
            key: Arc::new(Key::of(&pem).ok_or(DkimError::NoKey)?),
        })
    }

    /// The header, its name and line end included.
    fn sign(&self, seconds: i64, mail: &[u8]) -> Result<String, DkimError> {
        let (head, body) = split(mail);
        let fields = fields(head);
        let algorithm = match &*self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let (names, mut input) = chosen(&fields);
        let (domain, selector) = (&self.domain, &self.selector);
        let hash = STANDARD.encode(Sha256::digest(relaxed_body(body)));
        let unsigned = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector};\r\n\tt={seconds};\r\n\t\
             h={};\r\n\tbh={hash};\r\n\tb=",
            names
                .chunks(5)
                .map(|line| line.join(":"))
                .collect::<Vec<_>>()
                .join(":\r\n\t")
        );
        input.push_str(relaxed_header("dkim-signature", &unsigned["DKIM-Signature:".len()..]).trim_end());
        let signature = self.key.sign(input.as_bytes()).ok_or_else(|| DkimError::Sign {
            domain: domain.clone(),
            selector: selector.clone(),
        })?;
        Ok(unsigned + &folded(&STANDARD.encode(signature)) + "\r\n")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}._domainkey.{}", self.selector, self.domain)
    }
}

impl Key {
    fn of(pem: &[u8]) -> Option<Self> {
        match PrivateKeyDer::from_pem_slice(pem).ok()? {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Self::Rsa),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                // OpenSSL leaves the public half out.
                let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                    .ok()
                    .map(Self::Ed25519);
                ed25519.or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa))
            }
            _ => None,
        }
    }

    fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)
                    .ok()?;
                Some(signature)
            }
            // RFC 8463 section 3: what is signed is the hash.
            Self::Ed25519(key) => Some(key.sign(&Sha256::digest(input)).as_ref().to_vec()),
        }
    }
}

/// The keys of all domains. A handle: clones share them.
#[derive(Debug, Clone, Default)]
pub struct Signers(Arc<HashMap<String, Vec<Signer>>>);

impl FromIterator<Signer> for Signers {
    fn from_iter<I: IntoIterator<Item = Signer>>(signers: I) -> Self {
        let mut by_domain: HashMap<String, Vec<Signer>> = HashMap::new();
        for signer in signers {
            by_domain.entry(signer.domain.clone()).or_default().push(signer);
        }
        Self(Arc::new(by_domain))
    }
}

impl Signers {
    /// The signatures of this mail by each key of the sender's domain, to stand before it; empty where there is none.
    ///
    /// # Errors
    /// When a key can't sign after all.
    pub fn sign(&self, send: &Send, mail: &[u8]) -> Result<Vec<u8>, DkimError> {
        let domain = send
            .from
            .address
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain);
        let mut signatures = Vec::new();
        for signer in self.0.get(&domain.to_ascii_lowercase()).into_iter().flatten() {
            signatures.extend(signer.sign(send.date.as_second(), mail)?.into_bytes());
        }
        Ok(signatures)
    }
}

/// Names to list, and the canonical lines to hash, in that order.
fn chosen(fields: &[(String, &str)]) -> (Vec<&'static str>, String) {
    let mut names = Vec::new();
    let mut lines = String::new();
    for name in SIGNED {
        // Several of one name are taken from the last to the first (RFC 6376 section 5.4.2).
        for (_, value) in fields.iter().rev().filter(|(field, _)| field == name) {
            names.push(name);
            lines.push_str(&relaxed_header(name, value));
        }
    }
    names.extend(SEALED);
    (names, lines)
}

fn split(mail: &[u8]) -> (&[u8], &[u8]) {
    const END: &[u8] = b"\r\n\r\n";
    match mail.windows(END.len()).position(|window| window == END) {
        Some(at) => (&mail[..at + 2], &mail[at + END.len()..]),
        None => (mail, &[]),
    }
}

/// Names in lower case, values as they stand, folds included. Heads of our own making are ASCII.
fn fields(head: &[u8]) -> Vec<(String, &str)> {
    let head = str::from_utf8(head).unwrap_or_default();
    let mut fields = Vec::new();
    let mut rest = head;
    while let Some((name, _)) = rest.split_once(':') {
        let end = rest
            .match_indices("\r\n")
            .map(|(at, _)| at + 2)
            .find(|&at| !rest[at..].starts_with([' ', '\t']))
            .unwrap_or(rest.len());
        fields.push((name.to_ascii_lowercase(), &rest[name.len() + 1..end]));
        rest = &rest[end..];
    }
    fields
}

/// RFC 6376 section 3.4.2.
fn relaxed_header(name: &str, value: &str) -> String {
    let words: Vec<&str> = value
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty())
        .collect();
    format!("{name}:{}\r\n", words.join(" "))
}

/// RFC 6376 section 3.4.4.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(body.len());
    let mut empty_lines = 0;
    for line in body.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let end = line
            .iter()
            .rposition(|byte| !is_blank(byte))
            .map_or(0, |at| at + 1);
        if end == 0 {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            relaxed.extend_from_slice(b"\r\n");
        }
        let mut after_blank = false;
        for byte in &line[..end] {
            if !is_blank(byte) {
                relaxed.push(*byte);
            } else if !after_blank {
                relaxed.push(b' ');
            }
            after_blank = is_blank(byte);
        }
        relaxed.extend_from_slice(b"\r\n");
    }
    relaxed
}

fn folded(base64: &str) -> String {
    const LINE: usize = 72;
    let lines = base64.as_bytes().chunks(LINE).map(String::from_utf8_lossy);
    lines.collect::<Vec<_>>().join("\r\n\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6376 section 3.4.5.
    #[test]
    fn canonical_forms() {
        let mail = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        let (head, body) = split(mail);
        let lines: Vec<String> = fields(head)
            .into_iter()
            .map(|(name, value)| relaxed_header(name.trim_end(), value))
            .collect();
        assert_eq!(lines.concat(), "a:X\r\nb:Y Z\r\n");
        assert_eq!(relaxed_body(body), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"a"), b"a\r\n");
    }

    #[test]
    fn keys_that_others_can_read_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "no key").unwrap();
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Signer::read("example.test", "s", &path).unwrap_err().to_string()
        };
        for mode in [0o644, 0o640, 0o604, 0o666, 0o700] {
            let error = read(mode);
            assert!(
                error.contains(&format!("{mode:04o}")) && error.contains("chmod 600"),
                "{error}"
            );
        }
        for mode in [0o600, 0o400] {
            assert!(read(mode).contains("openssl genrsa 2048"));
        }
        let missing = Signer::read("example.test", "s", &dir.path().join("none"));
        assert!(matches!(missing, Err(DkimError::Read(_))));
    }
}

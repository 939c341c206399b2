//! What a development mailbox is started with, and why a start can fail.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::disk::DiskError;
use super::fault::Fault;
use super::folder::FolderError;
use super::sent::SentError;

#[derive(Debug, Clone)]
pub struct DevMailConfig {
    /// Port 0 picks a free one; ask [`super::DevMail::imap_addr`] which.
    pub imap: SocketAddr,
    pub smtp: SocketAddr,
    /// Everything is kept here, and found again by the next start.
    pub dir: PathBuf,
    pub users: Vec<User>,
    pub faults: Vec<Fault>,
}

/// A mailbox owner. The name logs in; mail to the address lands in the INBOX.
#[derive(Clone)]
pub struct User {
    pub name: String,
    pub password: String,
    pub address: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Names become directories: one path component, no dot first, nothing that a shell or an IMAP client must quote.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    (1..=64).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain)
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "{protocol} port {addr} is in use; stop what listens there, or choose another with --{protocol} (port 0 picks a free one)"
    )]
    PortInUse { protocol: Protocol, addr: SocketAddr },
    #[error("cannot listen for {protocol} on {addr}: {source}; choose another address with --{protocol}")]
    Bind {
        protocol: Protocol,
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the directory {}: {source}; make it writable, or choose another with --dir", dir.display())]
    Directory {
        dir: PathBuf,
        #[source]
        source: DiskError,
    },
    #[error("{} is in use by another development mailbox; stop that one, or choose another directory with --dir", dir.display())]
    Locked { dir: PathBuf },
    #[error("a development mailbox needs at least one user; add one with --user name:password:address")]
    NoUsers,
    #[error(
        "user name {name:?} cannot be a directory name; use up to 64 letters, digits and . _ - + @, not starting with a dot or dash"
    )]
    UserName { name: String },
    #[error("address {address:?} of user {name:?} must look like name@domain")]
    UserAddress { name: String, address: String },
    #[error("user {name:?} is given twice; names and addresses must differ")]
    UserTwice { name: String },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Sent(#[from] SentError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Imap,
    Smtp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imap => "imap",
            Self::Smtp => "smtp",
        })
    }
}

pub(super) fn check_users(users: &[User]) -> Result<(), StartError> {
    if users.is_empty() {
        return Err(StartError::NoUsers);
    }
    for (index, user) in users.iter().enumerate() {
        let name = user.name.clone();
        if !is_plain_name(&name) {
            return Err(StartError::UserName { name });
        }
        let halves = user.address.rsplit_once('@');
        let is_address = halves.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        if !is_address
            || user
                .address
                .contains(|c: char| c.is_whitespace() || c.is_control() || "<>".contains(c))
        {
            return Err(StartError::UserAddress {
                name,
                address: user.address.clone(),
            });
        }
        let clashes = |other: &User| {
            other.name.eq_ignore_ascii_case(&user.name) || other.address.eq_ignore_ascii_case(&user.address)
        };
        if users[..index].iter().any(clashes) {
            return Err(StartError::UserTwice { name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, address: &str) -> User {
        User {
            name: name.into(),
            password: "secret-word".into(),
            address: address.into(),
        }
    }

    #[test]
    fn users_are_checked() {
        let check = |users: &[User], expect: &str| {
            let error = check_users(users).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&[], "--user name:password:address");
        check(&[user("../alice", "a@b")], "cannot be a directory name");
        check(&[user("alice", "alice")], "must look like name@domain");
        check(&[user("alice", "<a@b>")], "must look like name@domain");
        check(&[user("a", "a@b"), user("b", "A@B")], "given twice");
        check_users(&[
            user("alice", "alice@example.test"),
            user("bob", "bob@example.test"),
        ])
        .unwrap();
    }

    #[test]
    fn the_password_is_not_in_debug_output() {
        assert!(!format!("{:?}", user("alice", "a@b")).contains("secret-word"));
    }
}

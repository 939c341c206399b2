//! IMAP as ingest needs it: log in, select, search by UID, fetch one mail, wait.
//!
//! ```text
//! act         flags, moves and removals, by UID
//! command     arguments that stay arguments, pure
//! connection  the socket: answers complete by their tagged line, deadlines
//! line        what a server says, reduced to what matters here
//! guard       bounds on what a server may say
//! idle        waiting for news
//! sent        the folder of what was sent
//! error       what can fail, and whose fault it is
//! ```
//!
//! Sequence numbers are never used: they shift under the reader. ENVELOPE and BODYSTRUCTURE are never fetched: the
//! raw mail says the same, and parsing them is where servers' bugs live.

mod act;
mod command;
mod connection;
mod error;
mod guard;
mod idle;
mod line;
mod sent;

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

pub use act::is_flag;
pub use command::Command;
pub use connection::{Answer, Connection};
pub use error::{ImapError, Refusal};
pub use idle::{IdleEnd, MAX_IDLE};

use crate::config::Secret;
use crate::login::sasl::{self, Bearer};
use crate::login::{Access, Credential, Login};
use crate::tls::{Dialer, Endpoint};
use line::{FetchLine, Line};

/// For commands that are answered from an index.
const QUICK: Duration = Duration::from_secs(30);
/// SELECT and SEARCH may open a mailbox of millions for the first time in weeks.
const SLOW: Duration = Duration::from_secs(120);
/// One whole mail, at the pace of a poor line.
const FETCH: Duration = Duration::from_secs(300);

/// A mailbox as SELECT found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    pub uidvalidity: u32,
    /// Servers may leave it out.
    pub uidnext: Option<u32>,
    pub exists: u32,
}

/// One mail as the server keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub uid: u32,
    pub internal_date: Option<Timestamp>,
    /// RFC822.SIZE, as told.
    pub size: Option<u32>,
    pub flags: Vec<String>,
    /// Gmail's names for the mail and for its thread, the same under every label.
    pub gmail: (Option<u64>, Option<u64>),
    pub raw: Vec<u8>,
}

/// What tells one mail from another without fetching it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub uid: u32,
    pub internal_date: Option<Timestamp>,
    /// RFC822.SIZE, as told.
    pub size: Option<u32>,
    /// The header of the Message-ID alone.
    pub header: Vec<u8>,
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// In upper case.
    offered: Vec<String>,
    can_idle: bool,
    is_read_only: bool,
    /// `None` where the server does not say.
    permanent_flags: Option<Vec<String>>,
}

impl Session {
    /// Connects and logs in. A token that the server refuses is renewed once, since it may have been revoked early.
    pub async fn login(endpoint: &Endpoint, dialer: &Dialer, login: &Login) -> Result<Self, ImapError> {
        match &login.credential {
            Credential::Password(password) => {
                Self::enter(endpoint, dialer, |offered| {
                    by_password(offered, &login.user, password)
                })
                .await
            }
            Credential::OAuth(tokens) => {
                let access = tokens.access().await?;
                match Self::with_token(endpoint, dialer, &login.user, &access).await {
                    Err(ImapError::LoginRefused { .. }) if !access.is_new => {
                        tokens.refused(&access).await;
                        Self::with_token(endpoint, dialer, &login.user, &tokens.access().await?).await
                    }
                    done => done,
                }
            }
        }
    }

    async fn with_token(
        endpoint: &Endpoint,
        dialer: &Dialer,
        user: &str,
        access: &Access,
    ) -> Result<Self, ImapError> {
        Self::enter(endpoint, dialer, |offered| {
            by_token(offered, user, access, endpoint)
        })
        .await
    }

    async fn enter(
        endpoint: &Endpoint,
        dialer: &Dialer,
        login: impl Fn(&[String]) -> Result<Command, ImapError>,
    ) -> Result<Self, ImapError> {
        let mut connection = Connection::open(endpoint, dialer).await?;
        let offered = capabilities(&mut connection).await?;
        connection
            .run(login(&offered)?, SLOW)
            .await
            .map_err(login_refused)?;
        // Servers offer more once they know who asks.
        let offered = capabilities(&mut connection).await?;
        Ok(Self {
            connection,
            can_idle: offered.iter().any(|name| name == "IDLE"),
            offered,
            is_read_only: false,
            permanent_flags: None,
        })
    }

    /// The server offers IDLE; without it the caller polls.
    pub fn can_idle(&self) -> bool {
        self.can_idle
    }

    /// The server refused IDLE after all.
    pub fn forgo_idle(&mut self) {
        self.can_idle = false;
    }

    /// Selects the mailbox. A server that names no UIDVALIDITY keeps no UIDs that could be remembered.
    pub async fn select(&mut self, mailbox: &str) -> Result<Selected, ImapError> {
        let answer = self
            .connection
            .run(Command::new("SELECT").mailbox(mailbox)?, SLOW)
            .await?;
        let mut selected = Selected {
            uidvalidity: 0,
            uidnext: None,
            exists: 0,
        };
        self.is_read_only = answer.tagged.is_read_only;
        self.permanent_flags = None;
        for line in answer.untagged {
            match line {
                Line::State(state) => {
                    self.permanent_flags = state.permanent_flags.or(self.permanent_flags.take());
                    selected.uidvalidity = state.uidvalidity.unwrap_or(selected.uidvalidity);
                    selected.uidnext = state.uidnext.or(selected.uidnext);
                }
                Line::Exists(count) => selected.exists = count,
                _ => {}
            }
        }
        if selected.uidvalidity == 0 {
            return Err(ImapError::Protocol {
                command: "SELECT",
                what: "no UIDVALIDITY".to_owned(),
            });
        }
        Ok(selected)
    }

    /// The UIDs that are there from `low` on, in order. `low:*` always names the last mail too, even when its UID is
    /// smaller, so that one is left out again.
    pub async fn search_from(&mut self, low: u32) -> Result<Vec<u32>, ImapError> {
        // Before the command: news that comes while the server searches may not be in its answer.
        self.connection.take_changed();
        let low = low.max(1);
        let mut uids = self.search(&format!("UID {low}:*")).await?;
        uids.retain(|&uid| uid >= low);
        Ok(uids)
    }

    /// Fetches one mail without marking it read. `None` when it is gone from the mailbox.
    pub async fn fetch(&mut self, uid: u32) -> Result<Option<Fetched>, ImapError> {
        let gmail = if self.offers("X-GM-EXT-1") {
            " X-GM-MSGID X-GM-THRID"
        } else {
            ""
        };
        let items = format!("{uid} (UID FLAGS INTERNALDATE RFC822.SIZE{gmail} BODY.PEEK[])");
        let command = Command::new("UID FETCH").raw(&items);
        let answer = self.connection.run(command, FETCH).await?;
        if let Some(mail) = answer.untagged.into_iter().find_map(|line| fetched(uid, line)) {
            return Ok(Some(mail));
        }
        // OK without a body is how servers answer for a mail that is gone, and how some hide trouble.
        if self.search(&format!("UID {uid}")).await?.contains(&uid) {
            return Err(ImapError::NoBody { uid });
        }
        Ok(None)
    }

    /// The labels of the mails from `first` to `last`, in no order; of those that are gone there is none.
    pub async fn labels(&mut self, first: u32, last: u32) -> Result<Vec<Label>, ImapError> {
        let command = Command::new("UID FETCH").raw(&format!(
            "{first}:{last} (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
        ));
        let answer = self.connection.run(command, SLOW).await?;
        let label = |line| match line {
            Line::Fetch(FetchLine {
                uid: Some(uid),
                internal_date,
                size,
                header: Some(header),
                ..
            }) if (first..=last).contains(&uid) => Some(Label {
                uid,
                internal_date,
                size,
                header,
            }),
            _ => None,
        };
        Ok(answer.untagged.into_iter().filter_map(label).collect())
    }

    /// Asks for news the old way; also proves that the connection lives.
    pub async fn noop(&mut self) -> Result<(), ImapError> {
        self.connection.run(Command::new("NOOP"), QUICK).await.map(drop)
    }

    /// New mail was announced since the last [`Session::search_from`].
    pub fn is_changed(&self) -> bool {
        self.connection.is_changed()
    }

    /// See [`Connection::idle`].
    pub async fn idle(
        &mut self,
        limit: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<IdleEnd, ImapError> {
        self.connection.idle(limit, stop).await
    }

    /// Says goodbye. The server answers with BYE before its OK, so the only news is that the connection is gone.
    pub async fn logout(mut self) {
        let _ = self.connection.run(Command::new("LOGOUT"), QUICK).await;
    }

    async fn search(&mut self, query: &str) -> Result<Vec<u32>, ImapError> {
        let answer = self
            .connection
            .run(Command::new("UID SEARCH").raw(query), SLOW)
            .await?;
        let mut answered = false;
        let mut uids = Vec::new();
        for line in answer.untagged {
            if let Line::Search(found) = line {
                answered = true;
                uids.extend(found);
            }
        }
        if !answered {
            // RFC 3501 wants the line even when nothing matches; without it "none" would be a guess.
            return Err(ImapError::Protocol {
                command: "UID SEARCH",
                what: "OK without SEARCH".to_owned(),
            });
        }
        uids.sort_unstable();
        uids.dedup();
        Ok(uids)
    }
}

fn by_password(offered: &[String], user: &str, password: &Secret) -> Result<Command, ImapError> {
    let has = |wanted: &str| offered.iter().any(|name| name == wanted);
    if has("AUTH=PLAIN") {
        let response = sasl::plain(user, password.expose()).map_err(|_| UNSPEAKABLE)?;
        return Ok(Command::authenticate("PLAIN", response, "*"));
    }
    if has("LOGINDISABLED") {
        return Err(ImapError::LoginDisabled);
    }
    Command::new("LOGIN").string(user)?.string(password.expose())
}

fn by_token(
    offered: &[String],
    user: &str,
    access: &Access,
    endpoint: &Endpoint,
) -> Result<Command, ImapError> {
    let has = |mechanism: &str| {
        offered
            .iter()
            .any(|name| name.strip_prefix("AUTH=") == Some(mechanism))
    };
    let bearer = Bearer::choose(has).ok_or(ImapError::NoBearer)?;
    let response = bearer
        .response(user, access.token.expose(), endpoint)
        .map_err(|_| UNSPEAKABLE)?;
    Ok(Command::authenticate(
        bearer.name(),
        response,
        bearer.acknowledgement(),
    ))
}

const UNSPEAKABLE: ImapError =
    ImapError::BadArgument("user, password or token contains a character that cannot be sent, such as NUL");

async fn capabilities(connection: &mut Connection) -> Result<Vec<String>, ImapError> {
    let answer = connection.run(Command::new("CAPABILITY"), QUICK).await?;
    Ok(answer
        .untagged
        .into_iter()
        .flat_map(|line| {
            if let Line::Capabilities(names) = line {
                names
            } else {
                Vec::new()
            }
        })
        .collect())
}

/// A NO to a login is about the password, unless the server says that the trouble is its own (RFC 5530).
fn login_refused(error: ImapError) -> ImapError {
    const OWN_TROUBLE: [&str; 5] = [
        "[UNAVAILABLE]",
        "[INUSE]",
        "[LIMIT]",
        "[SERVERBUG]",
        "[OVERQUOTA]",
    ];
    match error {
        ImapError::Refused {
            refusal: Refusal::No,
            text,
            ..
        } if !OWN_TROUBLE
            .iter()
            .any(|code| text.to_ascii_uppercase().starts_with(code)) =>
        {
            ImapError::LoginRefused { text }
        }
        other => other,
    }
}

/// The mail of this UID. Servers put flag changes of other mails in between.
fn fetched(uid: u32, line: Line) -> Option<Fetched> {
    match line {
        Line::Fetch(FetchLine {
            uid: Some(found),
            internal_date,
            size,
            flags,
            gmail,
            body: Some(raw),
            ..
        }) if found == uid => Some(Fetched {
            uid,
            internal_date,
            size,
            flags,
            gmail,
            raw,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_password_counts_as_one() {
        let no = |text: &str| {
            let refusal = Refusal::No;
            login_refused(ImapError::Refused {
                command: "LOGIN",
                refusal,
                text: text.into(),
            })
        };
        assert!(no("[AUTHENTICATIONFAILED] Authentication failed.").is_login_refused());
        assert!(no("wrong").is_login_refused());
        assert!(!no("[UNAVAILABLE] Temporary authentication failure.").is_login_refused());
        assert!(!no("[limit] too many connections").is_login_refused());
    }
}

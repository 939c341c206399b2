//! Trying the doors before work begins: a refused login is told at once, in a sentence, and not after an hour in the log.

use postroom::explain::with_causes;

use crate::ingest::Unable;
use crate::ingest::imap::{ImapError, Session};
use crate::login::OAuthError;
use crate::pipeline::Account;
use crate::send::smtp::{Relay, SmtpError};

/// A door that does not open.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The IMAP server refuses the login.
    #[error(
        "account `{account}`: {host} refuses the IMAP login of `{user}` ({reason}); check user and password in [accounts.imap]"
    )]
    ImapLogin {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// Who was refused.
        user: String,
        /// The server's words.
        reason: String,
    },
    /// There is no token to log in with.
    #[error("account `{account}`: {error}")]
    Token {
        /// The account.
        account: String,
        /// What the token server said.
        #[source]
        error: OAuthError,
    },
    /// The IMAP server can't be worked with.
    #[error(
        "account `{account}`: IMAP at {host} does not work: {reason}; check host, port and tls in [accounts.imap]"
    )]
    Imap {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The mailbox can't be opened.
    #[error(
        "account `{account}`: the mailbox {mailbox} at {host} can't be opened ({reason}); check mailbox in [accounts.imap]"
    )]
    Mailbox {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// Which.
        mailbox: String,
        /// The server's words.
        reason: String,
    },
    /// The server can't do with the mails what is configured.
    #[error(
        "account `{account}`: the mails of {mailbox} at {host} can't be dealt with as `after` says ({reason}); change it in [accounts.imap]"
    )]
    After {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// Which.
        mailbox: String,
        /// What is missing.
        reason: String,
    },
    /// The SMTP server refuses the login.
    #[error(
        "account `{account}`: {host} refuses the SMTP login ({reason}); check user and password in [accounts.smtp]"
    )]
    SmtpLogin {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// The server's words.
        reason: String,
    },
    /// The SMTP server can't be worked with.
    #[error(
        "account `{account}`: SMTP at {host} does not work: {reason}; check host, port and tls in [accounts.smtp]"
    )]
    Smtp {
        /// The account.
        account: String,
        /// The server.
        host: String,
        /// What was tried, and what came of it.
        reason: String,
    },
}

impl Closed {
    /// Only a person can open this one: waiting does not help.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::ImapLogin { .. } | Self::SmtpLogin { .. } | Self::After { .. } => true,
            Self::Token { error, .. } => error.is_refused(),
            _ => false,
        }
    }
}

fn token(account: String, error: OAuthError) -> Closed {
    Closed::Token { account, error }
}

/// Logs in by IMAP, opens each mailbox, and looks whether its mails can be dealt with as configured.
///
/// # Errors
/// Says which door is closed, and what to check.
pub async fn imap(account: &Account) -> Result<(), Closed> {
    let name = || account.name.clone();
    for watched in &account.watched {
        let host = format!("{}:{}", watched.endpoint.host, watched.endpoint.port);
        let login = Session::login(&watched.endpoint, &account.dialer, &watched.login).await;
        let mut session = login.map_err(|error| match error {
            ImapError::LoginRefused { text } => Closed::ImapLogin {
                account: name(),
                host: host.clone(),
                user: watched.login.user.clone(),
                reason: text,
            },
            ImapError::Token(error) => token(name(), error),
            error => Closed::Imap {
                account: name(),
                host: host.clone(),
                reason: with_causes(&error),
            },
        })?;
        let selected = session.select(&watched.mailbox).await;
        let able = match selected.is_ok() {
            true => watched.policy.after.check(&mut session).await,
            false => Ok(()),
        };
        session.logout().await;
        let mailbox = || watched.mailbox.clone();
        selected.map_err(|error| Closed::Mailbox {
            account: name(),
            host: host.clone(),
            mailbox: mailbox(),
            reason: with_causes(&error),
        })?;
        able.map_err(|unable| match unable {
            Unable::Imap(error) => Closed::Imap {
                account: name(),
                host: host.clone(),
                reason: with_causes(&error),
            },
            unable => Closed::After {
                account: name(),
                host: host.clone(),
                mailbox: mailbox(),
                reason: unable.to_string(),
            },
        })?;
    }
    Ok(())
}

/// Connects by SMTP, and logs in where the account does.
///
/// # Errors
/// Says which door is closed, and what to check.
pub async fn smtp(account: &Account) -> Result<(), Closed> {
    let out = &account.outbound;
    let host = format!("{}:{}", out.endpoint.host, out.endpoint.port);
    let relay = Relay::connect(
        &out.endpoint,
        &out.dialer,
        &out.hello,
        out.login.as_ref(),
        out.deadlines,
    )
    .await;
    let relay = relay.map_err(|error| {
        let (account, reason) = (account.name.clone(), with_causes(&error));
        match error {
            SmtpError::Token(error) => token(account, error),
            SmtpError::Refused { .. } if error.is_account_trouble() => Closed::SmtpLogin {
                account,
                host,
                reason,
            },
            _ => Closed::Smtp {
                account,
                host,
                reason,
            },
        }
    })?;
    relay.quit().await;
    Ok(())
}

//! The workers on an app: what `up`, `worker …` and `demo` have in common.

use std::collections::HashMap;
use std::time::Duration;

use postroom::{App, CancellationToken, Spec, Store};

use crate::blob::BlobStore;
use crate::config::{self, Secret};
use crate::gate::{self, Gate};
use crate::ingest::{Ingest, MarkAnswered, Pace, Policies, Policy, Reparse, Turnstile, Watched};
use crate::login::{Credential, Login, Tokens};
use crate::messages::{Send, Service};
use crate::reply::{AutoReply, ComposeReply, Identity};
use crate::send::pace;
use crate::send::smtp::Deadlines;
use crate::send::{FileSent, KeptBy, Outbound, Press, SendMail, SentFolder};
use crate::store::{outgoing, replies, sends};
use crate::tls::{Dialer, TlsError};

/// An account with both of its sides, ready to work with.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name in events, and in the configuration.
    pub name: String,
    /// As others see it.
    pub identity: Identity,
    /// The mailboxes to watch.
    pub watched: Vec<Watched>,
    /// The relay its mail goes out by.
    pub outbound: Outbound,
    /// Opens its connections.
    pub dialer: Dialer,
    /// Its OAuth tokens, where it has no passwords.
    pub tokens: Option<Tokens>,
}

impl Account {
    /// As the configuration describes it.
    ///
    /// # Errors
    /// When its CA file can't be used.
    pub fn of(account: &config::Account) -> Result<Self, TlsError> {
        let dialer = Dialer::new(account.ca_file.as_deref())?;
        let oauth = account.oauth.as_ref();
        let tokens = oauth.map(|oauth| Tokens::new(account.name.clone(), oauth.clone(), dialer.clone()));
        let login = |user: &str, password: Option<&Secret>| {
            let credential = match (password, &tokens) {
                (Some(password), _) => Credential::Password(password.clone()),
                (None, Some(tokens)) => Credential::OAuth(tokens.clone()),
                (None, None) => return None,
            };
            Some(Login {
                user: user.to_owned(),
                credential,
            })
        };
        let gate = |service| Gate::new(account.name.clone(), service, gate::REFUSED);
        let imap = &account.imap;
        let imap_login = login(&imap.user, imap.password.as_ref());
        let imap_gate = gate(Service::Imap);
        let watched = imap_login
            .clone()
            .into_iter()
            .flat_map(|login| imap.mailboxes.iter().map(move |mailbox| (login.clone(), mailbox)));
        let watched = watched.map(|(login, mailbox)| Watched {
            account: account.name.clone(),
            mailbox: mailbox.clone(),
            endpoint: imap.endpoint.clone(),
            login,
            gate: imap_gate.clone(),
            turnstile: Turnstile::default(),
            start: imap.start,
            policy: Policy {
                reply_secret: account.replies.secret.clone(),
                ..imap.policy.clone()
            },
            pace: Pace::default(),
        });
        let smtp_login = account.smtp.login.as_ref();
        let smtp_login = smtp_login.and_then(|(user, password)| login(user, password.as_ref()));
        Ok(Self {
            name: account.name.clone(),
            identity: Identity {
                name: account.sender.clone(),
                addresses: account.addresses.clone(),
                rules: account.rules.clone(),
                replies_per_peer: account.replies.per_peer,
                secret: account.replies.secret.clone(),
            },
            watched: watched.collect(),
            outbound: Outbound {
                endpoint: account.smtp.endpoint.clone(),
                dialer: dialer.clone(),
                login: smtp_login,
                gate: gate(Service::Smtp),
                hello: account.smtp.hello.clone(),
                on_unknown: account.on_unknown,
                pace: account.sending.rate.map(pace::Pace::new),
                warm_up: account.sending.warm_up.clone(),
                sent: sent_folder(account, &dialer, imap_login.as_ref()),
                deadlines: Deadlines::default(),
            },
            dialer,
            tokens,
        })
    }

    /// From now on a sign-in that is renewed is written down.
    fn keep_sign_in(&self, store: &Store) {
        if let Some(tokens) = &self.tokens {
            tokens.keep_in(store);
        }
    }
}

/// Adds ingest: a service for each mailbox, the handler that reads unreadable mails again, and the one that has the
/// originals of replies marked.
#[must_use]
pub fn with_ingest(mut app: App, accounts: &[Account], blobs: &BlobStore) -> App {
    let mut turnstiles: HashMap<(String, u16), Turnstile> = HashMap::new();
    for account in accounts {
        account.keep_sign_in(app.store());
        for watched in &account.watched {
            let (store, dialer) = (app.store().clone(), account.dialer.clone());
            let mut watched = watched.clone();
            let server = (watched.endpoint.host.to_ascii_lowercase(), watched.endpoint.port);
            watched.turnstile = turnstiles.entry(server).or_default().clone();
            let ingest = Ingest::new(watched, store, blobs.clone(), dialer);
            app = app.service(|stop| ingest.run(stop));
        }
    }
    let policies: Policies = accounts
        .iter()
        .flat_map(|account| &account.watched)
        .map(|it| ((it.account.clone(), it.mailbox.clone()), it.policy.clone()))
        .collect();
    app.handler(Reparse::new(blobs.clone(), policies))
        .handler(MarkAnswered)
}

/// Adds the rules, and the composing of replies.
#[must_use]
pub fn with_reply(app: App, accounts: &[Account]) -> App {
    let identities: HashMap<_, _> = accounts
        .iter()
        .map(|account| (account.name.clone(), account.identity.clone()))
        .collect();
    app.handler(AutoReply::new(identities.clone()))
        .handler(ComposeReply::new(identities))
}

/// Adds sending, with the handler's own spec or a variant of it.
#[must_use]
pub fn with_send(app: App, accounts: &[Account], press: Press, spec: Spec<Send>) -> App {
    for account in accounts {
        account.keep_sign_in(app.store());
    }
    let outbound = accounts
        .iter()
        .map(|account| (account.name.clone(), account.outbound.clone()))
        .collect();
    let store = app.store().clone();
    let send = SendMail::new(outbound, press);
    let keeper = send.keeper();
    let copies = accounts.iter().filter_map(|account| {
        let folder = account.outbound.sent.clone()?;
        (folder.kept_by == KeptBy::Postroom).then(|| (account.name.clone(), folder))
    });
    let copies: Vec<_> = copies.collect();
    let app = if copies.is_empty() {
        app
    } else {
        app.handler(FileSent::new(copies))
    };
    app.handler_with(spec, send)
        .service(|stop| keeper.run(stop))
        .service(|stop| forget_sends(store, stop))
}

/// Where the account keeps what it has sent, by the configuration.
fn sent_folder(account: &config::Account, dialer: &Dialer, login: Option<&Login>) -> Option<SentFolder> {
    let config::SentFolder { mailbox, kept_by } = account.sending.sent_folder.clone()?;
    Some(SentFolder {
        endpoint: account.imap.endpoint.clone(),
        dialer: dialer.clone(),
        login: login?.clone(),
        mailbox,
        kept_by,
    })
}

/// What was sent is remembered for as long as reports about it may come back.
async fn forget_sends(store: Store, stop: CancellationToken) {
    /// With at most 500 at a time this keeps up with what is sent.
    const EVERY: Duration = Duration::from_secs(60);
    while stop
        .run_until_cancelled(tokio::time::sleep(EVERY))
        .await
        .is_some()
    {
        let purged = async {
            let mut tx = store.begin().await?;
            let mails = sends::purge(&mut tx).await?
                + outgoing::purge(&mut tx).await?
                + replies::purge(&mut tx).await?;
            tx.commit().await.map(|()| mails)
        };
        match purged.await {
            Ok(mails) => tracing::debug!(mails, "mails that were sent long ago are forgotten"),
            Err(error) => tracing::warn!(%error, "mails that were sent long ago could not be forgotten"),
        }
    }
}

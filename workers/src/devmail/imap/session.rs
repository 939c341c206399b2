//! One IMAP session: who is logged in, what is selected, and which function answers which command.

use imap_next::imap_types::auth::AuthMechanism;
use imap_next::imap_types::command::{Command, CommandBody};
use imap_next::imap_types::core::{IString, NString, Tag};
use imap_next::imap_types::extensions::namespace::Namespace;
use imap_next::imap_types::response::{Code, Data, Status, StatusKind};

use super::answer::{Done, Refused, bad, no};
use super::selected::{Reset, Selected};
use super::wire::{Wire, WireError, text};
use super::{answer, capability, folders, messages, mime};
use crate::devmail::disk::DiskError;
use crate::devmail::fault::{FaultKind, Occasion};
use crate::devmail::faults::Faults;
use crate::devmail::store::{Account, Store};

/// A peer that only makes mistakes is talking something else.
const MAX_ERRORS: u32 = 25;

/// What the connection does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The goodbye is said or queued; close.
    Close,
    /// Close at once and send nothing.
    Drop,
}

/// What a fault wants in place of the command's own answer.
pub(super) enum Strike {
    Nothing,
    No(String),
    Drop,
}

pub(super) struct Session {
    pub(super) store: Store,
    pub(super) faults: Faults,
    account: Option<Account>,
    pub(super) selected: Option<Selected>,
    errors: u32,
}

impl Session {
    pub(super) fn new(store: Store, faults: Faults) -> Self {
        Self {
            store,
            faults,
            account: None,
            selected: None,
            errors: 0,
        }
    }

    /// Answers one command, then tells what changed meanwhile, then the tagged reply.
    pub(super) async fn command(
        &mut self,
        command: Command<'static>,
        wire: &mut Wire,
    ) -> Result<Flow, WireError> {
        let Command { tag, body } = command;
        let may_expunge = may_expunge(&body);
        let is_logout = matches!(body, CommandBody::Logout);
        let answer = match self.strike(body.name()).await {
            Ok(Strike::Nothing) => self.answer(body, wire).await,
            Ok(Strike::No(words)) => Err(no(None, &words)),
            Ok(Strike::Drop) => return Ok(Flow::Drop),
            Err(error) => Err(Refused::Disk(error.into())),
        };
        let finished = self.finish(tag, answer, may_expunge, wire).await?;
        Ok(if is_logout { Flow::Close } else { finished })
    }

    pub(super) async fn strike(&self, command: &'static str) -> Result<Strike, DiskError> {
        let number = self.faults.next_imap_command();
        Ok(
            match self.faults.strike(Occasion::ImapCommand(command, number)).await? {
                Some(FaultKind::ImapNo { text, .. }) => Strike::No(text),
                Some(FaultKind::ImapDrop { .. }) => Strike::Drop,
                _ => Strike::Nothing,
            },
        )
    }

    /// Sends the answer's data, the news and the tagged reply.
    pub(super) async fn finish(
        &mut self,
        tag: Tag<'static>,
        answer: Result<Done, Refused>,
        may_expunge: bool,
        wire: &mut Wire,
    ) -> Result<Flow, WireError> {
        let (kind, code, words) = match answer {
            Ok(done) => {
                done.untagged.into_iter().for_each(|data| wire.data(data));
                let untagged = done
                    .codes
                    .into_iter()
                    .filter_map(|code| Status::ok(None, Some(code), text("ok")).ok());
                untagged.for_each(|status| wire.status(status));
                (StatusKind::Ok, done.code, done.words.to_owned())
            }
            Err(Refused::No(code, words)) => (StatusKind::No, code, words),
            Err(Refused::Bad(words)) => (StatusKind::Bad, None, words),
            Err(Refused::Disk(error)) => {
                tracing::error!(%error, "an IMAP command failed");
                (
                    StatusKind::No,
                    Some(Code::Other(answer::other("SERVERBUG"))),
                    "the development mailbox cannot read or write its files".to_owned(),
                )
            }
            Err(Refused::Wire(error)) => return Err(error),
        };
        if self.tell_news(may_expunge, wire).await.is_err() {
            wire.bye("UIDVALIDITY changed, log in again").await;
            return Ok(Flow::Close);
        }
        let Ok(status) = Status::new(Some(tag), kind, code, text(&words));
        wire.status(status);
        self.count_error(kind == StatusKind::Bad, wire).await
    }

    pub(super) async fn tell_news(&mut self, may_expunge: bool, wire: &mut Wire) -> Result<(), Reset> {
        if let Some(selected) = &mut self.selected {
            selected
                .news(may_expunge)
                .await?
                .into_iter()
                .for_each(|data| wire.data(data));
        }
        Ok(())
    }

    /// Ends a session of nothing but errors.
    pub(super) async fn count_error(&mut self, is_error: bool, wire: &mut Wire) -> Result<Flow, WireError> {
        self.errors = if is_error { self.errors + 1 } else { 0 };
        if self.errors < MAX_ERRORS {
            return Ok(Flow::Continue);
        }
        wire.bye("too many errors").await;
        Ok(Flow::Close)
    }

    async fn answer(&mut self, body: CommandBody<'static>, wire: &mut Wire) -> Result<Done, Refused> {
        match body {
            CommandBody::Capability => Ok(Done::with("CAPABILITY done", vec![capability::data()])),
            CommandBody::Noop => Ok(Done::new("NOOP done")),
            CommandBody::Id { .. } => Ok(Done::with("ID done", vec![identity()])),
            CommandBody::Logout => {
                let Ok(bye) = Status::bye(None, text("goodbye"));
                wire.status(bye);
                Ok(Done::new("LOGOUT done"))
            }
            CommandBody::Login { username, password } => {
                let name = String::from_utf8_lossy(username.as_ref()).into_owned();
                self.login(&name, password.declassify().as_ref()).await
            }
            body if self.account.is_none() => Err(bad(&format!("log in before {}", body.name()))),
            CommandBody::Namespace => Ok(Done::with("NAMESPACE done", vec![namespaces()])),
            body => self.answer_logged_in(body, wire).await,
        }
    }

    async fn answer_logged_in(
        &mut self,
        body: CommandBody<'static>,
        wire: &mut Wire,
    ) -> Result<Done, Refused> {
        let Some(account) = self.account.clone() else {
            return Err(bad("log in first"));
        };
        match body {
            CommandBody::Select { mailbox, .. } => {
                self.selected = None;
                let (selected, done) = folders::select(&account, &mailbox, false).await?;
                self.selected = Some(selected);
                Ok(done)
            }
            CommandBody::Examine { mailbox, .. } => {
                self.selected = None;
                let (selected, done) = folders::select(&account, &mailbox, true).await?;
                self.selected = Some(selected);
                Ok(done)
            }
            CommandBody::List { mailbox_wildcard, .. } => folders::list(&account, &mailbox_wildcard, false),
            CommandBody::Lsub { mailbox_wildcard, .. } => folders::list(&account, &mailbox_wildcard, true),
            CommandBody::Status { mailbox, item_names } => {
                folders::status(&account, &mailbox, &item_names).await
            }
            CommandBody::Create { mailbox } => folders::create(&account, &mailbox).await,
            CommandBody::Subscribe { mailbox } => {
                folders::find(&account, &mailbox).map(|_| Done::new("every folder is subscribed"))
            }
            CommandBody::Append {
                mailbox,
                flags,
                date,
                message,
            } => folders::append(&account, &mailbox, &flags, date, message).await,
            CommandBody::Unselect if self.selected.take().is_some() => Ok(Done::new("UNSELECT done")),
            body => match &mut self.selected {
                Some(selected) => {
                    let is_close = matches!(body, CommandBody::Close);
                    let done = messages::answer(&account, selected, body, wire).await;
                    if is_close {
                        self.selected = None;
                    }
                    done
                }
                None if needs_selected(&body) => {
                    Err(bad(&format!("SELECT a mailbox before {}", body.name())))
                }
                None => Err(not_offered(&body)),
            },
        }
    }

    async fn login(&mut self, name: &str, password: &[u8]) -> Result<Done, Refused> {
        if self.account.is_some() {
            return Err(bad("already logged in"));
        }
        let strike = self.faults.strike(Occasion::Login(name.to_owned())).await;
        let is_refused = strike.map_err(|error| Refused::Disk(error.into()))?.is_some();
        self.account = self.store.login(name, password).filter(|_| !is_refused);
        if self.account.is_none() {
            return Err(no(
                Some(Code::Other(answer::other("AUTHENTICATIONFAILED"))),
                "wrong user name or password",
            ));
        }
        Ok(Done::new("logged in").code(capability::code()))
    }

    /// AUTHENTICATE PLAIN, once its one message is there (RFC 4616).
    pub(super) async fn authenticate(&mut self, message: &[u8]) -> Result<Done, Refused> {
        let mut fields = message.split(|byte| *byte == 0);
        let (Some(authzid), Some(name), Some(password), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(bad("PLAIN takes authzid NUL user NUL password"));
        };
        if !authzid.is_empty() && authzid != name {
            return Err(no(
                Some(Code::Other(answer::other("AUTHORIZATIONFAILED"))),
                "acting for another user is not offered",
            ));
        }
        self.login(&String::from_utf8_lossy(name), password).await
    }

    pub(super) fn can_authenticate(&self, mechanism: &AuthMechanism<'_>) -> Result<(), Refused> {
        match (mechanism, &self.account) {
            (_, Some(_)) => Err(bad("already logged in")),
            (AuthMechanism::Plain, None) => Ok(()),
            (_, None) => Err(no(
                Some(Code::Other(answer::other("CANNOT"))),
                "use AUTHENTICATE PLAIN or LOGIN",
            )),
        }
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.account.is_some()
    }
}

/// While a client counts in sequence numbers, none of them may move (RFC 3501 7.4.1).
fn may_expunge(body: &CommandBody<'_>) -> bool {
    !matches!(
        body,
        CommandBody::Fetch { uid: false, .. }
            | CommandBody::Store { uid: false, .. }
            | CommandBody::Search { uid: false, .. }
    )
}

fn needs_selected(body: &CommandBody<'_>) -> bool {
    matches!(
        body,
        CommandBody::Check
            | CommandBody::Close
            | CommandBody::Unselect
            | CommandBody::Expunge
            | CommandBody::ExpungeUid { .. }
            | CommandBody::Search { .. }
            | CommandBody::Fetch { .. }
            | CommandBody::Store { .. }
            | CommandBody::Copy { .. }
            | CommandBody::Move { .. }
    )
}

pub(super) fn not_offered(body: &CommandBody<'_>) -> Refused {
    no(
        Some(Code::Other(answer::other("CANNOT"))),
        &format!("{} is not offered here", body.name()),
    )
}

fn identity() -> Data<'static> {
    let pair = |name: &'static str, value: &'static str| {
        Some((IString::try_from(name).ok()?, NString::try_from(value).ok()?))
    };
    let parameters = [
        pair("name", "postroom devmail"),
        pair("version", env!("CARGO_PKG_VERSION")),
    ];
    Data::Id {
        parameters: Some(parameters.into_iter().flatten().collect()),
    }
}

fn namespaces() -> Data<'static> {
    let personal = Namespace::new(mime::istring(""), None);
    Data::Namespace {
        personal: vec![personal],
        other: Vec::new(),
        shared: Vec::new(),
    }
}

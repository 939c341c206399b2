//! The IMAP side (RFC 3501 with IDLE, MOVE, UIDPLUS, ID, NAMESPACE, UNSELECT, SASL-IR, LITERAL+).
//!
//! [`wire`] owns the socket, [`session`] decides who answers, [`folders`] and [`messages`] answer; [`fetch`],
//! [`search`], [`mime`] and [`header`] look at one message and know nothing else.

mod answer;
mod capability;
mod envelope;
mod fetch;
mod flags;
mod folders;
mod header;
mod messages;
mod mime;
mod search;
mod selected;
mod session;
mod sets;
mod wire;

use std::time::Duration;

use imap_next::imap_types::auth::AuthenticateData;
use imap_next::imap_types::core::Tag;
use imap_next::imap_types::response::{CommandContinuationRequest, Status};
use imap_next::server::{Error as ProtocolError, Event};
use imap_next::stream::Error as StreamError;
use imap_next::types::CommandAuthenticate;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::store::Store;
use answer::{Done, Refused, bad, no};
use session::{Flow, Session, Strike};
use wire::{Wire, WireError, text};

/// RFC 3501 5.4: at least 30 minutes.
const AUTOLOGOUT: Duration = Duration::from_secs(30 * 60);

/// Serves one connection until either side ends it, or `drops` changes.
pub(super) async fn serve(
    socket: TcpStream,
    store: Store,
    faults: Faults,
    stop: CancellationToken,
    mut drops: watch::Receiver<u64>,
) -> Result<(), WireError> {
    let mut connection = Connection {
        wire: Wire::new(socket),
        session: Session::new(store, faults),
        idle: None,
        authenticating: None,
    };
    loop {
        let step = tokio::select! {
            () = stop.cancelled() => {
                connection.wire.bye("closing down").await;
                return Ok(());
            }
            _ = drops.changed() => return Ok(()),
            step = connection.step() => step,
        };
        match step {
            Ok(Flow::Continue) => {}
            Ok(Flow::Close) => return connection.wire.drain().await,
            Ok(Flow::Drop) | Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    wire: Wire,
    session: Session,
    /// The tag of the IDLE that is going on.
    idle: Option<Tag<'static>>,
    /// The tag of the AUTHENTICATE that waits for its data.
    authenticating: Option<Tag<'static>>,
}

impl Connection {
    /// Waits for the next thing to happen and answers it. Cancelled only while it waits or answers the dying.
    async fn step(&mut self) -> Result<Flow, WireError> {
        let event = match (&self.idle, &mut self.session.selected) {
            (Some(_), Some(selected)) => tokio::select! {
                () = selected.changed() => None,
                event = tokio::time::timeout(AUTOLOGOUT, self.wire.next()) => Some(event),
            },
            _ => Some(tokio::time::timeout(AUTOLOGOUT, self.wire.next()).await),
        };
        match event {
            None => self.push_news().await,
            Some(Ok(Ok(event))) => self.event(event).await,
            Some(Ok(Err(StreamError::State(error)))) => self.not_understood(&error).await,
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => {
                self.wire.bye("idle for too long").await;
                Ok(Flow::Close)
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<Flow, WireError> {
        match event {
            Event::GreetingSent { .. } | Event::ResponseSent { .. } => Ok(Flow::Continue),
            Event::CommandReceived { command } => self.session.command(command, &mut self.wire).await,
            Event::CommandAuthenticateReceived { command_authenticate } => {
                self.authenticate(command_authenticate).await
            }
            Event::AuthenticateDataReceived { authenticate_data } => match authenticate_data {
                AuthenticateData::Continue(data) => {
                    let answer = self.session.authenticate(data.declassify()).await;
                    self.authenticated(answer).await
                }
                AuthenticateData::Cancel => self.authenticated(Err(bad("cancelled"))).await,
            },
            Event::IdleCommandReceived { tag } => self.start_idle(tag).await,
            Event::IdleDoneReceived => match self.idle.take() {
                Some(tag) => {
                    self.session
                        .finish(tag, Ok(Done::new("IDLE done")), true, &mut self.wire)
                        .await
                }
                None => Ok(Flow::Continue),
            },
        }
    }

    async fn authenticate(&mut self, command: CommandAuthenticate) -> Result<Flow, WireError> {
        self.authenticating = Some(command.tag);
        let answer = match self.session.strike("AUTHENTICATE").await {
            Ok(Strike::Drop) => return Ok(Flow::Drop),
            Ok(Strike::No(words)) => Err(no(None, &words)),
            Ok(Strike::Nothing) => self.session.can_authenticate(&command.mechanism),
            Err(error) => Err(Refused::Disk(error.into())),
        };
        match (answer, command.initial_response) {
            (Err(refused), _) => self.authenticated(Err(refused)).await,
            (Ok(()), Some(data)) => {
                let answer = self.session.authenticate(data.declassify()).await;
                self.authenticated(answer).await
            }
            (Ok(()), None) => {
                // Only refused when no AUTHENTICATE is going on, and one is.
                let _ = self
                    .wire
                    .server
                    .authenticate_continue(CommandContinuationRequest::base64(&b""[..]));
                Ok(Flow::Continue)
            }
        }
    }

    /// The protocol state must leave its AUTHENTICATE; the status that does so is the tagged reply.
    async fn authenticated(&mut self, answer: Result<Done, Refused>) -> Result<Flow, WireError> {
        let Some(tag) = self.authenticating.take() else {
            return Ok(Flow::Continue);
        };
        let is_bad = matches!(answer, Err(Refused::Bad(_)));
        let status = match answer {
            Ok(done) => Status::ok(Some(tag), done.code, text(done.words)),
            Err(Refused::No(code, words)) => Status::no(Some(tag), code, text(&words)),
            Err(Refused::Bad(words)) => Status::bad(Some(tag), None, text(&words)),
            Err(Refused::Disk(error)) => {
                tracing::error!(%error, "an IMAP login failed");
                Status::no(
                    Some(tag),
                    None,
                    text("the development mailbox cannot write its files"),
                )
            }
            Err(Refused::Wire(error)) => return Err(error),
        };
        let Ok(status) = status;
        let _ = self.wire.server.authenticate_finish(status);
        self.session.count_error(is_bad, &mut self.wire).await
    }

    async fn start_idle(&mut self, tag: Tag<'static>) -> Result<Flow, WireError> {
        let refusal = match self.session.strike("IDLE").await {
            Ok(Strike::Drop) => return Ok(Flow::Drop),
            Ok(Strike::Nothing) if self.session.is_logged_in() => None,
            Ok(Strike::Nothing) => Some(Status::bad(Some(tag.clone()), None, text("log in before IDLE"))),
            Ok(Strike::No(words)) => Some(Status::no(Some(tag.clone()), None, text(&words))),
            Err(error) => {
                tracing::error!(%error, "a fault could not be counted");
                Some(Status::no(
                    Some(tag.clone()),
                    None,
                    text("the development mailbox cannot write its files"),
                ))
            }
        };
        if let Some(status) = refusal {
            let Ok(status) = status;
            let _ = self.wire.server.idle_reject(status);
            return Ok(Flow::Continue);
        }
        if let Ok(go_on) = CommandContinuationRequest::basic(None, text("idling, end with DONE")) {
            let _ = self.wire.server.idle_accept(go_on);
        }
        self.idle = Some(tag);
        self.push_news().await
    }

    async fn push_news(&mut self) -> Result<Flow, WireError> {
        if self.session.tell_news(true, &mut self.wire).await.is_err() {
            self.wire.bye("UIDVALIDITY changed, log in again").await;
            return Ok(Flow::Close);
        }
        Ok(Flow::Continue)
    }

    async fn not_understood(&mut self, error: &ProtocolError) -> Result<Flow, WireError> {
        let (bytes, words) = match error {
            ProtocolError::MalformedMessage { discarded_bytes } => (discarded_bytes, "not understood"),
            ProtocolError::ExpectedCrlfGotLf { discarded_bytes } => (discarded_bytes, "lines end with CRLF"),
            // The protocol state has already answered this one.
            ProtocolError::LiteralTooLong { .. } => {
                return self.session.count_error(true, &mut self.wire).await;
            }
            ProtocolError::CommandTooLong { .. } => {
                self.wire.bye("command too long").await;
                return Ok(Flow::Close);
            }
        };
        let first_word = bytes
            .declassify()
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        let tag = Tag::try_from(first_word.to_vec()).ok();
        let Ok(status) = Status::bad(tag, None, text(words));
        self.wire.status(status);
        self.session.count_error(true, &mut self.wire).await
    }
}

//! The socket of one IMAP connection and the protocol state on it.

use std::collections::VecDeque;
use std::time::Duration;

use imap_next::imap_types::core::Text;
use imap_next::imap_types::response::{Data, Greeting, Status};
use imap_next::server::{Error as ProtocolError, Event, Options, ResponseHandle, Server};
use imap_next::stream::{Error as StreamError, Stream};
use tokio::net::TcpStream;

use super::capability;

/// A message over SMTP may be 50 MB; APPEND takes the same.
const MAX_LITERAL: u32 = 50 * 1024 * 1024;

/// Dovecot's limit for everything of a command but its literals.
const MAX_COMMAND: u32 = MAX_LITERAL + 64 * 1024;

/// A client that stops reading is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) type WireError = StreamError<ProtocolError>;

pub(super) struct Wire {
    stream: Stream,
    pub(super) server: Server,
    last: Option<ResponseHandle>,
    early: VecDeque<Event>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Self {
        let mut options = Options::default();
        options.max_literal_size = MAX_LITERAL;
        options.max_command_size = MAX_COMMAND;
        let greeting = Greeting {
            kind: imap_next::imap_types::response::GreetingKind::Ok,
            code: Some(capability::code()),
            text: text("postroom development mailbox"),
        };
        let server = Server::new(options, greeting);
        Self {
            stream: Stream::insecure(socket),
            server,
            last: None,
            early: VecDeque::new(),
        }
    }

    /// Safe to cancel: nothing read or queued is lost.
    pub(super) async fn next(&mut self) -> Result<Event, WireError> {
        match self.early.pop_front() {
            Some(event) => Ok(event),
            None => self.stream.next(&mut self.server).await,
        }
    }

    pub(super) fn data(&mut self, data: Data<'static>) {
        self.last = Some(self.server.enqueue_data(data));
    }

    pub(super) fn status(&mut self, status: Status<'static>) {
        self.last = Some(self.server.enqueue_status(status));
    }

    /// Sends all that is queued, so that long answers do not pile up in memory.
    pub(super) async fn drain(&mut self) -> Result<(), WireError> {
        let Some(last) = self.last.take() else {
            return Ok(());
        };
        let sent = async {
            loop {
                match self.stream.next(&mut self.server).await? {
                    Event::ResponseSent { handle, .. } if handle == last => break,
                    Event::ResponseSent { .. } | Event::GreetingSent { .. } => {}
                    event => self.early.push_back(event),
                }
            }
            self.stream.flush().await.map_err(|_| StreamError::Closed)
        };
        tokio::time::timeout(WRITE_TIMEOUT, sent)
            .await
            .unwrap_or(Err(StreamError::Closed))
    }

    /// Says goodbye, if the client still listens.
    pub(super) async fn bye(&mut self, words: &str) {
        let Ok(bye) = Status::bye(None, text(words));
        self.status(bye);
        if let Err(error) = self.drain().await {
            tracing::debug!(%error, "an IMAP client left before the BYE");
        }
    }
}

/// Response text cannot hold line ends, NUL or nothing at all; such characters become spaces.
pub(super) fn text(words: &str) -> Text<'static> {
    let printable = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let words: String = words.chars().map(printable).collect();
    Text::try_from(words).unwrap_or_else(|_| Text::unvalidated("-"))
}

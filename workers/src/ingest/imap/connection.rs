//! The IMAP socket: one command at a time, everything the server said in between, and a deadline on each.
//!
//! The parser and its buffer are async-imap's. Its own command methods are not used: several take a tagged NO or the
//! end of the stream for a complete answer. Here an answer is complete when the tagged line says so, and only then.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_imap::Client;
use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::command::Command;
use super::error::{ImapError, Refusal};
use super::guard::{Excess, Guarded};
use super::line::{Line, State, TaggedStatus, clip};
use crate::tls::{Dialer, Endpoint, MailStream, Security};

/// Connecting, TLS and the greeting together; a server that is slower than this serves nobody.
const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// More lines than any answer of a mailbox of a million mails has; a server that sends them for ever is stopped.
const MAX_UNTAGGED: usize = 100_000;

/// What a server said to one command that it answered with OK.
#[derive(Debug)]
pub struct Answer {
    pub untagged: Vec<Line>,
    pub tagged: State,
}

/// One connection, before or after login.
#[derive(Debug)]
pub struct Connection {
    client: Client<Guarded<MailStream>>,
    tags: u32,
    /// EXISTS or RECENT was seen since [`Connection::take_changed`], whatever command it came with.
    changed: bool,
    /// Half an answer may be on the wire; nothing that comes after it can be trusted.
    broken: bool,
}

impl Connection {
    /// Connects, protects the connection as the endpoint says, and reads the greeting.
    pub async fn open(endpoint: &Endpoint, dialer: &Dialer) -> Result<Self, ImapError> {
        let opening = Self::open_unhurried(endpoint, dialer);
        tokio::time::timeout(CONNECT_DEADLINE, opening)
            .await
            .map_err(|_| ImapError::Timeout {
                command: "connect",
                after: CONNECT_DEADLINE,
            })?
    }

    async fn open_unhurried(endpoint: &Endpoint, dialer: &Dialer) -> Result<Self, ImapError> {
        let mut connection = Self::over(dialer.connect(endpoint).await?);
        connection.greeting().await?;
        if endpoint.security != Security::StartTls {
            return Ok(connection);
        }
        connection.run(Command::new("STARTTLS"), CONNECT_DEADLINE).await?;
        // Whatever the server sent in plain text after its OK is dropped with the old buffer: it could be forged.
        match connection.client.into_inner().into_inner() {
            MailStream::Plain(stream) => Ok(Self::over(dialer.upgrade(stream, &endpoint.host).await?)),
            stream @ MailStream::Tls(_) => Ok(Self::over(stream)),
        }
    }

    fn over(stream: MailStream) -> Self {
        Self {
            client: Client::new(Guarded::new(stream)),
            tags: 0,
            changed: false,
            broken: false,
        }
    }

    async fn greeting(&mut self) -> Result<(), ImapError> {
        const GREETING: &str = "connect";
        match self.read(GREETING).await? {
            Line::State(_) | Line::PreAuth => Ok(()),
            other => Err(unexpected(GREETING, &other)),
        }
    }

    /// Runs one command to its tagged line. NO and BAD are [`ImapError::Refused`]; anything else that is not OK
    /// ends the connection.
    pub async fn run(&mut self, command: Command, deadline: Duration) -> Result<Answer, ImapError> {
        let name = command.name();
        let tag = self.start(name)?;
        let timed = timeout_at(Instant::now() + deadline, self.exchange(command, &tag)).await;
        let result = timed.unwrap_or(Err(ImapError::Timeout {
            command: name,
            after: deadline,
        }));
        self.broken = result.as_ref().is_err_and(|error| !error.is_refusal());
        result
    }

    async fn exchange(&mut self, command: Command, tag: &str) -> Result<Answer, ImapError> {
        let name = command.name();
        let mut untagged = Vec::new();
        let mut afterthought = command.afterthought();
        for (at, chunk) in command.into_chunks(tag).enumerate() {
            if at > 0 {
                self.await_go_ahead(name, tag, &mut untagged).await?;
            }
            self.write(name, &chunk).await?;
        }
        loop {
            match self.read(name).await? {
                Line::Tagged {
                    tag: done,
                    status,
                    state,
                } if done == tag => {
                    return Ok(Answer {
                        untagged,
                        tagged: accepted(name, status, state)?,
                    });
                }
                Line::GoAhead if let Some(word) = afterthought.take() => {
                    self.write(name, format!("{word}\r\n").as_bytes()).await?;
                }
                line @ (Line::Tagged { .. } | Line::GoAhead) => return Err(unexpected(name, &line)),
                line => keep(name, &mut untagged, line)?,
            }
        }
    }

    /// Reads on until the server says `+`; other lines are kept.
    pub(super) async fn await_go_ahead(
        &mut self,
        name: &'static str,
        tag: &str,
        untagged: &mut Vec<Line>,
    ) -> Result<(), ImapError> {
        loop {
            match self.read(name).await? {
                Line::GoAhead => return Ok(()),
                Line::Tagged {
                    tag: done,
                    status,
                    state,
                } if done == tag => {
                    return Err(not_yet(name, status, state));
                }
                line @ Line::Tagged { .. } => return Err(unexpected(name, &line)),
                line => keep(name, untagged, line)?,
            }
        }
    }

    /// Takes the mark that new mail may have come since the last time.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn start(&mut self, command: &'static str) -> Result<String, ImapError> {
        if self.broken {
            return Err(ImapError::Closed { command });
        }
        // Until the tagged line is here; also when the caller's future is dropped half way.
        self.broken = true;
        self.tags += 1;
        Ok(format!("p{}", self.tags))
    }

    pub(super) fn mark_sound(&mut self) {
        self.broken = false;
    }

    pub(super) async fn write(&mut self, command: &'static str, bytes: &[u8]) -> Result<(), ImapError> {
        let failed = |source| ImapError::Io { command, source };
        let stream = self.client.get_mut();
        stream.write_all(bytes).await.map_err(failed)?;
        stream.flush().await.map_err(failed)
    }

    /// The next response. BYE, the end of the stream and bytes that don't parse are errors.
    pub(super) async fn read(&mut self, command: &'static str) -> Result<Line, ImapError> {
        // The parser slices text by bytes in one place and panics on some; that must not take the worker with it.
        let line = match AssertUnwindSafe(self.client.read_response()).catch_unwind().await {
            Ok(Ok(Some(response))) => Line::of(response.parsed()),
            Ok(Ok(None)) => return Err(ImapError::Closed { command }),
            Ok(Err(error)) => return Err(read_failure(command, error)),
            Err(_) => {
                return Err(ImapError::Protocol {
                    command,
                    what: "the parser panicked".to_owned(),
                });
            }
        };
        match line {
            Line::Bye(text) => return Err(ImapError::Bye { command, text }),
            Line::Exists(_) | Line::Recent => self.changed = true,
            _ => {}
        }
        Ok(line)
    }
}

fn keep(command: &'static str, untagged: &mut Vec<Line>, line: Line) -> Result<(), ImapError> {
    if untagged.len() >= MAX_UNTAGGED {
        return Err(ImapError::Protocol {
            command,
            what: format!("more than {MAX_UNTAGGED} lines"),
        });
    }
    untagged.push(line);
    Ok(())
}

/// The tagged line of a command that went well; NO and BAD are errors.
pub(super) fn accepted(
    command: &'static str,
    status: TaggedStatus,
    state: State,
) -> Result<State, ImapError> {
    let refusal = match status {
        TaggedStatus::Ok => return Ok(state),
        TaggedStatus::No => Refusal::No,
        TaggedStatus::Bad => Refusal::Bad,
        TaggedStatus::Nonsense => {
            return Err(ImapError::Protocol {
                command,
                what: format!("tagged {}", state.text),
            });
        }
    };
    Err(ImapError::Refused {
        command,
        refusal,
        text: state.text,
    })
}

/// The tagged line came where `+` was due: a refusal, or an OK that answers nothing.
fn not_yet(command: &'static str, status: TaggedStatus, state: State) -> ImapError {
    match accepted(command, status, state) {
        Ok(state) => ImapError::Protocol {
            command,
            what: format!("OK before +: {}", state.text),
        },
        Err(error) => error,
    }
}

pub(super) fn unexpected(command: &'static str, line: &Line) -> ImapError {
    ImapError::Protocol {
        command,
        what: clip(&format!("{line:?}")),
    }
}

fn read_failure(command: &'static str, source: std::io::Error) -> ImapError {
    use std::io::ErrorKind::{Other, UnexpectedEof};
    let excess = source.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
    if let Some(&Excess::Literal(size)) = excess {
        return ImapError::TooLarge { size };
    }
    match source.kind() {
        UnexpectedEof => ImapError::Closed { command },
        // The codec reports what it cannot parse, and literals beyond its limit, as `Other`.
        Other => ImapError::Protocol {
            command,
            what: clip(&source.to_string()),
        },
        _ => ImapError::Io { command, source },
    }
}

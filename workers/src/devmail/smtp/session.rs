//! One SMTP session (RFC 5321): commands in, replies out. It knows the store and the faults, and no socket.

use std::borrow::Cow;
use std::sync::Arc;

use smtp_proto::{
    AUTH_LOGIN, AUTH_PLAIN, EXT_8BIT_MIME, EXT_AUTH, EXT_ENHANCED_STATUS_CODES, EXT_PIPELINING, EXT_SIZE,
    EhloResponse, Error as SyntaxError, MailFrom, RcptTo, Request,
};

use super::auth::{self, Exchange, Step};
use super::dot::Body;
use super::line::Line;
use super::reply::Reply;
use crate::devmail::fault::{FaultKind, Occasion, Refusal};
use crate::devmail::faults::Faults;
use crate::devmail::store::{Store, StoreError};

/// Bigger than what the large providers take (25 to 50 MB), small enough to keep in memory.
pub(super) const MAX_MESSAGE: usize = 50 * 1024 * 1024;

/// RFC 5321 4.5.3.1.8 asks for at least 100.
const MAX_RECIPIENTS: usize = 100;

/// RFC 5321 4.5.3.1.3 ends a path at 256 octets.
const MAX_PATH: usize = 256;

/// A peer that only makes mistakes is talking something else.
const MAX_ERRORS: u32 = 25;

const HOST: &str = "devmail.localhost";

const OK: Reply = Reply::new(250, "2.0.0 ok");
const BAD_SEQUENCE: Reply = Reply::new(503, "5.5.1 commands out of order: EHLO, MAIL, RCPT, DATA");
const TROUBLE: Reply = Reply::new(
    451,
    "4.3.0 the development mailbox cannot write its files; see its log",
);

/// What the connection does after a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    /// Read a message up to its final dot.
    Message,
    /// Send what is written, then close.
    Quit,
    /// Close at once; send nothing.
    Drop,
}

#[derive(Debug)]
pub(super) struct Session {
    store: Store,
    faults: Faults,
    is_greeted: bool,
    is_logged_in: bool,
    auth: Option<Exchange>,
    transaction: Option<Transaction>,
    errors: u32,
}

#[derive(Debug)]
struct Transaction {
    from: String,
    to: Vec<String>,
}

impl Session {
    pub(super) fn new(store: Store, faults: Faults) -> Self {
        Self {
            store,
            faults,
            is_greeted: false,
            is_logged_in: false,
            auth: None,
            transaction: None,
            errors: 0,
        }
    }

    pub(super) fn greeting() -> Reply {
        Reply::new(220, "devmail.localhost ESMTP postroom development mailbox")
    }

    pub(super) async fn line(&mut self, line: Line, out: &mut Vec<u8>) -> Next {
        let exchange = self.auth.take();
        let (reply, next) = match line {
            Line::TooLong => (Reply::new(500, "5.5.6 line too long"), Next::Line),
            Line::BareCrOrLf => (
                Reply::new(500, "5.5.2 lines end with CRLF, not with CR or LF alone"),
                Next::Line,
            ),
            Line::Whole(line) => match exchange {
                Some(exchange) => (self.auth_step(exchange.answer(&line)).await, Next::Line),
                None => match self.command(&line, out).await {
                    Some(answer) => answer,
                    None => return Next::Line,
                },
            },
        };
        self.answer(&reply, next, out)
    }

    /// Answers the message that followed DATA. The 250 is written after the message is on disk.
    pub(super) async fn message(&mut self, body: Body, out: &mut Vec<u8>) -> Next {
        let reply = match (body, self.transaction.take()) {
            (Body::Whole(raw), Some(transaction)) => match self.take(transaction, raw).await {
                Ok(Some(reply)) => reply,
                Ok(None) => return Next::Drop,
                Err(error) => {
                    tracing::error!(%error, "an SMTP message was not kept");
                    TROUBLE
                }
            },
            (Body::TooBig, _) => Reply::new(552, "5.3.4 message is larger than SIZE says"),
            (Body::BareCrOrLf, _) => Reply::new(
                550,
                "5.6.11 message holds a CR or LF alone; its lines must end with CRLF",
            ),
            (Body::LineTooLong, _) => {
                Reply::new(550, "5.6.0 message holds a line over 998 octets; encode it")
            }
            (Body::Whole(_), None) => BAD_SEQUENCE,
        };
        self.answer(&reply, Next::Line, out)
    }

    fn answer(&mut self, reply: &Reply, next: Next, out: &mut Vec<u8>) -> Next {
        self.errors = if reply.is_failure() { self.errors + 1 } else { 0 };
        reply.write(out);
        if self.errors < MAX_ERRORS {
            return next;
        }
        Reply::new(421, "4.7.0 too many errors").write(out);
        Next::Quit
    }

    /// `None`: the reply, of several lines, is already written.
    async fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<(Reply, Next)> {
        // The parser wants the line end that the reader took off.
        let line = [line, b"\r\n"].concat();
        let reply = match Request::parse(&mut line.iter()) {
            Ok(Request::Ehlo { host }) if !host.is_empty() => {
                (self.is_greeted, self.transaction) = (true, None);
                ehlo(out);
                return None;
            }
            Ok(Request::Helo { host }) if !host.is_empty() => {
                (self.is_greeted, self.transaction) = (true, None);
                Reply::new(250, HOST)
            }
            Ok(Request::Mail { from }) => self.mail(&from),
            Ok(Request::Rcpt { to }) => self.rcpt(&to).await,
            Ok(Request::Data) => match &self.transaction {
                Some(transaction) if !transaction.to.is_empty() => {
                    return Some((Reply::new(354, "go on, end with CRLF.CRLF"), Next::Message));
                }
                Some(_) => Reply::new(554, "5.5.1 no valid recipients"),
                None => BAD_SEQUENCE,
            },
            Ok(Request::Rset) => {
                self.transaction = None;
                OK
            }
            Ok(Request::Noop { .. }) => OK,
            Ok(Request::Quit) => return Some((Reply::new(221, "2.0.0 bye"), Next::Quit)),
            Ok(Request::Auth {
                mechanism,
                initial_response,
            }) => self.start_auth(mechanism, &initial_response).await,
            Ok(Request::Vrfy { .. }) => Reply::new(252, "2.5.0 send it and see"),
            Ok(Request::Help { .. }) => Reply::new(214, "2.0.0 EHLO MAIL RCPT DATA RSET NOOP AUTH QUIT"),
            Ok(Request::Ehlo { .. } | Request::Helo { .. }) => Reply::new(501, "5.5.4 say who you are"),
            Ok(_) => Reply::new(502, "5.5.1 command not offered here"),
            Err(error) => syntax_error(&error),
        };
        Some((reply, Next::Line))
    }

    fn mail(&mut self, from: &MailFrom<Cow<'_, str>>) -> Reply {
        if !self.is_greeted || self.transaction.is_some() {
            return BAD_SEQUENCE;
        }
        if from.size > MAX_MESSAGE {
            return Reply::new(552, "5.3.4 message is larger than SIZE says");
        }
        if from.address.len() > MAX_PATH {
            return Reply::new(501, "5.1.7 path is longer than 256 octets");
        }
        self.transaction = Some(Transaction {
            from: from.address.to_string(),
            to: Vec::new(),
        });
        Reply::new(250, "2.1.0 ok")
    }

    async fn rcpt(&mut self, to: &RcptTo<Cow<'_, str>>) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return BAD_SEQUENCE;
        };
        if transaction.to.len() >= MAX_RECIPIENTS {
            return Reply::new(452, "4.5.3 too many recipients");
        }
        let address = to.address.to_string();
        if address.len() > MAX_PATH || !address.contains('@') {
            return Reply::new(501, "5.1.3 not an address");
        }
        match self.faults.strike(Occasion::Rcpt(address.clone())).await {
            Ok(Some(FaultKind::Rcpt { refusal, .. })) => refused(refusal),
            Ok(_) => {
                transaction.to.push(address);
                Reply::new(250, "2.1.5 ok")
            }
            Err(error) => {
                tracing::error!(%error, "a fault could not be counted");
                TROUBLE
            }
        }
    }

    /// `Ok(None)`: a fault says to close without a reply.
    async fn take(&self, transaction: Transaction, raw: Vec<u8>) -> Result<Option<Reply>, StoreError> {
        if let Some(FaultKind::Data { refusal, .. }) =
            self.faults.strike(Occasion::Data(transaction.to.clone())).await?
        {
            return Ok(Some(refused(refusal)));
        }
        let drop = self
            .faults
            .strike(Occasion::AfterDot(transaction.to.clone()))
            .await?;
        if matches!(drop, Some(FaultKind::DropAfterDot { accepted: false, .. })) {
            return Ok(None);
        }
        let number = self.deliver(transaction, raw).await?;
        let is_dropped = drop.is_some();
        Ok((!is_dropped).then(|| Reply::with_text(250, format!("2.0.0 kept as {number}"))))
    }

    async fn deliver(&self, transaction: Transaction, raw: Vec<u8>) -> Result<u64, StoreError> {
        let raw: Arc<[u8]> = raw.into();
        for inbox in transaction
            .to
            .iter()
            .filter_map(|address| self.store.account_at(address)?.inbox())
        {
            // What a delivering server adds (RFC 5321 4.4); loop checks look for the null path here.
            let trace = format!("Return-Path: <{}>\r\n", transaction.from);
            inbox.deliver([trace.as_bytes(), &raw[..]].concat()).await?;
        }
        Ok(self
            .store
            .keep_sent(transaction.from, transaction.to, raw)
            .await?)
    }

    async fn start_auth(&mut self, mechanism: u64, initial: &str) -> Reply {
        if self.is_logged_in || !self.is_greeted || self.transaction.is_some() {
            return BAD_SEQUENCE;
        }
        let step = match mechanism {
            AUTH_PLAIN => auth::start_plain(initial),
            AUTH_LOGIN => auth::start_login(initial),
            _ => return Reply::new(504, "5.5.4 use AUTH PLAIN or AUTH LOGIN"),
        };
        self.auth_step(step).await
    }

    async fn auth_step(&mut self, step: Step) -> Reply {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.auth = Some(exchange);
                Reply::new(334, challenge)
            }
            Step::Malformed => Reply::new(501, "5.5.2 that is no base64 of the mechanism's form"),
            Step::Cancelled => Reply::new(501, "5.7.0 cancelled"),
            Step::Done(credentials) => match self
                .faults
                .strike(Occasion::Login(credentials.name.clone()))
                .await
            {
                Ok(None)
                    if self
                        .store
                        .login(&credentials.name, &credentials.password)
                        .is_some() =>
                {
                    self.is_logged_in = true;
                    Reply::new(235, "2.7.0 logged in")
                }
                Ok(_) => Reply::new(535, "5.7.8 wrong user name or password"),
                Err(error) => {
                    tracing::error!(%error, "a fault could not be counted");
                    Reply::new(454, "4.7.0 try again later")
                }
            },
        }
    }
}

fn ehlo(out: &mut Vec<u8>) {
    let mut response = EhloResponse::new(HOST);
    response.capabilities = EXT_8BIT_MIME | EXT_AUTH | EXT_ENHANCED_STATUS_CODES | EXT_PIPELINING | EXT_SIZE;
    response.auth_mechanisms = AUTH_PLAIN | AUTH_LOGIN;
    response.size = MAX_MESSAGE;
    // Writing to a Vec cannot fail.
    let _ = response.write(out);
}

fn refused(Refusal { code, text }: Refusal) -> Reply {
    Reply::with_text(code, text)
}

fn syntax_error(error: &SyntaxError) -> Reply {
    match error {
        SyntaxError::UnknownCommand => Reply::new(500, "5.5.1 unknown command"),
        SyntaxError::InvalidSenderAddress => Reply::new(501, "5.1.7 not a sender address"),
        SyntaxError::InvalidRecipientAddress => Reply::new(501, "5.1.3 not an address"),
        SyntaxError::SyntaxError { syntax } => Reply::with_text(501, format!("5.5.2 syntax: {syntax}")),
        SyntaxError::InvalidParameter { param } => {
            Reply::with_text(501, format!("5.5.4 bad parameter {param}"))
        }
        SyntaxError::UnsupportedParameter { .. } => Reply::new(555, "5.5.4 parameter not offered here"),
        _ => Reply::new(500, "5.5.2 not understood"),
    }
}

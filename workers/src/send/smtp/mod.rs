//! One SMTP transaction (RFC 5321), step by step. The only file that owns an SMTP socket.
//!
//! ```text
//! Relay::connect   greeting, EHLO, TLS, AUTH
//! Relay::offer     MAIL, RCPT, DATA → 354: the relay wants the content, and has nothing yet
//!                  ← here the caller records durably that it is about to send
//! Offer::deliver   content and final dot → accepted, refused, or unknown
//! ```
//!
//! Every step consumes the connection and gives it back only when the step went well. A step that fails, runs out of
//! time or is dropped half way takes the connection with it, so no reply can ever be read as the answer to another
//! command. The deadlines are those of RFC 5321 section 4.5.3.2 or near them; after the final dot it is ten minutes,
//! because giving up early is how recipients get two copies.

mod deadlines;
mod error;
mod report;
mod starttls;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::time::timeout;

pub use self::deadlines::Deadlines;
pub use self::error::{Phase, SmtpError, refusal_in};
use self::error::{SMTPUTF8, clip, enhanced, refusal};
use self::starttls::SmtpStream;
use super::message::Outgoing;
use crate::config::Secret;
use crate::login::sasl::Bearer;
use crate::login::{Access, Credential, Login};
use crate::tls::{Dialer, Endpoint, MailStream, Security};

/// The content goes out in pieces of this size, so that memory stays flat.
const CHUNK: usize = 64 * 1024;

/// A connection on which a transaction may begin.
pub struct Relay {
    connection: AsyncSmtpConnection,
    /// The server takes requests for reports.
    reports: bool,
    deadlines: Deadlines,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("server", self.connection.server_info())
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Connects, protects the connection as the endpoint says, and logs in. `hello` is the name given in EHLO.
    pub async fn connect(
        endpoint: &Endpoint,
        dialer: &Dialer,
        hello: &str,
        login: Option<&Login>,
        deadlines: Deadlines,
    ) -> Result<Self, SmtpError> {
        let open = || Self::open(endpoint, dialer, hello, deadlines);
        match login {
            None => open().await,
            Some(Login { user, credential }) => match credential {
                Credential::Password(password) => open().await?.by_password(user, password).await,
                Credential::OAuth(tokens) => {
                    let access = tokens.access().await?;
                    match open().await?.by_token(user, &access, endpoint, hello).await {
                        // It may have been revoked early: once more with a new one.
                        Err(error) if error.is_account_trouble() && !access.is_new => {
                            tokens.refused(&access).await;
                            let access = tokens.access().await?;
                            open().await?.by_token(user, &access, endpoint, hello).await
                        }
                        done => done,
                    }
                }
            },
        }
    }

    async fn open(
        endpoint: &Endpoint,
        dialer: &Dialer,
        hello: &str,
        deadlines: Deadlines,
    ) -> Result<Self, SmtpError> {
        let hello = hello_name(hello);
        let stream = dial(endpoint, dialer, hello, &deadlines).await?;
        let heard = stream.heard();
        let client = ClientId::Domain(hello.to_owned());
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &client);
        let connection = timely(Phase::Greeting, deadlines.greeting, greeting).await?;
        Ok(Self {
            connection,
            reports: report::is_offered(&heard.end()),
            deadlines,
        })
    }

    async fn by_password(mut self, user: &str, password: &Secret) -> Result<Self, SmtpError> {
        const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
        if self
            .connection
            .server_info()
            .get_auth_mechanism(&MECHANISMS)
            .is_none()
        {
            return Err(SmtpError::NotOffered("AUTH PLAIN or LOGIN"));
        }
        let credentials = Credentials::new(user.to_owned(), password.expose().to_owned());
        let answer = self.connection.auth(&MECHANISMS, &credentials);
        completed(
            Phase::Auth,
            timely(Phase::Auth, self.deadlines.step, answer).await?,
        )?;
        Ok(self)
    }

    /// Not by lettre's own `auth`, which takes the server's error report for a broken protocol.
    async fn by_token(
        mut self,
        user: &str,
        access: &Access,
        endpoint: &Endpoint,
        hello: &str,
    ) -> Result<Self, SmtpError> {
        let offered = self.mechanisms(hello).await?;
        let has = |mechanism: &str| offered.iter().any(|name| name.eq_ignore_ascii_case(mechanism));
        let bearer = Bearer::choose(has).ok_or(SmtpError::NotOffered("AUTH XOAUTH2 or OAUTHBEARER"))?;
        let lost = |what: &str| SmtpError::Lost {
            phase: Phase::Auth,
            what: what.to_owned(),
        };
        let response = bearer
            .response(user, access.token.expose(), endpoint)
            .map_err(|error| lost(&error.to_string()))?;
        let step = self.deadlines.step;
        let auth = Verbatim(format!("AUTH {} {response}", bearer.name()));
        let mut answer = timely(Phase::Auth, step, self.connection.command(auth)).await?;
        if answer.has_code(334) {
            let acknowledged = Verbatim(bearer.acknowledgement().to_owned());
            answer = timely(Phase::Auth, step, self.connection.command(acknowledged)).await?;
        }
        completed(Phase::Auth, answer)?;
        Ok(self)
    }

    /// The mechanisms of AUTH by the server's own words: lettre keeps only those that it knows.
    async fn mechanisms(&mut self, hello: &str) -> Result<Vec<String>, SmtpError> {
        let ehlo = Verbatim(format!("EHLO {}", hello_name(hello)));
        let answer = timely(
            Phase::Greeting,
            self.deadlines.greeting,
            self.connection.command(ehlo),
        )
        .await?;
        let answer = completed(Phase::Greeting, answer)?;
        let auth = answer.message().find_map(|line| line.strip_prefix("AUTH "));
        Ok(auth
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect())
    }

    /// Offers the mail: sender, recipient, DATA. When this returns, the relay waits for the content.
    pub async fn offer(mut self, mail: &Outgoing) -> Result<Offer, SmtpError> {
        let parameters = self.parameters(mail)?;
        let reports = if self.reports {
            report::of_recipient(mail)
        } else {
            Vec::new()
        };
        let step = self.deadlines.step;
        let answer = self
            .connection
            .command(Mail::new(mail.sender.clone(), parameters));
        completed(Phase::Mail, timely(Phase::Mail, step, answer).await?)?;
        let answer = self
            .connection
            .command(Rcpt::new(mail.recipient.clone(), reports));
        completed(Phase::Rcpt, timely(Phase::Rcpt, step, answer).await?)?;
        let answer = timely(Phase::Data, step, self.connection.command(Data)).await?;
        if !answer.has_code(354) {
            return Err(SmtpError::Lost {
                phase: Phase::Data,
                what: format!("expected 354, got {}", shown(&answer)),
            });
        }
        Ok(Offer { relay: self })
    }

    fn parameters(&self, mail: &Outgoing) -> Result<Vec<MailParameter>, SmtpError> {
        let addresses = mail.sender.iter().chain([&mail.recipient]);
        let international = addresses
            .map(AsRef::<str>::as_ref)
            .any(|address: &str| !address.is_ascii());
        let offers = |extension| self.connection.server_info().supports_feature(extension);
        let mut parameters = if self.reports {
            report::of_mail(mail)
        } else {
            Vec::new()
        };
        if international {
            if !offers(Extension::SmtpUtfEight) {
                return Err(SmtpError::NotOffered(SMTPUTF8));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if offers(Extension::EightBitMime) && !mail.bytes.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }

    /// Says goodbye; the outcome of what was sent before does not depend on it.
    pub async fn quit(mut self) {
        /// The reply to QUIT carries no news.
        const FAREWELL: Duration = Duration::from_secs(5);
        let _ = timeout(FAREWELL, self.connection.quit()).await;
    }
}

/// The relay said 354 and has nothing of the content yet. Dropping this drops the connection: a known non-send.
#[derive(Debug)]
#[must_use]
pub struct Offer {
    relay: Relay,
}

impl Offer {
    /// Writes the content and the final dot, and waits for the verdict: the server's words when it accepted.
    pub async fn deliver(mut self, bytes: &[u8]) -> Result<(String, Relay), SmtpError> {
        let Deadlines { content, verdict, .. } = self.relay.deadlines;
        // lettre ends the content with CRLF and dot whatever came before.
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        // lettre asks for the next piece once more before it writes the final dot.
        let dotted = AtomicBool::new(false);
        let mut pieces = bytes.chunks(CHUNK);
        let pieces = std::iter::from_fn(|| {
            let piece = pieces.next();
            dotted.store(piece.is_none(), Ordering::Relaxed);
            piece
        });
        let result = {
            let mut writing = std::pin::pin!(self.relay.connection.message_iter(pieces));
            match timeout(content, &mut writing).await {
                Err(_) if dotted.load(Ordering::Relaxed) => timeout(verdict, &mut writing).await,
                result => result,
            }
        };
        let failed = |what: String| match dotted.load(Ordering::Relaxed) {
            true => SmtpError::Unknown { what },
            false => SmtpError::Lost {
                phase: Phase::Content,
                what,
            },
        };
        let answer = match result {
            Err(_) => return Err(failed("the deadline has passed".to_owned())),
            Ok(Err(error)) => {
                return Err(refusal(Phase::Content, &error).unwrap_or_else(|| failed(error.to_string())));
            }
            Ok(Ok(answer)) => answer,
        };
        if !is_completed(&answer) {
            return Err(SmtpError::Unknown {
                what: format!("the relay answered {}", shown(&answer)),
            });
        }
        Ok((shown(&answer), self.relay))
    }
}

/// A line of this program's own making.
struct Verbatim(String);

impl fmt::Display for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.0)
    }
}

async fn dial(
    endpoint: &Endpoint,
    dialer: &Dialer,
    hello: &str,
    deadlines: &Deadlines,
) -> Result<SmtpStream, SmtpError> {
    let late = |phase| SmtpError::Lost {
        phase,
        what: "the deadline has passed".to_owned(),
    };
    let stream = timeout(deadlines.connect, dialer.connect(endpoint))
        .await
        .map_err(|_| late(Phase::Connect))??;
    let mut stream = match stream {
        MailStream::Plain(stream) if endpoint.security == Security::StartTls => stream,
        stream => return Ok(SmtpStream::fresh(stream)),
    };
    let negotiated = timeout(deadlines.greeting, starttls::negotiate(&mut stream, hello)).await;
    match negotiated.map_err(|_| late(Phase::Greeting))? {
        Err(error) => {
            return Err(SmtpError::Lost {
                phase: Phase::Greeting,
                what: error.to_string(),
            });
        }
        Ok(Err(reply)) if reply.code == 502 => return Err(SmtpError::NotOffered("STARTTLS")),
        Ok(Err(reply)) => {
            return Err(SmtpError::Refused {
                phase: Phase::Greeting,
                enhanced: enhanced(reply.code, &reply.text),
                code: reply.code,
                text: clip(&reply.text),
            });
        }
        Ok(Ok(())) => {}
    }
    let upgraded = timeout(deadlines.connect, dialer.upgrade(stream, &endpoint.host)).await;
    Ok(SmtpStream::greeted(upgraded.map_err(|_| late(Phase::Connect))??))
}

/// Runs one step under its deadline. Everything here happens before the final dot.
async fn timely<T>(
    phase: Phase,
    deadline: Duration,
    step: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, SmtpError> {
    match timeout(deadline, step).await {
        Err(_) => Err(SmtpError::Lost {
            phase,
            what: "the deadline has passed".to_owned(),
        }),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refusal(phase, &error).unwrap_or_else(|| SmtpError::Lost {
            phase,
            what: error.to_string(),
        })),
    }
}

/// lettre counts 3xx as positive; only 2xx completes a command.
fn completed(phase: Phase, answer: Response) -> Result<Response, SmtpError> {
    match is_completed(&answer) {
        true => Ok(answer),
        false => Err(SmtpError::Lost {
            phase,
            what: format!("expected 2xx, got {}", shown(&answer)),
        }),
    }
}

fn is_completed(answer: &Response) -> bool {
    (200..300).contains(&u16::from(answer.code()))
}

fn shown(answer: &Response) -> String {
    let text: Vec<&str> = answer.message().collect();
    clip(&format!("{} {}", answer.code(), text.join(" ")))
}

/// A name that is no host name would let its author speak SMTP.
fn hello_name(name: &str) -> &str {
    let is_host = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b));
    if is_host { name } else { "localhost" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_a_host_name() {
        for (name, expect) in [
            ("mx.example.test", "mx.example.test"),
            ("[127.0.0.1]", "[127.0.0.1]"),
            ("a\r\nMAIL", "localhost"),
            ("", "localhost"),
        ] {
            assert_eq!(hello_name(name), expect);
        }
    }
}

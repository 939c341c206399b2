//! The plain part of a STARTTLS connection (RFC 3207), by hand.
//!
//! lettre keeps what it has buffered across the upgrade, so replies that someone on the path forged before TLS would
//! count as said under TLS. Here nothing is read past the go-ahead, and bytes that came too early end the connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::MailStream;

/// Real greetings and EHLO replies have a few hundred bytes.
const MAX_REPLY: usize = 64 * 1024;

/// What the server said that was not the expected code.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

/// Greeting, EHLO, STARTTLS. `Ok(Err(reply))` is a refusal in the server's words.
pub(super) async fn negotiate(stream: &mut TcpStream, hello: &str) -> io::Result<Result<(), Reply>> {
    let greeting = read_reply(stream).await?;
    if greeting.code != 220 {
        return Ok(Err(greeting));
    }
    stream.write_all(format!("EHLO {hello}\r\n").as_bytes()).await?;
    let offers = read_reply(stream).await?;
    if offers.code != 250 {
        return Ok(Err(offers));
    }
    if !offers
        .text
        .split('\n')
        .any(|line| line.trim().eq_ignore_ascii_case("STARTTLS"))
    {
        return Ok(Err(Reply {
            code: 502,
            text: "the server does not offer STARTTLS".to_owned(),
        }));
    }
    stream.write_all(b"STARTTLS\r\n").await?;
    let go_ahead = read_reply(stream).await?;
    Ok(if go_ahead.code == 220 {
        Ok(())
    } else {
        Err(go_ahead)
    })
}

/// One reply, which may have several lines. Reads byte by byte: what follows it must stay in the socket, where the
/// TLS handshake takes it for the garbage that it is.
async fn read_reply(stream: &mut TcpStream) -> io::Result<Reply> {
    let mut text = String::new();
    let mut read = 0;
    loop {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(stream.read_u8().await?);
            read += 1;
            if read > MAX_REPLY {
                return Err(invalid("the reply is too long"));
            }
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let code = line
            .get(..3)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid("no reply code"))?;
        text.push_str(line.get(4..).unwrap_or_default());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, text });
        }
        text.push('\n');
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The stream as lettre takes it. lettre wants a greeting first, and after STARTTLS there is none (the server waits
/// for EHLO), so it is read one that was made here.
#[derive(Debug)]
pub(super) struct SmtpStream {
    stream: MailStream,
    greeting: &'static [u8],
    heard: Heard,
}

/// What the server says at first: of what it offers, lettre keeps only what it knows. A handle: clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Option<Vec<u8>>>>);

impl Heard {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    fn keep(&self, bytes: &[u8]) {
        if let Some(heard) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            heard.extend_from_slice(&bytes[..bytes.len().min(MAX_REPLY.saturating_sub(heard.len()))]);
        }
    }

    /// All of it so far. Nothing more is kept.
    pub(super) fn end(&self) -> String {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        String::from_utf8_lossy(&heard.unwrap_or_default()).into_owned()
    }
}

impl SmtpStream {
    /// A fresh connection: the server greets.
    pub(super) fn fresh(stream: MailStream) -> Self {
        Self {
            stream,
            greeting: b"",
            heard: Heard::begin(),
        }
    }

    /// A connection whose greeting was read before TLS.
    pub(super) fn greeted(stream: MailStream) -> Self {
        Self {
            stream,
            greeting: b"220 TLS is on\r\n",
            heard: Heard::begin(),
        }
    }
}

impl SmtpStream {
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl AsyncTokioStream for SmtpStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for SmtpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.greeting.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut this.stream).poll_read(cx, buf);
            this.heard.keep(&buf.filled()[before..]);
            return read;
        }
        let (now, later) = this.greeting.split_at(this.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        this.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SmtpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

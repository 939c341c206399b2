//! NATS within WebSocket frames: the protocol's bytes go in binary messages, cut wherever it suits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::config::WebSocket;

/// How long the HTTP part may take, as in nats-server.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// A client may join several messages in one frame, as far as this many times the largest payload.
const FRAME_PAYLOADS: usize = 8;
/// However large a payload may be, a frame is no larger than this.
const FRAME_MAX: usize = 64 * 1024 * 1024;

/// The bytes that a client sends.
pub struct Input<S> {
    frames: SplitStream<WebSocketStream<S>>,
    left: Bytes,
}

/// The bytes that a client is sent; each write is a frame.
pub struct Output<S> {
    frames: SplitSink<WebSocketStream<S>, Message>,
}

/// Takes the handshake and checks where the page comes from that makes it.
pub async fn accept<S>(stream: S, config: &WebSocket, max_payload: usize) -> io::Result<(Input<S>, Output<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let largest = max_payload.saturating_mul(FRAME_PAYLOADS).min(FRAME_MAX);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    let has_tls = config.tls.is_some();
    #[expect(clippy::result_large_err, reason = "the shape that tungstenite asks for")]
    let check = |request: &Request, response: Response| match is_welcome(request, config, has_tls) {
        true => Ok(response),
        false => {
            let mut refusal = ErrorResponse::new(Some("origin not allowed".to_owned()));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            Err(refusal)
        }
    };
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(limits));
    let accepted = timeout(HANDSHAKE_TIMEOUT, handshake)
        .await?
        .map_err(io::Error::other)?;
    let (output, input) = accepted.split();
    Ok((
        Input {
            frames: input,
            left: Bytes::new(),
        },
        Output { frames: output },
    ))
}

/// Programs send no origin; a browser always tells it.
fn is_welcome(request: &Request, config: &WebSocket, has_tls: bool) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = header("origin") else {
        return true;
    };
    let normal = |authority: &str| with_port(authority, has_tls);
    let authority = origin
        .split_once("://")
        .map(|(scheme, rest)| with_port(rest, scheme == "https"));
    if config.same_origin && authority != header("host").map(normal) {
        return false;
    }
    let is_listed = |allowed: &Vec<String>| allowed.iter().any(|one| one.trim_end_matches('/') == origin);
    config.allowed_origins.as_ref().is_none_or(is_listed)
}

fn with_port(authority: &str, has_tls: bool) -> String {
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (has_port, has_tls) {
        (true, _) => authority.to_ascii_lowercase(),
        (false, true) => format!("{}:443", authority.to_ascii_lowercase()),
        (false, false) => format!("{}:80", authority.to_ascii_lowercase()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Input<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.left = bytes,
                Some(Ok(Message::Text(text))) => self.left = text.into(),
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                // Pings are answered inside.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let count = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left[..count]);
        self.left.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Output<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.frames).poll_ready(cx)).map_err(io_error)?;
        let frame = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.frames).start_send(frame).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_close(cx).map_err(io_error)
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::ConnectionReset.into(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let config = |same_origin, allowed: Option<&[&str]>| WebSocket {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            allowed_origins: allowed.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            same_origin,
        };
        let check = |config: &WebSocket, origin: Option<&str>, expect: bool| {
            let mut request = Request::builder().header("host", "shop.example");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            assert_eq!(
                is_welcome(&request.body(()).unwrap(), config, false),
                expect,
                "{config:?} {origin:?}"
            );
        };
        for any in [None, Some("http://evil.example"), Some("null")] {
            check(&config(false, None), any, true);
        }
        check(&config(true, None), Some("http://shop.example:80"), true);
        check(&config(true, None), Some("https://shop.example"), false);
        check(&config(true, None), Some("http://evil.example"), false);
        check(
            &config(false, Some(&["http://a.example"])),
            Some("http://a.example"),
            true,
        );
        check(
            &config(false, Some(&["http://a.example"])),
            Some("http://b.example"),
            false,
        );
        check(&config(false, Some(&[])), None, true);
    }
}

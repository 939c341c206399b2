//! The SMTP side: one connection is a [`session::Session`] fed by a line reader or, after DATA, a dot reader.

mod auth;
mod dot;
mod line;
mod reply;
mod session;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::store::Store;
use dot::DotReader;
use line::LineReader;
use reply::Reply;
use session::{Next, Session};

/// RFC 5321 4.5.3.2.7: a server waits at least 5 minutes for the next command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A client that does not read its replies is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

const READ_SIZE: usize = 16 * 1024;

const CLOSING: Reply = Reply::new(421, "4.3.2 closing down");
const TOO_SLOW: Reply = Reply::new(421, "4.4.2 idle for too long");

/// What the connection reads next.
enum Reading {
    Lines,
    Message(DotReader),
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(
    mut socket: TcpStream,
    store: Store,
    faults: Faults,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut session = Session::new(store, faults);
    let mut out = Vec::new();
    Session::greeting().write(&mut out);
    let (mut lines, mut reading) = (LineReader::default(), Reading::Lines);
    let mut input = vec![0; READ_SIZE];
    loop {
        send(&mut socket, &mut out).await?;
        let read = tokio::select! {
            () = stop.cancelled() => return say_and_close(&mut socket, &CLOSING).await,
            read = tokio::time::timeout(COMMAND_TIMEOUT, socket.read(&mut input)) => read,
        };
        let Ok(read) = read else {
            return say_and_close(&mut socket, &TOO_SLOW).await;
        };
        let mut bytes = input.get(..read?).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        // Replies to pipelined commands leave together (RFC 2920).
        while !bytes.is_empty() {
            let (taken, next) = match &mut reading {
                Reading::Lines => match lines.feed(bytes) {
                    (taken, Some(line)) => (taken, session.line(line, &mut out).await),
                    (taken, None) => (taken, Next::Line),
                },
                Reading::Message(dot) => match dot.feed(bytes) {
                    (taken, Some(body)) => (taken, session.message(body, &mut out).await),
                    (taken, None) => {
                        bytes = bytes.get(taken..).unwrap_or_default();
                        continue;
                    }
                },
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            reading = match next {
                Next::Line => Reading::Lines,
                Next::Message => Reading::Message(DotReader::new(session::MAX_MESSAGE)),
                Next::Quit => return send(&mut socket, &mut out).await,
                Next::Drop => return Ok(()),
            };
        }
    }
}

async fn send(socket: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        tokio::time::timeout(WRITE_TIMEOUT, socket.write_all(out)).await??;
        out.clear();
    }
    Ok(())
}

async fn say_and_close(socket: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    let mut out = Vec::new();
    reply.write(&mut out);
    send(socket, &mut out).await
}

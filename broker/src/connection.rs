//! One client's socket: bytes to operations on the way in, queued frames to bytes on the way out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::protocol::{ClientError, ClientOp, ParseLimits, parse};
use crate::router::{Client, Wakes};
use crate::session::Session;

/// An idle connection should cost little; a busy one reads this much at once.
const READ_MIN: usize = 2 * 1024;
const READ_MAX: usize = 128 * 1024;
/// One writev takes as many slices as it likes up to IOV_MAX; past this the gain is gone.
const SLICES_MAX: usize = 64;
/// How long a publisher waits for a receiver that does not keep up before it goes on and lets it be cut off.
const CONGESTION_PAUSE: Duration = Duration::from_millis(10);
/// What a closing connection still has queued is written if the peer takes it within this time.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that has not ended by itself this long after a shutdown is dropped, in the middle of a handshake say.
pub const END_PATIENCE: Duration = Duration::from_secs(3);
/// After a fatal error unread input would turn our close into a reset that destroys the error text on its way.
const LINGER: Duration = Duration::from_millis(100);

/// Serves one client until it leaves, errs or `shutdown` is called; why it ended. `greeted`: it has had its INFO.
pub async fn serve<R, W>(
    (input, output): (R, W),
    client: Arc<Client>,
    session: Session,
    greeted: bool,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) -> ClientError
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let write_ended = CancellationToken::new();
    let mut writer = tokio::spawn({
        let (client, ended) = (Arc::clone(&client), write_ended.clone().drop_guard());
        let deadline = limits.write_deadline;
        async move {
            let _ended = ended;
            write_loop(output, &client, deadline).await
        }
    });
    let mut reader = Reader {
        input,
        client: Arc::clone(&client),
        session,
        limits,
        read_size: READ_MIN,
    };
    let reason = tokio::select! {
        reason = reader.run(greeted) => reason,
        () = write_ended.cancelled() => ClientError::SlowConsumer,
        () = shutdown.cancelled() => ClientError::ServerShutdown,
    };
    reader.session.leave(reason);
    client.outbox.close(reason);
    let flushed = timeout(FLUSH_PATIENCE, &mut writer).await;
    writer.abort();
    let closed_for = flushed.ok().and_then(Result::ok).flatten().unwrap_or(reason);
    if closed_for.wire_text().is_some() {
        reader.linger().await;
    }
    tracing::debug!(cid = client.id.0, reason = %closed_for, "client connection closed");
    closed_for
}

struct Reader<R> {
    input: R,
    client: Arc<Client>,
    session: Session,
    limits: Arc<Limits>,
    read_size: usize,
}

impl<R: AsyncRead + Send + Unpin> Reader<R> {
    /// Reads and applies operations; ends with the reason to close.
    async fn run(&mut self, greeted: bool) -> ClientError {
        let mut buffer = BytesMut::new();
        let mut wakes = Wakes::default();
        if !greeted {
            self.session.greet(&mut wakes);
            wakes.flush();
        }
        loop {
            let wake_at = self.session.wake_at();
            let outcome = tokio::select! {
                read = fill(&mut self.input, &mut self.read_size, &mut buffer) => match read {
                    Ok(0) | Err(_) => return ClientError::ClientClosed,
                    Ok(_) => {
                        self.client.activity.note();
                        self.apply_all(&mut buffer, &mut wakes).await
                    }
                },
                () = sleep_until(wake_at) => self.session.on_timer(Instant::now(), &mut wakes),
                () = self.client.recheck.notified() => self.session.recheck(&mut wakes).await,
            };
            if let Err(error) = outcome {
                self.session.tell_error(error, &mut wakes);
                return error;
            }
            wakes.flush();
            self.pause_for_slow_receivers(&mut wakes).await;
        }
    }

    /// Applies every whole operation; what is left of the last one stays in `buffer`.
    async fn apply_all(&mut self, buffer: &mut BytesMut, wakes: &mut Wakes) -> Result<(), ClientError> {
        if self.parse(buffer)?.is_none() {
            return Ok(());
        }
        // Frozen only when it holds a whole operation, so a large payload is never copied piece by piece.
        let chunk = buffer.split().freeze();
        let mut at = 0;
        while let Some((op, len)) = self.parse(&chunk[at..])? {
            match op {
                ClientOp::Connect(json) => self.connect(json, wakes).await?,
                op => self.session.apply(&op, &chunk, wakes)?,
            }
            at += len;
        }
        buffer.extend_from_slice(&chunk[at..]);
        Ok(())
    }

    /// Who takes long to be checked, because it guesses, still has no more time than others.
    async fn connect(&mut self, json: &[u8], wakes: &mut Wakes) -> Result<(), ClientError> {
        wakes.flush();
        if self.session.is_authenticated() {
            return self.session.connect(json, wakes).await;
        }
        let checked = timeout(self.limits.auth_timeout, self.session.connect(json, wakes)).await;
        checked.unwrap_or(Err(ClientError::AuthTimeout))
    }

    /// A peer without credentials gets no payload buffered: its limit is 0, and any breach is an auth violation.
    fn parse<'a>(&self, input: &'a [u8]) -> Result<Option<(ClientOp<'a>, usize)>, ClientError> {
        let is_known = self.session.is_authenticated();
        let limits = ParseLimits {
            max_control_line: self.limits.max_control_line,
            max_payload: if is_known { self.limits.max_payload } else { 0 },
        };
        parse(input, limits).map_err(|error| match error {
            ClientError::MaxPayload if !is_known => ClientError::Authorization,
            other => other,
        })
    }

    /// Back-pressure on a publisher: a stream's queue is waited for, a slow subscriber only for a moment.
    async fn pause_for_slow_receivers(&mut self, wakes: &mut Wakes) {
        if let Some(stream) = self.session.take_congested_stream() {
            stream.wait_for_room().await;
        }
        if let Some(slow) = wakes.take_congested()
            && slow.id != self.client.id
        {
            // A time-out is no error: the receiver is then cut off when it passes its limit.
            let _ = timeout(CONGESTION_PAUSE, slow.outbox.drained()).await;
        }
    }

    async fn linger(&mut self) {
        let mut scratch = vec![0; READ_MIN];
        let drain = async { while let Ok(1..) = self.input.read(&mut scratch).await {} };
        // Both ends are fine: the peer has closed, or it has had its time to read the error.
        let _ = timeout(LINGER, drain).await;
    }
}

async fn fill(
    input: &mut (impl AsyncRead + Unpin),
    read_size: &mut usize,
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    buffer.reserve(*read_size);
    let count = input.read_buf(buffer).await?;
    if count >= *read_size {
        *read_size = (*read_size * 2).min(READ_MAX);
    } else if count < *read_size / 4 {
        *read_size = (*read_size / 2).max(READ_MIN);
    }
    Ok(count)
}

/// Writes what is queued until the outbox closes; the reason it was closed for.
async fn write_loop(
    mut output: impl AsyncWrite + Send + Unpin,
    client: &Client,
    deadline: Duration,
) -> Option<ClientError> {
    loop {
        let batch = client.outbox.next_batch().await;
        let written = tokio::select! {
            written = write_all(&mut output, batch.chunks.into(), deadline) => written,
            () = client.outbox.overflowed() => {
                tracing::info!(cid = client.id.0, "slow consumer detected: pending bytes over the limit");
                return Some(ClientError::SlowConsumer);
            }
        };
        match written {
            Ok(()) => {
                client.activity.note();
                client.outbox.written(batch.bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::info!(
                    cid = client.id.0,
                    "slow consumer detected: write deadline exceeded"
                );
                return Some(ClientError::WriteDeadline);
            }
            Err(_) => return None,
        }
        if let Some(reason) = batch.closing {
            // The peer may be gone already; there is nobody left to tell.
            let _ = output.shutdown().await;
            return Some(reason);
        }
    }
}

/// Each single write may take as long as `deadline`.
async fn write_all(
    output: &mut (impl AsyncWrite + Unpin),
    mut chunks: VecDeque<Bytes>,
    deadline: Duration,
) -> io::Result<()> {
    while !chunks.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let mut written = timeout(deadline, output.write_vectored(&slices[..count])).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = chunks.front_mut() {
            if written < front.len() {
                front.advance(written);
                break;
            }
            written -= front.len();
            chunks.pop_front();
        }
    }
    // Nothing to do for a plain socket; TLS and WebSocket hold back what fits no frame yet.
    timeout(deadline, output.flush()).await?
}

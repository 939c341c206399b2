//! The broker, through the NATS wire protocol. Only this file and its folder name the client crate.

#[cfg(feature = "testing")]
mod bystander;
mod error;
mod facts;
mod inbox;
mod producer;
mod pull;
mod receipt;
mod stored;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

pub use error::BusError;
pub(crate) use facts::ConsumerFacts;
pub(crate) use pull::Pull;
pub(crate) use receipt::Receipt;
pub(crate) use stored::Stored;

use crate::explain::with_causes;
use crate::headers::{self, Headers};
use crate::key::Key;
use crate::store::outbox::OutboxRow;
use crate::store::redacted;
use crate::streams::StreamSpec;

/// A connection to the broker: postroom's own or a nats-server, one or a cluster of them.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    jetstream: Context,
}

/// A broker that takes longer to answer is as good as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A confirmation that takes longer is lost; the ledger makes the redelivery harmless.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages in back-off count as unacknowledged; a thousand failing ones must not stop the others.
const MAX_ACK_PENDING: i64 = 20_000;
/// The broker's window for dropping a second copy of an outbox row. Later copies the ledger suppresses.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// One message as delivered.
#[derive(Debug)]
pub struct Incoming {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its bytes.
    pub payload: Bytes,
    /// The stream it is kept in.
    pub stream: String,
    /// Its sequence there.
    pub stream_seq: i64,
    /// When the stream took it, in nanoseconds since 1970. A stream that was made anew counts from 1 again; time goes on.
    pub stored_at: i128,
    /// How often it was delivered, this time included.
    pub delivered: i64,
    pub(crate) receipt: Receipt,
}

impl Bus {
    /// Connects to the first broker of `url` that answers, and from then on reconnects by itself.
    ///
    /// # Errors
    /// When the URL is none, nobody answers, or the login is refused.
    pub async fn connect(url: &str, name: &str) -> Result<Self, BusError> {
        let client = ConnectOptions::new()
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .event_callback(async |event| tell(&event))
            .connect(url.split(',').map(str::trim).collect::<Vec<_>>())
            .await
            .map_err(|error| connect_error(url, &error))?;
        let jetstream = async_nats::jetstream::new(client.clone());
        Ok(Self { client, jetstream })
    }

    /// Asks whether the broker keeps streams.
    ///
    /// # Errors
    /// When it does not, and how to change that.
    pub async fn check_jetstream(&self) -> Result<(), BusError> {
        let asked = self.jetstream.query_account().await;
        asked.map(drop).map_err(|error| BusError::NoJetStream {
            reason: with_causes(&error),
        })
    }

    /// Makes the stream if it is missing. One that exists is left as its operator configured it.
    pub(crate) async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), BusError> {
        let config = stream::Config {
            name: spec.name.clone(),
            subjects: spec.subjects.clone(),
            max_age: spec.max_age,
            duplicate_window: DUPLICATE_WINDOW,
            ..Default::default()
        };
        self.jetstream
            .get_or_create_stream(config)
            .await
            .map(|_| ())
            .map_err(|error| BusError::Stream {
                stream: spec.name.clone(),
                reason: with_causes(&error),
            })
    }

    /// The durable pull consumer of a handler, made or brought up to date.
    pub(crate) async fn consumer(
        &self,
        stream: &str,
        durable: &str,
        subject: &str,
        ack_wait: Duration,
    ) -> Result<Pull, BusError> {
        let config = PullConfig {
            durable_name: Some(durable.to_owned()),
            filter_subject: subject.to_owned(),
            ack_policy: AckPolicy::Explicit,
            deliver_policy: DeliverPolicy::All,
            ack_wait,
            // Attempts are counted in the ledger; the broker never gives up on a message.
            max_deliver: -1,
            max_ack_pending: MAX_ACK_PENDING,
            ..Default::default()
        };
        let consumer = self
            .jetstream
            .create_consumer_on_stream(config, stream)
            .await
            .map_err(|error| BusError::Consumer {
                consumer: durable.to_owned(),
                reason: with_causes(&error),
            })?;
        let (client, jetstream) = (self.client.clone(), self.jetstream.clone());
        Ok(Pull::new(consumer, client, jetstream, durable))
    }

    /// Publishes all rows at once, then waits for each to be confirmed as stored.
    pub(crate) async fn publish_all(&self, rows: &[impl Borrow<OutboxRow>]) -> Vec<Result<(), BusError>> {
        let mut sent = Vec::with_capacity(rows.len());
        for row in rows {
            let row = row.borrow();
            sent.push(
                self.jetstream
                    .send_publish(row.subject.clone(), outbound(row))
                    .await,
            );
        }
        // Side by side, so that of a batch whose confirmations were lost, all are given up within one timeout.
        let confirmed = rows.iter().zip(sent).map(async |(row, sent)| {
            let outcome = match sent {
                Ok(ack) => ack.await.map(drop),
                Err(error) => Err(error),
            };
            outcome.map_err(|error| publish_error(row.borrow(), &error))
        });
        futures_util::future::join_all(confirmed).await
    }

    /// Whether the connection stands at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is buffered. With the broker away it would wait for its return.
    pub(crate) async fn flush(&self) {
        let flushed = tokio::time::timeout(CONFIRM_TIMEOUT, self.client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::debug!("the last bytes to the broker may be lost; redelivery covers it");
        }
    }
}

impl Incoming {
    /// What tells this message from every other one that is or was in its stream.
    pub(crate) fn place(&self) -> Key {
        Key::of(&[&self.stream.as_str(), &self.stream_seq, &self.stored_at])
    }

    /// How long its stream has had it.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        age(self.stored_at, now)
    }
}

/// How long ago it was, `stored_at` nanoseconds after 1970; nothing when it is yet to come.
fn age(stored_at: i128, now: SystemTime) -> Duration {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanos = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX) - stored_at;
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

fn outbound(row: &OutboxRow) -> PublishMessage {
    let mut map = written(&row.headers);
    map.insert(headers::MSG_ID, row.id.as_str());
    PublishMessage::build().payload(row.payload.clone()).headers(map)
}

fn written(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        // A dead letter carries names that its sender chose; what the protocol can't carry stays in the table.
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            map.append(name, value);
        }
    }
    map
}

/// A person wonders why nothing moves.
fn tell(event: &Event) {
    match event {
        Event::Disconnected => {
            tracing::warn!("the broker is away; what is to be published waits in the outbox");
        }
        Event::Connected => tracing::info!("the broker is there"),
        other => tracing::debug!(event = %other, "the connection to the broker"),
    }
}

fn publish_error(row: &OutboxRow, error: &PublishError) -> BusError {
    let subject = row.subject.clone();
    match error.kind() {
        PublishErrorKind::StreamNotFound => BusError::NoStream { subject },
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
            BusError::NotConfirmed {
                subject,
                reason: with_causes(error),
            }
        }
        _ => BusError::NotTaken {
            subject,
            reason: with_causes(error),
        },
    }
}

fn received(map: Option<&HeaderMap>) -> Headers {
    let mut headers = Headers::default();
    for (name, values) in map.into_iter().flat_map(HeaderMap::iter) {
        for value in values {
            headers.add(name.as_ref(), value.as_str().to_owned());
        }
    }
    headers
}

fn connect_error(url: &str, error: &async_nats::ConnectError) -> BusError {
    let (url, reason) = (redacted(url), with_causes(error));
    match error.kind() {
        ConnectErrorKind::ServerParse => BusError::Url { url, reason },
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            BusError::Refused { url, reason }
        }
        _ => BusError::Unreachable { url, reason },
    }
}

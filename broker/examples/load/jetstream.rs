//! With JetStream: publishing with a window of acknowledgements, pulling and acknowledging, getting.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::wire::Connection;
use super::{Figures, Settings, on_threads};

/// Messages that one pull asks for.
const BATCH: u64 = 500;

fn create(connection: &mut Connection, settings: &Settings) -> io::Result<()> {
    let retention = ["limits", "workqueue"][usize::from(settings.get("queue", 0) == 1)];
    let per_subject = if settings.get("kv", 0) == 1 { "1" } else { "-1" };
    let config = format!(
        r#"{{"name":"BENCH","subjects":["bench.js.>"],"retention":"{retention}","storage":"file","allow_direct":true,"max_msgs_per_subject":{per_subject}}}"#
    );
    let answer = connection.request("$JS.API.STREAM.CREATE.BENCH", config.as_bytes())?;
    refuse_error(&answer)
}

fn refuse_error(answer: &[u8]) -> io::Result<()> {
    let text = String::from_utf8_lossy(answer);
    if text.contains("\"error\"") {
        return Err(io::Error::other(text.into_owned()));
    }
    Ok(())
}

/// `clients` publish, each with `window` acknowledgements outstanding; `dedupe=1` gives each message an id, `kv=1` goes
/// over 1,000 keys.
pub(crate) fn publish(settings: &Settings) -> io::Result<Figures> {
    create(&mut Connection::open(&settings.address)?, settings)?;
    let clients = settings.get("clients", 1);
    let (share, window) = (settings.share(clients), settings.get("window", 1000));
    let (has_id, is_kv) = (settings.get("dedupe", 0) == 1, settings.get("kv", 0) == 1);
    let payload = settings.payload();
    let (elapsed, latencies) = on_threads(clients, |client| {
        let mut connection = Connection::open(&settings.address)?;
        let inbox = format!("_INBOX.{client}");
        connection.subscribe(&inbox, "")?;
        let (mut sent, mut acked) = (0, 0);
        let mut latencies = Vec::new();
        while acked < share {
            let asked = Instant::now();
            while sent < share && sent - acked < window {
                let subject = format!("bench.js.{}", if is_kv { sent % 1000 } else { client });
                if has_id {
                    let id = client << 40 | sent;
                    connection.publish_with_id(subject.as_bytes(), inbox.as_bytes(), id, &payload)?;
                } else {
                    connection.publish(subject.as_bytes(), inbox.as_bytes(), &payload)?;
                }
                sent += 1;
            }
            connection.flush()?;
            let mut frame = Some(connection.next()?);
            while let Some(answer) = frame {
                refuse_error(connection.body(&answer))?;
                acked += 1;
                frame = connection.buffered()?;
            }
            if window == 1 {
                latencies.push(asked.elapsed());
            }
        }
        Ok(latencies)
    })?;
    Ok(Figures {
        messages: share * clients,
        elapsed,
        latencies,
    })
}

/// `clients` share one durable consumer until it has given out `messages`, and acknowledge each; the last ack of each
/// client is confirmed.
pub(crate) fn consume(settings: &Settings) -> io::Result<Figures> {
    let (clients, total) = (settings.get("clients", 1), settings.get("messages", 100_000));
    let batch = (total / clients / 4).clamp(1, BATCH);
    let mut connection = Connection::open(&settings.address)?;
    let config = br#"{"stream_name":"BENCH","config":{"durable_name":"C","ack_policy":"explicit","ack_wait":60000000000,"max_ack_pending":100000,"max_waiting":1000}}"#;
    let answer = connection.request("$JS.API.CONSUMER.DURABLE.CREATE.BENCH.C", config)?;
    refuse_error(&answer)?;
    let taken = AtomicU64::new(0);
    let (elapsed, _) = on_threads(clients, |client| {
        let mut connection = Connection::open(&settings.address)?;
        let inbox = format!("_INBOX.{client}");
        connection.subscribe(&inbox, "")?;
        let pull = format!("{{\"batch\":{batch},\"expires\":1000000000}}");
        let next = b"$JS.API.CONSUMER.MSG.NEXT.BENCH.C";
        let mut last = None;
        let mut wanted = 0;
        while taken.load(Ordering::Relaxed) < total {
            // The next request is there before the last one is used up.
            while wanted <= batch {
                connection.publish(next, inbox.as_bytes(), pull.as_bytes())?;
                wanted += batch;
            }
            connection.flush()?;
            let mut frame = Some(connection.next()?);
            while let Some(message) = frame {
                let reply = connection.reply(&message);
                if reply.is_empty() {
                    // A status: the request is over.
                    wanted = wanted.saturating_sub(batch);
                } else {
                    connection.answer(&message, b"+ACK")?;
                    last = Some(reply);
                    taken.fetch_add(1, Ordering::Relaxed);
                    wanted -= 1;
                }
                frame = connection.buffered()?;
            }
            connection.flush()?;
        }
        if let Some(last) = last {
            let mut confirming = Connection::open(&settings.address)?;
            connection.flush()?;
            connection.round_trip()?;
            confirming.request(&String::from_utf8_lossy(&last), b"+ACK")?;
        }
        Ok(Vec::new())
    })?;
    Ok(Figures {
        messages: total,
        elapsed,
        ..Figures::default()
    })
}

/// Direct gets of the newest message of one key after another.
pub(crate) fn get(settings: &Settings) -> io::Result<Figures> {
    let clients = settings.get("clients", 1);
    let (share, window) = (settings.share(clients), settings.get("window", 100));
    let (elapsed, _) = on_threads(clients, |client| {
        let mut connection = Connection::open(&settings.address)?;
        let inbox = format!("_INBOX.{client}");
        connection.subscribe(&inbox, "")?;
        let (mut sent, mut got) = (0, 0);
        while got < share {
            while sent < share && sent - got < window {
                let subject = format!("$JS.API.DIRECT.GET.BENCH.bench.js.{}", sent % 1000);
                connection.publish(subject.as_bytes(), inbox.as_bytes(), b"")?;
                sent += 1;
            }
            connection.flush()?;
            let mut frame = Some(connection.next()?);
            while frame.is_some() {
                got += 1;
                frame = connection.buffered()?;
            }
        }
        Ok(Vec::new())
    })?;
    Ok(Figures {
        messages: share * clients,
        elapsed,
        ..Figures::default()
    })
}

/// How many messages the stream has; fails while it does not answer.
pub(crate) fn count(settings: &Settings) -> io::Result<Figures> {
    let answer = Connection::open(&settings.address)?.request("$JS.API.STREAM.INFO.BENCH", b"")?;
    refuse_error(&answer)?;
    let info: serde_json::Value = serde_json::from_slice(&answer)?;
    Ok(Figures {
        messages: info["state"]["messages"].as_u64().unwrap_or(0),
        ..Figures::default()
    })
}

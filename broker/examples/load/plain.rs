//! Without JetStream: publishing, fanning out, asking, sitting there.

use std::io::{self, Read};
use std::sync::Barrier;
use std::time::Instant;

use super::wire::Connection;
use super::{Figures, Settings, on_threads};

/// Nobody listens: what a server can read.
pub(crate) fn publish(settings: &Settings) -> io::Result<Figures> {
    let clients = settings.get("clients", 1);
    let (share, payload) = (settings.share(clients), settings.payload());
    let (elapsed, _) = on_threads(clients, |_| {
        let mut connection = Connection::open(&settings.address)?;
        for _ in 0..share {
            connection.publish(b"bench.nobody", b"", &payload)?;
        }
        connection.round_trip()?;
        Ok(Vec::new())
    })?;
    Ok(Figures {
        messages: share * clients,
        elapsed,
        ..Figures::default()
    })
}

/// From `publishers` to `subscribers`, who are one queue group if `queue` is 1. Counts what arrives.
pub(crate) fn fan(settings: &Settings) -> io::Result<Figures> {
    let (publishers, subscribers) = (settings.get("publishers", 1), settings.get("subscribers", 1));
    let (share, payload) = (settings.share(publishers), settings.payload());
    let is_queue = settings.get("queue", 0) == 1;
    let sent = share * publishers;
    let ready = Barrier::new(usize::try_from(publishers + subscribers).unwrap_or(1));
    // The last message of each publisher goes to everybody, and says that all before has been delivered.
    let began = std::sync::OnceLock::new();
    let (_, _) = on_threads(publishers + subscribers, |n| {
        let mut connection = Connection::open(&settings.address)?;
        if n < publishers {
            ready.wait();
            began.get_or_init(Instant::now);
            for _ in 0..share {
                connection.publish(b"bench.fan", b"", &payload)?;
            }
            connection.publish(b"bench.end", b"", b"")?;
            connection.round_trip()?;
            return Ok(Vec::new());
        }
        connection.out.extend_from_slice(b"SUB bench.end 2\r\n");
        connection.subscribe("bench.fan", if is_queue { "group" } else { "" })?;
        ready.wait();
        let mut ended = 0;
        while ended < publishers {
            let frame = connection.next()?;
            ended += u64::from(connection.body(&frame).is_empty());
        }
        Ok(Vec::new())
    })?;
    Ok(Figures {
        messages: if is_queue { sent } else { sent * subscribers },
        elapsed: began.get().map(Instant::elapsed).unwrap_or_default(),
        ..Figures::default()
    })
}

/// `clients` ask one service, each one question at a time.
pub(crate) fn request(settings: &Settings) -> io::Result<Figures> {
    let clients = settings.get("clients", 1);
    let (share, payload) = (settings.share(clients), settings.payload());
    let mut service = Connection::open(&settings.address)?;
    service.subscribe("bench.service", "")?;
    let total = share * clients;
    let service = std::thread::spawn(move || -> io::Result<()> {
        let mut answered = 0;
        while answered < total {
            let mut frame = Some(service.next()?);
            while let Some(asked) = frame {
                service.answer(&asked, b"done")?;
                answered += 1;
                frame = service.buffered()?;
            }
            service.flush()?;
        }
        Ok(())
    });
    let (elapsed, latencies) = on_threads(clients, |n| {
        let mut connection = Connection::open(&settings.address)?;
        let inbox = format!("_INBOX.{n}");
        connection.subscribe(&inbox, "")?;
        let mut latencies = Vec::new();
        for _ in 0..share {
            let asked = Instant::now();
            connection.publish(b"bench.service", inbox.as_bytes(), &payload)?;
            connection.flush()?;
            connection.next()?;
            latencies.push(asked.elapsed());
        }
        Ok(latencies)
    })?;
    service
        .join()
        .map_err(|_| io::Error::other("the service panicked"))??;
    Ok(Figures {
        messages: total,
        elapsed,
        latencies,
    })
}

/// Holds `clients` connections until stdin ends; says when all are there.
pub(crate) fn idle(settings: &Settings) -> io::Result<Figures> {
    let count = settings.get("clients", 1000);
    let mut connections = Vec::new();
    for n in 0..count {
        let mut connection = Connection::open(&settings.address)?;
        connection.subscribe(&format!("idle.{n}"), "")?;
        connections.push(connection);
    }
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(Figures {
        messages: connections.len() as u64,
        ..Figures::default()
    })
}

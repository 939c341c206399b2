//! A whole stream on a simulated disk, driven at random through power losses, kills, full and failing disks, against a
//! model of what its clients were told. One seed is one life; it runs the same each time.

mod model;
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Command, Stream, StreamMeta, StreamRequest, Surroundings};
use crate::config::SyncPolicy;
use crate::jetstream::clock::{Clock, Now};
use crate::jetstream::config::{PersistMode, Retention, StreamConfig};
use crate::jetstream::inbox::Inbox;
use crate::router::{Client, ClientId, Router, Subscription};
use crate::store::Seq;
use crate::store::folder::simulated::{DiskBug, Health, SimulatedFolder};
use crate::subject::Filter;
use model::{Model, Promises, Publish, Violation};

const TURNS_PER_LIFE: usize = 40;
const SUBJECTS: u32 = 4;
/// Messages of one batch.
const BATCH_MAX: usize = 5;
/// More than a turn has.
const TURN_MESSAGES_MAX: u64 = 50;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
/// Of the lives that are synced by the clock: some turns, so that there is something to lose.
const SYNC_INTERVAL: Duration = Duration::from_millis(300);

/// A mistake made on purpose: a harness that does not notice it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    None,
    /// Publishes are acknowledged when written, as under `sync: os`.
    AckBeforeSync,
    NoDirectorySync,
    NoFileSync,
    /// Acks are confirmed before they are durable.
    LateAckState,
    /// The messages of a batch are stored like any others.
    BatchInParts,
}

/// What kind of life it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) bug: Bug,
    pub(super) sync: SyncPolicy,
    /// The stream asks for it, on a server that syncs at once.
    pub(super) asks: bool,
    pub(super) retention: Retention,
    pub(super) has_batches: bool,
}

/// What one life added up to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) acknowledged: u64,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) power_losses: u64,
    pub(super) kills: u64,
    pub(super) bad_spells: u64,
    /// Acknowledged and gone after a power loss, where the policy allows that.
    pub(super) lost: u64,
}

struct Lab {
    rng: StdRng,
    disk: SimulatedFolder,
    around: Surroundings,
    client: Arc<Client>,
    stream: Option<Stream>,
    now: Now,
    model: Model,
    outstanding: Vec<Seq>,
    kind: Kind,
    /// What had been promised by when, as far back as a power loss may reach.
    history: Vec<(u64, Promises)>,
    totals: Totals,
    is_well: bool,
}

/// A message as the client got it.
struct Received {
    subject: String,
    reply: Option<String>,
    payload: Vec<u8>,
}

/// Lives one life.
pub(super) fn live(seed: u64, kind: Kind) -> Result<Totals, Violation> {
    let mut lab = Lab::new(seed, kind)?;
    for _ in 0..TURNS_PER_LIFE {
        lab.step()?;
        lab.history.push((lab.now.steady, lab.model.promises.clone()));
    }
    lab.end()?;
    lab.totals.acknowledged = lab.model.promises.stored.len() as u64;
    lab.totals.confirmed = lab.model.promises.confirmed.len() as u64;
    lab.totals.refused = lab.model.refused;
    Ok(lab.totals)
}

impl Default for Kind {
    fn default() -> Kind {
        Kind {
            bug: Bug::None,
            sync: SyncPolicy::Always,
            asks: false,
            retention: Retention::Limits,
            has_batches: true,
        }
    }
}

impl Lab {
    fn new(seed: u64, kind: Kind) -> Result<Lab, Violation> {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk_bug = match kind.bug {
            Bug::NoDirectorySync => DiskBug::NoDirectorySync,
            Bug::NoFileSync => DiskBug::NoFileSync,
            _ => DiskBug::None,
        };
        let sync = match kind.bug {
            Bug::AckBeforeSync => SyncPolicy::Os,
            _ if kind.asks => SyncPolicy::Always,
            _ => kind.sync,
        };
        let router = Router::default();
        let client = Arc::new(Client::new(
            ClientId(1),
            ([127, 0, 0, 1], 1).into(),
            usize::MAX / 2,
            Arc::new(crate::router::Pending::new(usize::MAX)),
        ));
        let answers = Filter::parse(b"r.>").ok_or("filter")?;
        router.subscribe(Subscription::new(Arc::clone(&client), "1".into(), answers, None));
        let keeps_last_only = rng.random_bool(0.3);
        let mut lab = Lab {
            disk: SimulatedFolder::new(rng.random(), disk_bug),
            around: surroundings(router, sync),
            client,
            stream: None,
            now: Now {
                wall: 1_700_000_000_000_000_000,
                steady: SECOND,
            },
            model: Model {
                keeps_last_only,
                keeps_settled: kind.retention == Retention::Limits,
                ..Model::default()
            },
            outstanding: Vec::new(),
            kind,
            history: Vec::new(),
            totals: Totals::default(),
            is_well: true,
            rng,
        };
        let mut config = StreamConfig::default();
        config.name = "S".into();
        config.subjects = vec!["s.>".into()];
        config.duplicate_window = i64::MAX;
        config.retention = kind.retention;
        if kind.asks {
            config.persist_mode = PersistMode::Async;
        }
        // The two exclude each other.
        config.allow_atomic = !kind.asks;
        config.max_msgs_per_subject = if keeps_last_only { 1 } else { -1 };
        let config = config.complete().map_err(|error| format!("{error:?}"))?;
        let meta = StreamMeta::new(&config, lab.now.wall);
        meta.write(&lab.disk).map_err(|error| error.to_string())?;
        lab.open()?;
        lab.create_consumer()?;
        if let Some(stream) = &mut lab.stream {
            // Whatever the policy, so that there is a consumer to ask about.
            stream.store.sync().map_err(|error| error.to_string())?;
        }
        Ok(lab)
    }

    fn open(&mut self) -> Result<(), Violation> {
        let opened = super::open(Arc::new(self.disk.clone()), self.around.clone());
        let (mut stream, _) = opened.map_err(|error| format!("does not open: {error}"))?;
        stream.acks_are_late = self.kind.bug == Bug::LateAckState;
        stream.parts_count_alone = self.kind.bug == Bug::BatchInParts;
        self.outstanding.clear();
        self.stream = Some(stream);
        Ok(())
    }

    fn create_consumer(&mut self) -> Result<(), Violation> {
        let body = br#"{"stream_name":"S","config":{"durable_name":"w","name":"w","ack_policy":"explicit","ack_wait":1000000000,"max_ack_pending":-1}}"#;
        let request = StreamRequest::ConsumerCreate {
            name: Some("w".into()),
            filter: None,
            is_durable_form: false,
        };
        let command = self.request(request, "r.c", body);
        let received = self.turn(vec![command]);
        let created = received
            .first()
            .is_some_and(|answer| !contains(&answer.payload, b"\"error\""));
        if created {
            Ok(())
        } else {
            Err("the consumer was not created".into())
        }
    }

    fn request(&self, request: StreamRequest, reply: &str, body: &[u8]) -> Command {
        Command::Request {
            request,
            reply: Bytes::copy_from_slice(reply.as_bytes()),
            body: Bytes::copy_from_slice(body),
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.pass(120 * MILLISECOND);
        match self.rng.random_range(0..100) {
            0..5 => self.lose_power()?,
            5..8 => self.kill()?,
            8..11 => self.change_health(),
            11..13 => self.pass(3601 * SECOND),
            _ => {
                let count = self.rng.random_range(1..8);
                let commands = (0..count).flat_map(|_| self.commands()).collect();
                self.exchange(commands)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, nanos: u64) {
        self.now.steady += nanos;
        self.now.wall = self.now.wall.saturating_add_unsigned(nanos);
    }

    fn commands(&mut self) -> Vec<Command> {
        if self.kind.has_batches && !self.kind.asks && self.rng.random_bool(0.1) {
            return self.publish_batch();
        }
        vec![self.command()]
    }

    fn command(&mut self) -> Command {
        match self.rng.random_range(0..20) {
            0..9 => self.publish(),
            9..12 => Command::Pull {
                consumer: "w".into(),
                reply: "r.d".into(),
                body: r#"{"batch":5,"no_wait":true}"#.into(),
            },
            12..17 => self.ack(),
            17 => self.purge(),
            _ => self.delete(),
        }
    }

    fn publish(&mut self) -> Command {
        let n = self.model.publishes.len();
        let subject = format!("s.{}", self.rng.random_range(0..SUBJECTS));
        let mut payload = format!("{n}:").into_bytes();
        let filler = self.rng.random_range(0..400);
        payload.extend((0..filler).map(|_| self.rng.random::<u8>()));
        let id = self
            .rng
            .random_bool(0.3)
            .then(|| format!("id-{}", self.rng.random_range(0..40)));
        let headers = id.as_ref().map_or(String::new(), |id| {
            format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n")
        });
        let body = Bytes::from([headers.as_bytes(), &payload].concat());
        let command = Command::Publish {
            subject: subject.clone().into(),
            reply: format!("r.p.{n}").into(),
            header_len: headers.len(),
            body,
        };
        self.model.publishes.push(Publish { subject, payload, id });
        command
    }

    /// All are stored or none, whatever happens.
    fn publish_batch(&mut self) -> Vec<Command> {
        let first = self.model.publishes.len();
        let count = self.rng.random_range(2..=BATCH_MAX);
        self.model.batches.push(first..first + count);
        let part = |lab: &mut Lab, at: usize| {
            let n = first + at;
            let subject = format!("s.{}", lab.rng.random_range(0..SUBJECTS));
            let filler = lab.rng.random_range(0..400);
            let mut payload = format!("{n}:").into_bytes();
            payload.extend((0..filler).map(|_| lab.rng.random::<u8>()));
            let is_last = at + 1 == count;
            let commit = if is_last { "Nats-Batch-Commit: 1\r\n" } else { "" };
            let seq = at + 1;
            let headers =
                format!("NATS/1.0\r\nNats-Batch-Id: {first}\r\nNats-Batch-Sequence: {seq}\r\n{commit}\r\n");
            let body = Bytes::from([headers.as_bytes(), &payload].concat());
            let reply = if is_last {
                format!("r.b.{first}")
            } else {
                String::new()
            };
            let command = Command::Publish {
                subject: subject.clone().into(),
                reply: reply.into(),
                header_len: headers.len(),
                body,
            };
            lab.model.publishes.push(Publish {
                subject,
                payload,
                id: None,
            });
            command
        };
        (0..count).map(|at| part(self, at)).collect()
    }

    fn ack(&mut self) -> Command {
        let seq = match self.outstanding.len() {
            0 => 1,
            len => self.outstanding.swap_remove(self.rng.random_range(0..len)),
        };
        let is_delivered = self.model.delivered.contains(&seq);
        if is_delivered {
            self.model.on_ack(seq);
        }
        let wants_answer = is_delivered && self.rng.random_bool(0.7);
        let reply = if wants_answer {
            format!("r.a.{seq}")
        } else {
            String::new()
        };
        Command::Ack {
            consumer: "w".into(),
            stream_seq: seq,
            reply: reply.into(),
            payload: "+ACK".into(),
        }
    }

    fn delete(&mut self) -> Command {
        let last = self
            .stream
            .as_ref()
            .map_or(1, |stream| stream.store.index().last_seq().max(1));
        let seq = self.rng.random_range(1..=last);
        self.model.removing.insert(seq);
        let body = format!(r#"{{"seq":{seq}}}"#);
        self.request(
            StreamRequest::MessageDelete,
            &format!("r.x.{seq}"),
            body.as_bytes(),
        )
    }

    /// Everything below a sequence, or all but the newest of one subject.
    fn purge(&mut self) -> Command {
        let Some(stream) = &self.stream else {
            unreachable!("opened at once");
        };
        let index = stream.store.index();
        let last = index.last_seq().max(1);
        if self.rng.random_bool(0.5) {
            // 0 would be a purge of everything.
            let below = self.rng.random_range(last / 2..=last).max(1);
            self.model.removing.extend(1..below);
            let body = format!(r#"{{"seq":{below}}}"#);
            return self.request(StreamRequest::Purge, &format!("r.g.{below}"), body.as_bytes());
        }
        let subject = format!("s.{}", self.rng.random_range(0..SUBJECTS));
        // Some of them may be stored only in the very turn of the purge.
        let all = self
            .model
            .seen
            .iter()
            .filter(|(_, n)| self.model.publishes[**n].subject == subject);
        let known: Vec<Seq> = all.map(|(&seq, _)| seq).collect();
        self.model.removing.extend(known);
        self.model
            .removing
            .extend(index.seqs_of(subject.as_bytes()).into_iter().flatten());
        self.model
            .removing
            .extend(index.last_seq() + 1..index.last_seq() + TURN_MESSAGES_MAX);
        let body = format!(r#"{{"filter":"{subject}","keep":1}}"#);
        self.request(StreamRequest::Purge, "r.k", body.as_bytes())
    }

    /// Has the stream take `commands` in one turn and notes what it answers.
    fn exchange(&mut self, commands: Vec<Command>) -> Result<Vec<usize>, Violation> {
        let asked = commands
            .iter()
            .filter(|command| matches!(command, Command::Publish { reply, .. } if !reply.is_empty()));
        let asked = asked.count();
        let mut answered = Vec::new();
        for message in self.turn(commands) {
            answered.extend(self.receive(&message)?);
        }
        if answered.len() != asked {
            return Err(format!("{asked} publishes and {} answers", answered.len()));
        }
        Ok(answered)
    }

    fn turn(&mut self, commands: Vec<Command>) -> Vec<Received> {
        let Some(stream) = &mut self.stream else {
            return Vec::new();
        };
        stream.turn(commands.into_iter(), self.now);
        let Some(batch) = self.client.outbox.next_batch().now_or_never() else {
            return Vec::new();
        };
        self.client.outbox.written(batch.bytes);
        parse(&batch.chunks.concat())
    }

    /// The publish that this answers, if it answers one.
    fn receive(&mut self, message: &Received) -> Result<Option<usize>, Violation> {
        let tokens: Vec<&str> = message.subject.split('.').collect();
        let number = tokens
            .get(2)
            .and_then(|token| token.parse::<u64>().ok())
            .unwrap_or(0);
        let is_success = contains(&message.payload, b"\"success\":true");
        match (tokens[0], tokens[1]) {
            ("r", "p") => {
                let n = usize::try_from(number).unwrap_or(0);
                self.model.on_pub_ack(n, &message.payload)?;
                return Ok(Some(n));
            }
            ("r", "b") => {
                let first = usize::try_from(number).unwrap_or(0);
                self.model.on_batch_ack(first, &message.payload)?;
                return Ok(Some(first));
            }
            ("r", "a") => self.model.on_confirmed(number),
            ("r", "x") if is_success => drop(self.model.promises.removed.insert(number)),
            ("r", "g") if is_success => self.model.promises.removed.extend(1..number),
            ("s", _) => {
                let ack = message.reply.as_deref().unwrap_or_default();
                let seq = ack.split('.').nth(5).and_then(|token| token.parse().ok());
                let seq: Seq = seq.ok_or_else(|| format!("no sequence in {ack:?}"))?;
                self.model
                    .on_delivery(seq, message.subject.as_bytes(), &message.payload)?;
                self.outstanding.push(seq);
            }
            _ => {}
        }
        Ok(None)
    }

    fn lose_power(&mut self) -> Result<(), Violation> {
        self.totals.power_losses += 1;
        let kept = self.promised_for_good()?;
        self.stream = None;
        self.disk.crash();
        self.set_health(Health::Well);
        self.open()?;
        if let (Some(kept), Some(stream)) = (kept, &mut self.stream) {
            self.totals.lost += self.model.forgive(kept, stream)?;
            self.history.clear();
        }
        self.check()
    }

    /// What a power loss now may not take although it may take later promises; `None` if it may take nothing.
    fn promised_for_good(&mut self) -> Result<Option<Promises>, Violation> {
        let reach = match self.kind.sync {
            SyncPolicy::Always => return Ok(None),
            SyncPolicy::Os => return Ok(Some(Promises::default())),
            SyncPolicy::Interval(reach) => u64::try_from(reach.as_nanos()).unwrap_or(u64::MAX),
        };
        // A sync that was due by now has been.
        let is_due = |stream: &Stream| stream.sync_by.is_some_and(|at| at <= self.now.steady);
        if self.stream.as_ref().is_some_and(is_due) {
            self.exchange(Vec::new())?;
        }
        let has_failed = |stream: &Stream| stream.store.poison().is_some();
        if self.stream.as_ref().is_none_or(has_failed) {
            return Ok(Some(Promises::default()));
        }
        let until = self.now.steady.saturating_sub(reach);
        let kept = self.history.iter().rev().find(|(at, _)| *at <= until);
        Ok(Some(
            kept.map(|(_, promises)| promises.clone()).unwrap_or_default(),
        ))
    }

    fn kill(&mut self) -> Result<(), Violation> {
        self.totals.kills += 1;
        self.stream = None;
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), Violation> {
        self.set_health(Health::Well);
        self.open()?;
        self.check()
    }

    fn check(&mut self) -> Result<(), Violation> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        self.model.check(stream)
    }

    fn change_health(&mut self) {
        let health = match (self.is_well, self.rng.random_bool(0.5)) {
            (false, _) => Health::Well,
            (true, true) => Health::Full,
            (true, false) => Health::Failing {
                one_in: self.rng.random_range(1..6),
            },
        };
        self.totals.bad_spells += u64::from(health != Health::Well);
        self.set_health(health);
    }

    fn set_health(&mut self, health: Health) {
        self.is_well = health == Health::Well;
        self.disk.set_health(health);
    }

    /// The disk is well again: without a restart the stream takes messages, and hands out all that it has.
    fn end(&mut self) -> Result<(), Violation> {
        self.set_health(Health::Well);
        self.pass(SECOND);
        let publish = self.publish();
        let refused = self.model.refused;
        self.exchange(vec![publish])?;
        if self.model.refused > refused {
            return Err("refuses although the disk is well again".into());
        }
        loop {
            self.pass(2 * SECOND);
            let pull = Command::Pull {
                consumer: "w".into(),
                reply: "r.d".into(),
                body: r#"{"batch":1000,"no_wait":true}"#.into(),
            };
            self.outstanding.clear();
            self.exchange(vec![pull])?;
            if self.outstanding.is_empty() {
                break;
            }
            let acks = std::mem::take(&mut self.outstanding);
            acks.iter().for_each(|&seq| self.model.on_ack(seq));
            let acks = acks.into_iter().map(|seq| Command::Ack {
                consumer: "w".into(),
                stream_seq: seq,
                reply: format!("r.a.{seq}").into(),
                payload: "+ACK".into(),
            });
            self.exchange(acks.collect())?;
        }
        self.check()?;
        self.check_drained()?;
        self.lose_power()?;
        match self.kind.sync {
            SyncPolicy::Always => self.check_drained(),
            // Acks may have been lost with the power.
            _ => Ok(()),
        }
    }

    fn check_drained(&self) -> Result<(), Violation> {
        self.stream
            .as_ref()
            .map_or(Ok(()), |stream| self.model.check_drained(stream))
    }
}

fn surroundings(router: Router, sync: SyncPolicy) -> Surroundings {
    Surroundings {
        router,
        sync,
        server_name: "torture".into(),
        account: "T".into(),
        clock: Clock::start(),
        internal: Arc::new(Inbox::default()),
        api_errors: Arc::default(),
        open_batches: Arc::default(),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// MSG and HMSG frames; of the latter only the payload.
fn parse(mut bytes: &[u8]) -> Vec<Received> {
    let mut received = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut words: Vec<&str> = line.split(' ').collect();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
        let total = number(words.pop());
        let header_len = if words[0] == "HMSG" {
            number(words.pop())
        } else {
            0
        };
        let body = &bytes[end + 2..end + 2 + total];
        received.push(Received {
            subject: words[1].to_owned(),
            reply: words.get(3).map(|&reply| reply.to_owned()),
            payload: body[header_len..].to_vec(),
        });
        bytes = &bytes[end + 2 + total + 2..];
    }
    received
}

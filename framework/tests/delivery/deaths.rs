//! Processes that die of a message before it is claimed, and handlers that live on after their lease.

use std::sync::{Arc, LazyLock, Mutex, mpsc as blocking};

use postroom::{App, Cx, CxError, Handle, Handler, Message, execute};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::mpsc::{self, UnboundedSender};

use crate::probe::{Outcome, Ping, Pong};
use crate::world::{World, within};

/// Who is to be told that a message is being decoded, and the text in it.
type Reader = (String, blocking::Sender<()>);
static READERS: LazyLock<Mutex<Vec<Reader>>> = LazyLock::new(Mutex::default);

/// A text whose decoding never ends, and takes its thread with it.
#[derive(Debug, Serialize)]
struct Deadly(String);

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let readers = READERS.lock().expect("nobody panics with it").clone();
        let Some((_, reader)) = readers.into_iter().find(|(of, _)| *of == text) else {
            return Ok(Self(text));
        };
        let _ = reader.send(());
        loop {
            std::thread::park();
        }
    }
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.deadly", id = "tests.deadly.v1")]
struct Trap {
    text: Deadly,
}

#[derive(Handler)]
#[handler(on = Trap, id = "trapped", idempotent(key = [text.0], ttl = "1d"))]
struct Trapped;

impl Handle<Trap> for Trapped {
    type Error = CxError;

    async fn handle(&self, trap: Trap, _: &mut Cx<'_>) -> Result<(), CxError> {
        panic!("{:?} was decoded", trap.text);
    }
}

pub(crate) async fn what_kills_its_readers_before_it_is_claimed_is_poison(world: World) {
    let text = world.settings.database_url.clone();
    let (reader, reads) = blocking::channel();
    let reads = Arc::new(Mutex::new(reads));
    READERS
        .lock()
        .expect("nobody panics with it")
        .push((text.clone(), reader));
    let app = world.app().await.handler(Trapped);
    app.start()
        .await
        .expect("it starts, and makes the stream")
        .drain()
        .await;
    let payload = serde_json::to_vec(&Trap { text: Deadly(text) }).expect("JSON");
    world.publish("tests.deadly", payload.clone()).await;
    // Of the first one, nobody knows.
    for _ in 0..4 {
        let (settings, reads) = (world.settings.clone(), Arc::clone(&reads));
        let died = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let _running = runtime.block_on(async {
                let app = App::connect(settings).await.expect("connect");
                app.handler(Trapped).start().await.expect("the app starts")
            });
            let read = reads.lock().expect("nobody panics with it").recv();
            read.expect("the reader is kept");
            runtime.shutdown_background();
        });
        within("the crash", died).await.expect("the crash happened");
    }
    let mut dlq = world.subscribe("emails.dlq").await;
    let app = world.app().await.handler(Trapped);
    let running = app.start().await.expect("it starts");
    dlq.next().await;
    running.drain().await;
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "poison"));
    assert_eq!(letters[0].payload, payload);
    let read = reads.lock().expect("nobody panics with it").try_recv();
    assert!(read.is_err(), "it was decoded in a fifth process");
}

/// Blocks its thread in its first attempt until the test lets it go.
#[derive(Clone, Handler)]
#[handler(on = Ping, id = "deaf", idempotent(key = [id], ttl = "1d"), timeout = "5m")]
struct Deaf {
    runs: UnboundedSender<i64>,
    release: Arc<Mutex<blocking::Receiver<()>>>,
}

impl Handle<Ping> for Deaf {
    type Error = CxError;

    async fn handle(&self, ping: Ping, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.runs.send(cx.attempt());
        if cx.attempt() == 1 {
            let _ = self.release.lock().expect("nobody panics with it").recv();
        }
        cx.publish(&Pong::of(&ping)).await
    }
}

/// As if another process had claimed it, and died.
const STEAL: &str =
    "UPDATE deliveries SET fence = fence + 1, owner = 'a thief', lease_until = 0 WHERE scope = 'deaf'";

pub(crate) async fn the_broker_is_not_told_to_wait_for_a_lease_that_was_lost(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let (release, released) = blocking::channel();
    let deaf = Deaf {
        runs,
        release: Arc::new(Mutex::new(released)),
    };
    let app = world.app().await.handler(deaf.clone());
    let blocked = app.start().await.expect("it starts");
    let mut pongs = world.subscribe("tests.pong").await;
    world.ping(1, Outcome::Succeed).await;
    assert_eq!(within("the first run", seen.recv()).await, Some(1));
    let store = world.store().await;
    let mut tx = store.begin().await.expect("begin");
    assert_eq!(execute!(tx, STEAL).expect("the row is there"), 1);
    tx.commit().await.expect("commit");

    let app = world.app().await.handler(deaf);
    let elsewhere = app.start().await.expect("it starts");
    assert_eq!(within("the second run", seen.recv()).await, Some(2));
    assert_eq!(pongs.ids(1).await, [1]);
    release.send(()).expect("it waits");
    blocked.drain().await;
    elsewhere.drain().await;
    assert_eq!(pongs.rest(), 0, "what had lost its lease was published");
}

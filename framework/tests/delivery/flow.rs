//! How much runs at a time, and what happens to what must wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::time::{Duration, Instant};

use postroom::{Ambiguous, App, Cx, CxError, Handle, Handler, Key, Message, PerKey, Rate, Spec};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::world::{World, within};

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tests.mail", id = "tests.mail.v1")]
struct Mail {
    domain: String,
    number: u32,
}

async fn mail(world: &World, domain: &str, number: u32) {
    let mail = Mail {
        domain: domain.to_owned(),
        number,
    };
    world
        .publish("tests.mail", serde_json::to_vec(&mail).expect("JSON"))
        .await;
}

/// What runs at this moment of each domain, and the most that ever did.
#[derive(Debug, Default)]
struct Running {
    now: HashMap<String, usize>,
    most: usize,
}

/// Holds every mail to `slow.test` until it is let go.
#[derive(Handler)]
#[handler(on = Mail, id = "courteous", idempotent(key = [domain, number], ttl = "1d"), per_key(domain, 2), concurrency = 4)]
struct Courteous {
    running: Arc<Mutex<Running>>,
    let_go: Arc<Semaphore>,
    sent: mpsc::UnboundedSender<(String, i64)>,
}

impl Handle<Mail> for Courteous {
    type Error = CxError;

    async fn handle(&self, mail: Mail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        {
            let mut running = self.running.lock().expect("the lock");
            let now = running.now.entry(mail.domain.clone()).or_default();
            *now += 1;
            let now = *now;
            running.most = running.most.max(now);
        }
        if mail.domain == "slow.test" {
            let _ = self.let_go.acquire().await;
        }
        if let Some(now) = self.running.lock().expect("the lock").now.get_mut(&mail.domain) {
            *now -= 1;
        }
        let _ = self.sent.send((mail.domain, cx.attempt()));
        Ok(())
    }
}

pub(crate) async fn a_busy_key_keeps_its_limit_and_holds_up_no_other(world: World) {
    // More than may wait for one key, so that some are sent away and come back.
    const SLOW: u32 = 80;
    let (sent, mut seen) = mpsc::unbounded_channel();
    let (running, let_go) = (Arc::default(), Arc::new(Semaphore::new(0)));
    let courteous = Courteous {
        running: Arc::clone(&running),
        let_go: Arc::clone(&let_go),
        sent,
    };
    let app = world
        .app()
        .await
        .handler(courteous)
        .start()
        .await
        .expect("the app starts");
    for number in 0..SLOW {
        mail(&world, "slow.test", number).await;
    }
    for number in 0..3 {
        mail(&world, "quick.test", number).await;
    }
    for _ in 0..3 {
        let (domain, _) = within("a quick one", seen.recv()).await.expect("a run");
        assert_eq!(domain, "quick.test");
    }
    let_go.close();
    for _ in 0..SLOW {
        let (domain, attempt) = within("a slow one", seen.recv()).await.expect("a run");
        assert_eq!(
            (domain.as_str(), attempt),
            ("slow.test", 1),
            "waiting spent an attempt"
        );
    }
    app.drain().await;
    assert!(seen.recv().await.is_none(), "one ran twice");
    assert_eq!(running.lock().expect("the lock").most, 2);
}

#[derive(Handler)]
#[handler(on = Mail, id = "measured", idempotent(key = [number], ttl = "1d"), rate = "5/s", concurrency = 20)]
struct Measured(mpsc::UnboundedSender<Instant>);

impl Handle<Mail> for Measured {
    type Error = CxError;

    async fn handle(&self, _: Mail, _: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.0.send(Instant::now());
        Ok(())
    }
}

pub(crate) async fn no_more_are_begun_than_the_rate_allows(world: World) {
    let (begun, mut seen) = mpsc::unbounded_channel();
    let app = world
        .app()
        .await
        .handler(Measured(begun))
        .start()
        .await
        .expect("the app starts");
    for number in 0..12 {
        mail(&world, "x.test", number).await;
    }
    let mut times = Vec::new();
    for _ in 0..12 {
        times.push(within("a run", seen.recv()).await.expect("a run"));
    }
    app.drain().await;
    times.sort_unstable();
    // Five tokens, and one more in each fifth of a second.
    for window in times.windows(8) {
        let took = window[7] - window[0];
        assert!(took >= Duration::from_millis(350), "eight within {took:?}");
    }
    assert!(
        times[11] - times[0] >= Duration::from_millis(1200),
        "twelve within {:?}",
        times[11] - times[0]
    );
}

/// Blocks its thread at the first attempt of number 1, until it is let go.
#[derive(Handler)]
#[handler(on = Mail, id = "blocker", idempotent(key = [number], ttl = "1d"), timeout = "100ms", concurrency = 1)]
struct Blocker {
    runs: mpsc::UnboundedSender<(u32, i64)>,
    let_go: Mutex<blocking::Receiver<()>>,
}

impl Handle<Mail> for Blocker {
    type Error = CxError;

    async fn handle(&self, mail: Mail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.runs.send((mail.number, cx.attempt()));
        if (mail.number, cx.attempt()) == (1, 1) {
            let _ = self.let_go.lock().expect("the lock").recv();
        }
        Ok(())
    }
}

pub(crate) async fn a_stuck_handler_loses_its_slot_and_its_message(world: World) {
    let (runs, mut seen) = mpsc::unbounded_channel();
    let (let_go, held) = blocking::channel();
    let blocker = Blocker {
        runs,
        let_go: Mutex::new(held),
    };
    // Makes stream and schema, which the mails and the other process are to find.
    let (probe, _) = crate::probe::Probe::new();
    let bystander = world.start(probe).await;
    let settings = world.settings.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // In a runtime of its own, so that a blocked thread is none of the test's.
    let process = tokio::task::spawn_blocking(move || {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(4).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let app = App::connect(settings).await.expect("connect").handler(blocker);
            let running = app.start().await.expect("the app starts");
            let _ = stopped.await;
            running.drain().await;
        });
    });
    mail(&world, "x.test", 1).await;
    let mut run = async || within("a run", seen.recv()).await.expect("a run");
    assert_eq!(run().await, (1, 1));
    mail(&world, "x.test", 2).await;
    // The one slot is blocked; another takes its place. The message is somebody else's as soon as its lease has run out.
    let mut ran = [run().await, run().await];
    ran.sort_unstable();
    assert_eq!(ran, [(1, 2), (2, 1)]);
    let_go.send(()).expect("the handler waits");
    let _ = stop.send(());
    within("the drain", process).await.expect("the process ends");
    bystander.drain().await;
    assert!(
        seen.recv().await.is_none(),
        "what the stuck one did at last counted"
    );
    assert!(world.letters().await.is_empty());
}

/// Quick, but for the mail to `slow.test`, which it holds until it is let go.
#[derive(Handler)]
#[handler(on = Mail, id = "greedy", idempotent(key = [domain, number], ttl = "1d"), concurrency = 8)]
struct Greedy {
    let_go: Arc<Semaphore>,
    runs: mpsc::UnboundedSender<(u32, i64)>,
}

impl Handle<Mail> for Greedy {
    type Error = CxError;

    async fn handle(&self, mail: Mail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        let _ = self.runs.send((mail.number, cx.attempt()));
        if mail.domain == "slow.test" {
            let _ = self.let_go.acquire().await;
        }
        Ok(())
    }
}

pub(crate) async fn what_a_draining_process_has_not_begun_is_another_ones_at_once(world: World) {
    const QUICK: u32 = 20;
    const SLOTS: u32 = 8;
    const AHEAD: u32 = 30;
    let let_go = Arc::new(Semaphore::new(0));
    let start = async || {
        let (runs, seen) = mpsc::unbounded_channel();
        let greedy = Greedy {
            let_go: Arc::clone(&let_go),
            runs,
        };
        let app = world.app().await.handler(greedy).start().await;
        (app.expect("the app starts"), seen)
    };
    let (one, mut seen) = start().await;
    // It is found to be quick, so that more is pulled ahead; then it is busy, and what was pulled waits.
    for number in 0..QUICK {
        mail(&world, "quick.test", number).await;
        within("a run", seen.recv()).await.expect("a run");
    }
    for number in 0..SLOTS {
        mail(&world, "slow.test", number).await;
        within("a run", seen.recv()).await.expect("a run");
    }
    for number in 0..AHEAD {
        mail(&world, "ahead.test", number).await;
    }
    let unsettled = async || {
        let consumer: async_nats::jetstream::consumer::PullConsumer =
            async_nats::jetstream::new(world.client.clone())
                .get_consumer_from_stream("greedy", "TESTS")
                .await
                .expect("the consumer");
        consumer.cached_info().num_ack_pending
    };
    within("what is pulled ahead", async {
        while unsettled().await <= SLOTS as usize {}
    })
    .await;
    let (two, mut taken) = start().await;
    let asked = Instant::now();
    let drain = tokio::spawn(one.drain());
    for _ in 0..AHEAD {
        let (_, attempt) = within("what was handed back", taken.recv()).await.expect("a run");
        assert_eq!(attempt, 1, "waiting spent an attempt");
    }
    // Sooner than the broker loses patience with a process that says nothing, which takes four seconds.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let_go.close();
    within("the drain", drain).await.expect("it drains");
    two.drain().await;
    assert!(
        seen.recv().await.is_none() && taken.recv().await.is_none(),
        "one ran twice"
    );
}

/// Says everything that can be said.
#[derive(Handler)]
#[handler(
    on = Mail,
    id = "talker",
    aliases = ["speaker", "orator"],
    idempotent(key = [domain, number], ttl = "9d"),
    retry(max = 3, backoff = "4s..5m"),
    timeout = "6s",
    concurrency = 7,
    per_key(domain, 2, rate = "3/s"),
    rate = "20/m",
    ambiguous = Hold,
)]
struct Talker;

impl Handle<Mail> for Talker {
    type Error = CxError;

    async fn handle(&self, _: Mail, _: &mut Cx<'_>) -> Result<(), CxError> {
        Ok(())
    }
}

/// Says what of it goes together with order.
#[derive(Handler)]
#[handler(on = Mail, id = "queue", per_key(domain, ordered, rate = "3/s"))]
struct Queue;

#[derive(Handler)]
#[handler(on = Mail, id = "queue", per_key(domain, rate = "3/s"))]
struct Brook;

macro_rules! handles {
    ($($handler:ident),*) => {$(
        impl Handle<Mail> for $handler {
            type Error = CxError;

            async fn handle(&self, _: Mail, _: &mut Cx<'_>) -> Result<(), CxError> {
                Ok(())
            }
        }
    )*};
}

handles!(Queue, Brook);

#[test]
fn what_the_derive_says_the_builder_says() {
    let seconds = Duration::from_secs;
    let built = Spec::<Mail>::new("talker")
        .aliases(&["speaker", "orator"])
        .idempotent(|mail| Key::of(&[&mail.domain, &mail.number]), seconds(9 * 86_400))
        .retry(3, seconds(4), seconds(300))
        .timeout(seconds(6))
        .concurrency(7)
        .per_key(
            |mail| Key::of(&[&mail.domain]),
            PerKey::at_most(2).and_rate(Rate::new(3, seconds(1))),
        )
        .rate(Rate::new(20, seconds(60)))
        .ambiguous(Ambiguous::Hold);
    assert_eq!(format!("{:?}", Talker::spec()), format!("{built:?}"));
    assert!(built.check().is_ok());
    let plain = format!("{:?}", Spec::<Mail>::new("talker"));
    assert_ne!(plain, format!("{built:?}"));

    let rate = Rate::new(3, seconds(1));
    let built = |holds| {
        let spec = Spec::<Mail>::new("queue").per_key(|mail| Key::of(&[&mail.domain]), holds);
        format!("{spec:?}")
    };
    assert_eq!(
        format!("{:?}", Queue::spec()),
        built(PerKey::in_order().and_rate(rate))
    );
    assert_eq!(format!("{:?}", Brook::spec()), built(PerKey::rate(rate)));
}

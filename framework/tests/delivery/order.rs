//! What holds among messages with an equal key: their order, and their rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postroom::{Cx, CxError, Handle, Handler, HandlerError, Message};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::world::{World, within};

#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(subject = "tests.step", id = "tests.step.v1")]
struct Step {
    account: String,
    number: u32,
}

async fn step(world: &World, account: &str, number: u32) {
    let account = account.to_owned();
    let step = Step { account, number };
    let json = serde_json::to_vec(&step).expect("JSON");
    world.publish("tests.step", json).await;
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum StepError {
    #[error("not yet")]
    #[on(retry)]
    NotYet,
    #[error("in a moment")]
    #[on(snooze = "10ms")]
    Moment,
    #[error("never")]
    #[on(dead_letter)]
    Never,
    #[error("in some seconds")]
    #[on(retry(after = "2s"))]
    Later,
    #[error(transparent)]
    #[on(inherit)]
    Postroom(#[from] CxError),
}

/// The first step of `held` waits until it is let go, that of `failing` fails twice, that of `dead` for good.
#[derive(Handler)]
#[handler(
    on = Step,
    id = "orderly",
    idempotent(key = [account, number], ttl = "1d"),
    retry(max = 3, backoff = "5ms..20ms"),
    per_key(account, ordered),
    concurrency = 4,
)]
struct Orderly {
    let_go: Arc<AtomicBool>,
    under_way: Mutex<Vec<String>>,
    runs: mpsc::UnboundedSender<(String, u32)>,
}

impl Handle<Step> for Orderly {
    type Error = StepError;

    async fn handle(&self, step: Step, cx: &mut Cx<'_>) -> Result<(), StepError> {
        {
            let mut under_way = self.under_way.lock().expect("the lock");
            if under_way.contains(&step.account) {
                let _ = self.runs.send(("two at a time".to_owned(), step.number));
            }
            under_way.push(step.account.clone());
        }
        // Others get their turn, if they take it.
        tokio::task::yield_now().await;
        self.under_way
            .lock()
            .expect("the lock")
            .retain(|account| *account != step.account);
        let outcome = match (step.account.as_str(), step.number) {
            ("held", 0) if !self.let_go.load(Ordering::SeqCst) => return Err(StepError::Moment),
            ("failing", 0) if cx.attempt() < 3 => Err(StepError::NotYet),
            ("dead", 0) => Err(StepError::Never),
            _ => Ok(()),
        };
        let _ = self.runs.send((step.account, step.number));
        outcome
    }
}

pub(crate) async fn an_ordered_key_goes_in_the_order_of_the_stream_whatever_becomes_of_each(world: World) {
    // More than may wait for one key, so that some are sent away and come back.
    const HELD: u32 = 70;
    let (runs, mut seen) = mpsc::unbounded_channel();
    let let_go = Arc::new(AtomicBool::new(false));
    let orderly = Orderly {
        let_go: Arc::clone(&let_go),
        under_way: Mutex::default(),
        runs,
    };
    let app = world.app().await.handler(orderly).start().await;
    let app = app.expect("the app starts");
    for number in 0..HELD {
        step(&world, "held", number).await;
    }
    for number in 0..3 {
        for account in ["failing", "dead", "quick"] {
            step(&world, account, number).await;
        }
    }
    // Those of other keys pass the one that is held up by, each in its own order.
    let mut others = Vec::new();
    for _ in 0..3 * 3 + 2 {
        others.push(within("another key", seen.recv()).await.expect("a run"));
    }
    let of = |account: &str| -> Vec<u32> {
        let runs = others.iter().filter(|(other, _)| other == account);
        runs.map(|(_, number)| *number).collect()
    };
    assert_eq!(of("failing"), [0, 0, 0, 1, 2]);
    assert_eq!(of("dead"), [0, 1, 2]);
    assert_eq!(of("quick"), [0, 1, 2]);

    let_go.store(true, Ordering::SeqCst);
    for number in 0..HELD {
        let run = within("the one that was held", seen.recv()).await;
        assert_eq!(run, Some(("held".to_owned(), number)));
    }
    app.drain().await;
    assert!(seen.recv().await.is_none(), "one ran twice");
    assert_eq!(world.letters().await.len(), 1);
}

/// Fails at the first attempt of the first step of `shared`, after some time; holds what is `held`.
#[derive(Handler)]
#[handler(
    on = Step,
    id = "patient",
    idempotent(key = [account, number], ttl = "1d"),
    per_key(account, ordered),
    concurrency = 2,
)]
struct Patient {
    let_go: Arc<Semaphore>,
    runs: mpsc::UnboundedSender<(String, u32, i64)>,
}

impl Handle<Step> for Patient {
    type Error = StepError;

    async fn handle(&self, step: Step, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let first = (step.account.as_str(), step.number, cx.attempt()) == ("shared", 0, 1);
        let held = step.account.starts_with("held");
        if first {
            // A handler that takes its time has nothing pulled ahead.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let _ = self.runs.send((step.account, step.number, cx.attempt()));
        if held {
            let _ = self.let_go.acquire().await;
        }
        if first { Err(StepError::Later) } else { Ok(()) }
    }
}

pub(crate) async fn an_ordered_key_goes_on_when_another_process_has_settled_what_it_waits_for(world: World) {
    let let_go = Arc::new(Semaphore::new(0));
    let start = async || {
        let (runs, seen) = mpsc::unbounded_channel();
        let patient = Patient {
            let_go: Arc::clone(&let_go),
            runs,
        };
        let app = world.app().await.handler(patient).start().await;
        (app.expect("the app starts"), seen)
    };
    let (one, mut seen) = start().await;
    let run = |account: &str, number, attempt| Some((account.to_owned(), number, attempt));
    step(&world, "shared", 0).await;
    assert_eq!(within("a run", seen.recv()).await, run("shared", 0, 1));
    step(&world, "shared", 1).await;
    // Both slots are taken, so it asks for no more: the retry goes to the other process.
    for account in ["held-1", "held-2"] {
        step(&world, account, 0).await;
        assert_eq!(within("a run", seen.recv()).await, run(account, 0, 1));
    }
    let (two, mut elsewhere) = start().await;
    assert_eq!(within("the retry", elsewhere.recv()).await, run("shared", 0, 2));
    let_go.close();
    assert_eq!(within("the next", seen.recv()).await, run("shared", 1, 1));
    one.drain().await;
    two.drain().await;
    assert!(
        seen.recv().await.is_none() && elsewhere.recv().await.is_none(),
        "one ran twice"
    );
}

#[derive(Handler)]
#[handler(
    on = Step,
    id = "courier",
    idempotent(key = [account, number], ttl = "1d"),
    per_key(account, rate = "5/s"),
    concurrency = 4,
)]
struct Courier(mpsc::UnboundedSender<(String, Instant, i64)>);

impl Handle<Step> for Courier {
    type Error = StepError;

    async fn handle(&self, step: Step, cx: &mut Cx<'_>) -> Result<(), StepError> {
        let _ = self.0.send((step.account, Instant::now(), cx.attempt()));
        Ok(())
    }
}

pub(crate) async fn each_key_keeps_its_rate_and_holds_up_no_other(world: World) {
    const BUSY: usize = 20;
    let (begun, mut seen) = mpsc::unbounded_channel();
    let app = world.app().await.handler(Courier(begun)).start().await;
    let app = app.expect("the app starts");
    for number in 0..20 {
        step(&world, "busy", number).await;
    }
    for account in ["one", "two", "three"] {
        step(&world, account, 0).await;
    }
    let (mut busy, mut others) = (Vec::new(), Vec::new());
    while busy.len() < BUSY {
        let (account, at, attempt) = within("a run", seen.recv()).await.expect("a run");
        assert_eq!(attempt, 1, "waiting spent an attempt");
        if account == "busy" { &mut busy } else { &mut others }.push(at);
    }
    app.drain().await;
    busy.sort_unstable();
    // Five tokens, and one more in each fifth of a second.
    for window in busy.windows(8) {
        let took = window[7] - window[0];
        assert!(took >= Duration::from_millis(350), "eight within {took:?}");
    }
    assert_eq!(others.len(), 3);
    let last = busy[BUSY - 1];
    assert!(
        others.iter().all(|other| *other < last),
        "another key waited for the busy one"
    );
    assert!(seen.recv().await.is_none(), "one ran twice");
}

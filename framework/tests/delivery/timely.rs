//! The cases about time: schedules and messages for later.

use std::collections::BTreeSet;

use postroom::{App, Cron, Message, Missed, Running};
use serde::{Deserialize, Serialize};

use crate::world::World;

/// What a schedule of every second becomes.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "tests.tick", id = "tests.tick.v1")]
struct Tick {
    at: String,
}

fn every_second(app: App) -> App {
    let cron = Cron::new("every-second", "* * * * * *", "Europe/Berlin").missed(Missed::CatchUp(1000));
    app.cron(cron, |fire| Tick {
        at: fire.at.timestamp().to_string(),
    })
}

async fn ticking(world: &World) -> Running {
    every_second(world.app().await)
        .start()
        .await
        .expect("the app starts")
}

pub(crate) async fn a_schedule_fires_once_however_many_processes_have_it(world: World) {
    let mut ticks = world.subscribe("tests.tick").await;
    let (one, two) = (ticking(&world).await, ticking(&world).await);
    let mut fired = Vec::new();
    let mut tick = async || {
        let message = ticks.next().await;
        let id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Msg-Id"));
        let Tick { at } = serde_json::from_slice(&message.payload).expect("a tick");
        assert_eq!(
            id.map(ToString::to_string),
            Some(format!("cron/every-second/{at}"))
        );
        fired.push(at.parse::<jiff::Timestamp>().expect("a time"));
    };
    for _ in 0..3 {
        tick().await;
    }
    // One process ends, and another takes its place: nothing is left out meanwhile.
    one.drain().await;
    let three = ticking(&world).await;
    for _ in 0..2 {
        tick().await;
    }
    two.drain().await;
    three.drain().await;
    let seconds: BTreeSet<_> = fired.iter().map(|at| at.as_second()).collect();
    let (first, last) = (seconds.first().expect("a first"), seconds.last().expect("a last"));
    assert_eq!(
        (seconds.len(), last - first + 1),
        (5, 5),
        "each second once: {fired:?}"
    );
}

pub(crate) async fn a_schedule_that_cannot_be_kept_is_an_error_at_start(world: World) {
    let wrong = Cron::new("digest", "0 7 * * *", "Europe/Berlim");
    let app = world.app().await.cron(wrong, |fire| Tick {
        at: fire.at.to_string(),
    });
    let error = app.start().await.expect_err("refused").to_string();
    assert!(error.contains("`digest`: zone is `Europe/Berlim`"), "{error}");
    let error = every_second(every_second(world.app().await)).start().await;
    let error = error.expect_err("refused").to_string();
    assert!(
        error.contains("two schedules have the id `every-second`"),
        "{error}"
    );
}

//! How far each handler is behind: the age of the oldest message that it has still to settle.

use std::time::Duration;

use metrics::gauge;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::names;
use crate::running::Post;

/// Three questions to the broker for each handler and process: often enough to be seen, seldom enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the gauges, until `stop`.
pub(crate) async fn watch(bus: Bus, posts: Vec<Post>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for Post {
            stream,
            durable,
            valve,
        } in &posts
        {
            match stop.run_until_cancelled(bus.lag(stream, durable)).await {
                Some(Ok(lag)) => gauge!(names::LAG, "handler" => valve.handler).set(lag.as_secs_f64()),
                // Such as a stream that was deleted: the runner makes it again, and says so.
                Some(Err(error)) => tracing::debug!(handler = valve.handler, %error, "the lag can't be told"),
                None => return,
            }
        }
    }
}

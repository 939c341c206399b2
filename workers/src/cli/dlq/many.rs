//! `postroom dlq replay` and `discard`: one letter after the other, each in a transaction of its own, until all are done
//! or a person stops it. What was done stays done, and is not taken again.

use std::collections::VecDeque;
use std::future::ready;
use std::io::Write;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use postroom::store::dead_letters::{self, Discard, Extent, Filter, Replay};
use postroom::{Store, StoreError};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::select::{Chosen, Selection};
use super::{DlqError, by};

/// Ids in memory at a time.
const PAGE: u32 = 500;

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    selection: Selection,
    /// At most so many letters in a time, such as `5/s`, `100/m` or `1000/h`
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    selection: Selection,
    /// Why: it is kept in the letter's trail
    #[arg(long, value_name = "TEXT", value_parser = some_text)]
    because: String,
}

fn some_text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, so that others understand it later".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// The time between two letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate(Duration);

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "give a number of letters in a time, such as `5/s`, `100/m` or `1000/h`";
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(WRONG),
        };
        match number.parse::<u32>() {
            Ok(number @ 1..) => Ok(Self(Duration::from_secs(seconds) / number)),
            _ => Err(WRONG),
        }
    }
}

enum Act {
    Replay,
    Discard { because: String },
}

enum Outcome {
    Done,
    NotFound,
    Not(String),
    Nowhere,
}

impl Act {
    async fn on(&self, store: &Store, id: &str, by: &str) -> Result<Outcome, StoreError> {
        Ok(match self {
            Self::Replay => match dead_letters::replay(store, id, by).await? {
                Replay::Begun => Outcome::Done,
                Replay::NotFound => Outcome::NotFound,
                Replay::Not(state) => Outcome::Not(state),
                Replay::Nowhere => Outcome::Nowhere,
            },
            Self::Discard { because } => match dead_letters::discard(store, id, by, because).await? {
                Discard::Discarded => Outcome::Done,
                Discard::NotFound => Outcome::NotFound,
                Discard::Not(state) => Outcome::Not(state),
            },
        })
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard { .. } => "discard",
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Replay => "replaying",
            Self::Discard { .. } => "discarded",
        }
    }

    fn line(&self) -> &'static str {
        match self {
            Self::Replay => "replaying: a running worker takes it up within seconds",
            Self::Discard { .. } => "discarded",
        }
    }
}

pub(super) async fn replay(store: &Store, args: ReplayArgs, out: &mut impl Write) -> Result<(), DlqError> {
    run(store, &args.selection, &Act::Replay, args.rate, out).await
}

pub(super) async fn discard(store: &Store, args: DiscardArgs, out: &mut impl Write) -> Result<(), DlqError> {
    let because = args.because;
    run(store, &args.selection, &Act::Discard { because }, None, out).await
}

/// The ids still to be done: given, or fetched page by page.
struct Queue {
    ids: VecDeque<String>,
    rest: Option<(Filter, Extent)>,
    /// So many there are in all.
    matching: u64,
}

impl Queue {
    async fn of(store: &Store, chosen: Chosen) -> Result<Self, StoreError> {
        Ok(match chosen {
            Chosen::Ids(ids) => Self {
                matching: ids.len() as u64,
                ids: ids.into(),
                rest: None,
            },
            Chosen::Matching(filter) => {
                let mut tx = store.read().await?;
                let extent = dead_letters::extent(&mut tx, &filter).await?;
                let ids = dead_letters::ids(&mut tx, &filter, &extent, "", PAGE).await?;
                Self {
                    matching: extent.letters,
                    ids: ids.into(),
                    rest: Some((filter, extent)),
                }
            }
        })
    }

    async fn next(&mut self, store: &Store) -> Result<Option<String>, StoreError> {
        let Some(id) = self.ids.pop_front() else {
            return Ok(None);
        };
        if self.ids.is_empty()
            && let Some((filter, extent)) = &self.rest
        {
            let mut tx = store.read().await?;
            self.ids = dead_letters::ids(&mut tx, filter, extent, &id, PAGE)
                .await?
                .into();
        }
        Ok(Some(id))
    }
}

async fn run(
    store: &Store,
    selection: &Selection,
    act: &Act,
    rate: Option<Rate>,
    out: &mut impl Write,
) -> Result<(), DlqError> {
    let chosen = selection.chosen()?;
    let by_filter = matches!(chosen, Chosen::Matching(_));
    let mut queue = Queue::of(store, chosen).await?;
    let (matching, limit) = (queue.matching, selection.cap.unwrap_or(u64::MAX));
    if selection.dry_run {
        return dry_run(store, queue, act, selection, out).await;
    }
    let mut stop = pin!(postroom::stop_signal());
    let mut pace = rate.map(|Rate(period)| every(period));
    let (by, json) = (by(), selection.json);
    let (mut done, mut skipped, mut cancelled, mut refused) = (0, 0, false, None);
    while done < limit {
        let Some(id) = queue.next(store).await? else { break };
        tokio::select! {
            biased;
            () = &mut stop => cancelled = true,
            () = turn(pace.as_mut()) => {}
        }
        if cancelled {
            break;
        }
        match act.on(store, &id, &by).await? {
            Outcome::Done => {
                done += 1;
                if json {
                    writeln!(out, "{}", json!({ "id": id, "state": act.state() }))?;
                } else {
                    writeln!(out, "{id}  {}", act.line())?;
                }
            }
            // Of those that were only counted, somebody else may have dealt with some meanwhile.
            _ if by_filter => skipped += 1,
            Outcome::Nowhere => refused = Some(DlqError::Nowhere(id)),
            Outcome::NotFound => refused = Some(DlqError::NotFound(id)),
            Outcome::Not(state) => {
                let act = act.verb();
                refused = Some(DlqError::NotDead { id, state, act });
            }
        }
    }
    if json {
        let summary =
            json!({ "matching": matching, "done": done, "skipped": skipped, "cancelled": cancelled });
        writeln!(out, "{summary}")?;
    } else if by_filter && !cancelled {
        writeln!(out, "{done} of {matching} letters {}", act.state())?;
    }
    if cancelled {
        return Err(DlqError::Cancelled { done, matching });
    }
    refused.map_or(Ok(()), Err)
}

async fn dry_run(
    store: &Store,
    mut queue: Queue,
    act: &Act,
    selection: &Selection,
    out: &mut impl Write,
) -> Result<(), DlqError> {
    if queue.rest.is_none() {
        let mut tx = store.read().await?;
        queue.matching = 0;
        for id in &queue.ids {
            let found = dead_letters::find(&mut tx, id).await?;
            queue.matching += u64::from(found.is_some_and(|letter| letter.state == "dead"));
        }
    }
    let (matching, verb) = (queue.matching, act.verb());
    let would = selection.cap.map_or(matching, |cap| cap.min(matching));
    if selection.json {
        let summary = json!({ "dry_run": true, "matching": matching, "would": would, "act": verb });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(
            out,
            "would {verb} {would} of {matching} letters; nothing was done"
        )?;
    }
    Ok(())
}

/// A late turn delays those after it: catching up would be the burst that the rate is there to prevent.
fn every(period: Duration) -> Interval {
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn turn(pace: Option<&mut Interval>) {
    match pace {
        Some(pace) => {
            pace.tick().await;
        }
        None => ready(()).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        let check = |text: &str, expect| assert_eq!(text.parse::<Rate>().ok().map(|rate| rate.0), expect);
        check("5/s", Some(Duration::from_millis(200)));
        check("2", Some(Duration::from_millis(500)));
        check("120/m", Some(Duration::from_millis(500)));
        check("1/h", Some(Duration::from_secs(3600)));
        for wrong in ["0/s", "-1/s", "5/d", "five/s", "5/", ""] {
            check(wrong, None);
        }
    }
}

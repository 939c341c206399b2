//! The numbers of all runs: speed, beside it what was lost or doubled, and under what conditions.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::disk::Disk;
use super::options::{Percent, Work};

/// Under what conditions, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of each run, copies included.
    pub messages: usize,
    /// How many of a hundred were copies.
    pub duplicates: Percent,
    /// What the handler did.
    pub handler: Work,
    /// Messages at a time.
    pub concurrency: u16,
    /// Whose broker, and when it syncs.
    pub broker: String,
    /// Which database, and what its commits wait for, in its own words.
    pub database: String,
    /// What the run's folder lay on.
    pub disk: Disk,
    /// As the system tells.
    pub cores: usize,
    /// `release`, or `debug`, whose numbers say nothing.
    pub build: &'static str,
    /// The runs, in order.
    pub samples: Vec<Sample>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Messages a second that the broker confirmed as stored, before any was handled.
    pub publish_per_s: f64,
    /// From the app's start until the handler had been called for each and the broker had every ack.
    pub drain_per_s: f64,
    /// Both one after the other.
    pub end_to_end_per_s: f64,
    /// What this process computed while it drained, its embedded broker included; a database or broker of its own is not.
    pub cpu_us_per_message: Option<f64>,
    /// Afterwards, at a steady rate.
    pub latency: Latency,
    /// Calls of the handler, by its own count.
    pub handled: u64,
    /// Parcels for which the handler was never called.
    pub lost: u64,
    /// Calls beyond the first for a parcel.
    pub doubled: u64,
    /// Calls with something that this run did not publish.
    pub strangers: u64,
    /// Different parcels that were published.
    pub published: u64,
    /// Copies that were published beside.
    pub copies: u64,
    /// Deliveries that the ledger refused, since their work was done: the copies, and what the broker brought again.
    pub suppressed: i64,
    /// Attempts beyond the first, by the ledger.
    pub retries: i64,
    /// Parcels that are done, by the ledger.
    pub done: i64,
}

/// From just before the publish to the handler's call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Messages a second that were offered.
    pub rate_per_s: f64,
    /// So many.
    pub messages: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
}

impl Latency {
    /// `sorted`, by length.
    pub(super) fn of(rate: f64, sorted: &[Duration]) -> Self {
        let quantile = |percent: usize| {
            // The smallest that so many are not above.
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self {
            rate_per_s: rate,
            messages: sorted.len() as u64,
            p50_ms: quantile(50),
            p99_ms: quantile(99),
        }
    }
}

impl Sample {
    /// Whether each parcel was handled, once, and ledger and handler agree on it.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let (done, suppressed) = (u64::try_from(self.done), u64::try_from(self.suppressed));
        self.lost == 0
            && self.doubled == 0
            && self.strangers == 0
            && done == Ok(self.published)
            && suppressed.is_ok_and(|suppressed| suppressed >= self.copies)
    }
}

impl Report {
    /// Whether every run adds up.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.samples.iter().all(Sample::adds_up)
    }

    /// For a person.
    ///
    /// # Errors
    /// When the output is closed.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let handler = match self.handler {
            Work::Noop => "a handler that does nothing",
            Work::Millisecond => "a handler that waits 1 ms",
        };
        let (messages, copies, at_a_time) = (self.messages, self.duplicates, self.concurrency);
        writeln!(
            out,
            "\n{messages} messages, {copies} copies, {handler}, {at_a_time} at a time\n"
        )?;
        self.print_rows(out)?;
        writeln!(out, "\nbroker    {}", self.broker)?;
        writeln!(out, "database  {}", self.database)?;
        let lasting = if self.disk.is_lasting() {
            ""
        } else {
            ": nothing there is durable"
        };
        let Disk {
            file_system,
            fdatasync_per_s,
        } = &self.disk;
        writeln!(
            out,
            "disk      {file_system}{lasting}, {fdatasync_per_s:.0} fdatasync/s"
        )?;
        writeln!(out, "machine   {} cores, {} build", self.cores, self.build)?;
        if self.build == "debug" {
            writeln!(out, "\nThis is a debug build: compare nothing with it.")?;
        }
        Ok(())
    }

    fn print_rows(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{:26}{:>10}", "", "median")?;
        for number in 1..=self.samples.len() {
            write!(out, "{:>10}", format!("run {number}"))?;
        }
        writeln!(out)?;
        for (name, digits, value) in ROWS {
            self.row(out, name, digits, value)?;
        }
        Ok(())
    }

    fn row(&self, out: &mut impl Write, name: &str, digits: usize, value: Value) -> io::Result<()> {
        let values: Vec<f64> = self.samples.iter().filter_map(value).collect();
        write!(out, "{name:26}{:>10.digits$}", median(&values))?;
        for value in &values {
            write!(out, "{value:>10.digits$}")?;
        }
        writeln!(out)
    }
}

type Value = fn(&Sample) -> Option<f64>;

/// What is printed, with how many digits.
const ROWS: [(&str, usize, Value); 11] = [
    ("published/s", 0, |sample| Some(sample.publish_per_s)),
    ("drained/s", 0, |sample| Some(sample.drain_per_s)),
    ("both, end to end/s", 0, |sample| Some(sample.end_to_end_per_s)),
    ("CPU µs/message drained", 1, |sample| sample.cpu_us_per_message),
    ("then offered/s", 0, |sample| Some(sample.latency.rate_per_s)),
    ("  latency, p50 ms", 1, |sample| Some(sample.latency.p50_ms)),
    ("  latency, p99 ms", 1, |sample| Some(sample.latency.p99_ms)),
    ("lost", 0, |sample| Some(sample.lost as f64)),
    ("handled more than once", 0, |sample| Some(sample.doubled as f64)),
    ("copies published", 0, |sample| Some(sample.copies as f64)),
    ("duplicates suppressed", 0, |sample| {
        Some(sample.suppressed as f64)
    }),
];

/// The middle one, or the mean of both; 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => 0.0,
        (half, 0) => f64::midpoint(sorted[half - 1], sorted[half]),
        (half, _) => sorted[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            publish_per_s: 1.0,
            drain_per_s: 1.0,
            end_to_end_per_s: 0.5,
            cpu_us_per_message: None,
            latency: Latency::of(1.0, &[]),
            handled: 9,
            lost: 0,
            doubled: 0,
            strangers: 0,
            published: 9,
            copies: 1,
            suppressed: 1,
            retries: 0,
            done: 9,
        }
    }

    #[test]
    fn each_thing_that_went_wrong_shows() {
        assert!(sample().adds_up());
        let check = |change: fn(&mut Sample)| {
            let mut wrong = sample();
            change(&mut wrong);
            assert!(!wrong.adds_up(), "{wrong:?}");
        };
        check(|sample| sample.lost = 1);
        check(|sample| sample.doubled = 1);
        check(|sample| sample.strangers = 1);
        check(|sample| sample.done = 8);
        check(|sample| sample.suppressed = 0);
        // What the broker brought again is suppressed as well.
        let mut again = sample();
        again.suppressed = 2;
        assert!(again.adds_up());
    }

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let latency = Latency::of(1.0, &sorted);
        assert_eq!((latency.p50_ms, latency.p99_ms), (100.0, 198.0));
    }
}

//! What is shown while something long is under way: a bar for a person at a terminal, a line now and then for a log.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A log gets a line this often at most.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    last: (u64, String),
    due: Instant,
}

impl Progress {
    /// Of so many, of which `what` tells in a word or two what becomes of them.
    pub(crate) fn new(whole: usize, what: &'static str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(whole as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {prefix}  {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            bar
        });
        Self {
            bar,
            what,
            last: (0, String::new()),
            due: Instant::now(),
        }
    }

    /// So far it is `done`; `line` says the rest.
    pub(crate) fn show(&mut self, done: u64, line: String) {
        let now = (done, line);
        if now == self.last {
            return;
        }
        let (done, line) = &now;
        match &self.bar {
            Some(bar) => {
                bar.set_position(*done);
                bar.set_message(line.clone());
            }
            None if Instant::now() < self.due => return,
            None => {
                eprintln!("{done} {}  {line}", self.what);
                self.due = Instant::now() + LINE_EVERY;
            }
        }
        self.last = now;
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

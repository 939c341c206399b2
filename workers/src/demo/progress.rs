//! What is shown while the demo works: a bar for a person at a terminal, a line now and then for a log.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A log gets a line this often at most.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    due: Instant,
}

impl Progress {
    /// Of `mails` mails.
    pub(super) fn new(mails: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(mails as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} mails read  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let (last, due) = (String::new(), Instant::now());
        Self { bar, last, due }
    }

    /// `settled` mails are through ingest; `line` says the rest.
    pub(super) fn show(&mut self, settled: u64, line: String) {
        if line == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(settled);
                bar.set_message(line.clone());
            }
            None if Instant::now() < self.due => return,
            None => {
                eprintln!("{settled} mails read  {line}");
                self.due = Instant::now() + LINE_EVERY;
            }
        }
        self.last = line;
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

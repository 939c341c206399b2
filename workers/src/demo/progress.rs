//! What is shown while the demo works: a bar for a person at a terminal, a line now and then for a log.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
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
        Self {
            bar,
            last: String::new(),
        }
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
            None => eprintln!("{settled} mails read  {line}"),
        }
        self.last = line;
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

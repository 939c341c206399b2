//! What an attempt logged, kept with it: whoever looks at a dead letter need not go and look for the log of a process that
//! may be gone.
//!
//! ```
//! use tracing_subscriber::prelude::*;
//!
//! # let _guard = {
//! tracing_subscriber::registry()
//!     .with(tracing_subscriber::fmt::layer())
//!     .with(postroom::attempt_log::layer())
//! #   .set_default() };
//! ```

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::redact::for_log;
use crate::store::dead_letters::now_text;
use crate::store::deliveries::FailedAttempt;
use crate::trace::DELIVERY;

/// Of one attempt, the last so many bytes of log: some screens to read, and a ledger row that stays small.
pub const MAX_BYTES: usize = 8 * 1024;
/// Longer lines are cut, so that one dump of something does not push out all others.
pub const MAX_LINE_BYTES: usize = 1024;
/// Of so many attempts, the latest, the log is kept.
pub const MAX_ATTEMPTS: usize = 8;

/// Gathers what is logged at level INFO and above while a delivery is under way; see [`layer`].
#[derive(Debug)]
#[non_exhaustive]
pub struct AttemptLog;

/// The layer to add to a subscriber that is built on [`Registry`], so that failed attempts are kept with their log.
/// Addresses are left out, as in the log itself; see [`redact`](crate::redact).
#[must_use]
pub fn layer() -> AttemptLog {
    AttemptLog
}

/// The lines of one delivery, the latest that fit.
#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    bytes: usize,
    left_out: usize,
}

struct Gathered(Mutex<Lines>);

impl<S> Layer<S> for AttemptLog
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.name() == DELIVERY
            && metadata.target() == crate::trace::TARGET
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Gathered(Mutex::default()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Gathered(lines)) = span.extensions().get() {
                let line = line(event);
                return lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    }
}

impl Lines {
    fn push(&mut self, mut line: String) {
        if line.len() > MAX_LINE_BYTES {
            line.truncate(line.floor_char_boundary(MAX_LINE_BYTES - "…".len()));
            line.push('…');
        }
        self.bytes += line.len();
        self.kept.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(first) = self.kept.pop_front()
        {
            self.bytes -= first.len();
            self.left_out += 1;
        }
    }

    fn to_text(&self) -> Vec<String> {
        let note = (self.left_out > 0).then(|| format!("({} earlier lines are left out)", self.left_out));
        note.into_iter().chain(self.kept.iter().cloned()).collect()
    }
}

/// What the delivery that this task works on has logged so far; nothing where the layer is not installed.
pub(crate) fn gathered() -> Vec<String> {
    let lines = Span::current().with_subscriber(|(id, dispatch)| {
        let span = dispatch.downcast_ref::<Registry>()?.span(id)?;
        span.scope().find_map(|span| {
            let extensions = span.extensions();
            let Gathered(lines) = extensions.get()?;
            Some(lines.lock().unwrap_or_else(PoisonError::into_inner).to_text())
        })
    });
    lines.flatten().unwrap_or_default()
}

/// Takes the logs of all but the latest attempts out of a history, so that it stays small however many there are.
pub(crate) fn trim(history: &mut [FailedAttempt]) {
    let older = history.len().saturating_sub(MAX_ATTEMPTS);
    for attempt in &mut history[..older] {
        attempt.log.clear();
    }
}

/// `2026-01-31T10:00:00.000Z WARN my_app::send: the relay is slow relay="mx.shop.example"`.
fn line(event: &Event<'_>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    let metadata = event.metadata();
    let line = format!(
        "{} {} {}: {}{}",
        now_text(),
        metadata.level(),
        metadata.target(),
        text.message,
        text.fields
    );
    for_log(&line).into_owned()
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String can't fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn a_delivery_keeps_what_was_logged_in_it_and_nothing_else() {
        let subscriber = tracing_subscriber::registry().with(layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            let delivery = tracing::info_span!(target: crate::trace::TARGET, DELIVERY);
            let _entered = delivery.enter();
            tracing::info_span!("inner")
                .in_scope(|| tracing::warn!(code = 451, to = "ann@x.test", "not taken"));
            tracing::debug!("too talkative");
            let lines = gathered();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].ends_with("WARN postroom::attempt_log::tests: not taken code=451 to=\"***\""),
                "{lines:?}"
            );
        });
    }

    #[test]
    fn without_the_layer_there_is_nothing_to_keep() {
        assert!(gathered().is_empty());
    }

    #[test]
    fn the_latest_lines_are_kept_up_to_the_limit_and_the_others_counted() {
        let mut lines = Lines::default();
        let line = "x".repeat(MAX_LINE_BYTES);
        for _ in 0..MAX_BYTES / MAX_LINE_BYTES {
            lines.push(line.clone());
        }
        assert_eq!((lines.bytes, lines.left_out), (MAX_BYTES, 0), "at the limit");
        lines.push("y".to_owned());
        assert_eq!(lines.left_out, 1, "one past it");
        let text = lines.to_text();
        assert_eq!(
            text.first().map(String::as_str),
            Some("(1 earlier lines are left out)")
        );
        assert_eq!(text.last().map(String::as_str), Some("y"));
    }

    #[test]
    fn a_long_line_is_cut_where_a_character_ends() {
        let mut lines = Lines::default();
        lines.push("é".repeat(MAX_LINE_BYTES / 2));
        lines.push("é".repeat(MAX_LINE_BYTES));
        let text = lines.to_text();
        assert!(!text[0].contains('…') && text[1].ends_with('…'));
        assert!(text.iter().all(|line| line.len() <= MAX_LINE_BYTES));
    }

    #[test]
    fn only_the_latest_attempts_keep_their_log() {
        let attempt = |attempt| FailedAttempt {
            attempt,
            at: String::new(),
            class: String::new(),
            error: String::new(),
            log: vec!["a line".to_owned()],
        };
        let mut history: Vec<_> = (1..=9).map(attempt).collect();
        trim(&mut history[..MAX_ATTEMPTS]);
        assert!(
            history.iter().all(|attempt| !attempt.log.is_empty()),
            "at the limit"
        );
        trim(&mut history);
        let without: Vec<_> = history
            .iter()
            .filter(|attempt| attempt.log.is_empty())
            .map(|a| a.attempt)
            .collect();
        assert_eq!(without, [1], "one past it");
    }
}

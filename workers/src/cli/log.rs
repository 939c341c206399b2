//! Where the log goes: standard error, filtered by `POSTROOM_LOG` in the syntax of `RUST_LOG`, as text for people or,
//! with `POSTROOM_LOG_FORMAT=json`, as JSON lines for machines.

use std::io::{IsTerminal, stderr};

use postroom::attempt_log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::prelude::*;
#[cfg(feature = "otel")]
use tracing_subscriber::registry::LookupSpan;

const VARIABLE: &str = "POSTROOM_LOG";
const FORMAT_VARIABLE: &str = "POSTROOM_LOG_FORMAT";

/// Crates that write whole protocol lines, passwords among them, at their most talkative levels; and one that tells of
/// every connection what the workers say better.
const QUIET: [&str; 4] = [
    "imap_next=info",
    "imap_codec=info",
    "async_imap=info",
    "async_nats=warn",
];

/// `level` is what is shown where nobody asks for anything else; with `OFF`, nothing is.
pub(super) fn init(level: LevelFilter) {
    let shown = level != LevelFilter::OFF || std::env::var_os(VARIABLE).is_some();
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let quiet = QUIET
        .iter()
        .filter_map(|directive| directive.parse::<Directive>().ok());
    let filter = quiet.fold(filter, EnvFilter::add_directive);
    let log = tracing_subscriber::fmt::layer().with_writer(stderr);
    let log = if std::env::var(FORMAT_VARIABLE).is_ok_and(|format| format == "json") {
        log.json().with_filter(filter).boxed()
    } else {
        log.with_ansi(stderr().is_terminal()).with_filter(filter).boxed()
    };
    // Failed attempts are kept with their log, whatever is shown of it here. A second subscriber is refused; the first one
    // then stays, which is what a test wants.
    let subscriber = tracing_subscriber::registry()
        .with(shown.then_some(log))
        .with(attempt_log::layer());
    #[cfg(feature = "otel")]
    init_with_spans(subscriber);
    #[cfg(not(feature = "otel"))]
    let _ = subscriber.try_init();
}

#[cfg(feature = "otel")]
fn init_with_spans<S>(subscriber: S)
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let (spans, error) = match super::otel::layer() {
        Ok(spans) => (spans, None),
        Err(error) => (None, Some(error)),
    };
    let _ = subscriber.with(spans.with_filter(LevelFilter::INFO)).try_init();
    if let Some(error) = error {
        tracing::error!(%error, "no spans are exported");
    }
}

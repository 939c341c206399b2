//! Log lines as nats-server writes them: harnesses wait for some of them by their text.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use postroom_broker::{Broker, VERSION};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::Verbosity;

/// `[pid] 2006/01/02 15:04:05.000000 [INF] text`
struct NatsLines;

/// The target of the last words before the process gives up.
pub(crate) const FATAL: &str = "fatal";

impl<S, N> FormatEvent<S, N> for NatsLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR if event.metadata().target() == FATAL => "FTL",
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG => "DBG",
            Level::TRACE => "TRC",
        };
        let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S%.6f");
        write!(writer, "[{}] {now} [{level}] ", std::process::id())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

pub(crate) fn start(file: Option<&Path>, verbosity: Verbosity) -> io::Result<()> {
    let filter = match verbosity {
        Verbosity::Info => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    };
    let lines = layer().with_ansi(false).event_format(NatsLines);
    let registry = tracing_subscriber::registry().with(filter);
    let Some(path) = file else {
        registry.with(lines.with_writer(io::stderr)).init();
        return Ok(());
    };
    let opened = OpenOptions::new().create(true).append(true).open(path)?;
    registry.with(lines.with_writer(Mutex::new(opened))).init();
    Ok(())
}

/// What nats-server says once it is up; clients' test harnesses read these lines.
pub(crate) fn announce(broker: &Broker, store_dir: Option<&Path>) {
    tracing::info!("Starting nats-server");
    tracing::info!(
        "  Version:  {VERSION} (postroom-broker {})",
        env!("CARGO_PKG_VERSION")
    );
    tracing::info!("  Name:     {}", broker.server_name());
    tracing::info!("  ID:       {}", broker.server_id());
    if let Some(address) = broker.monitoring_address() {
        tracing::info!("Starting http monitor on {address}");
    }
    if let Some(directory) = store_dir {
        tracing::info!("Starting JetStream");
        tracing::info!("  Store Directory: \"{}\"", directory.display());
    }
    tracing::info!("Listening for client connections on {}", broker.client_address());
    tracing::info!("Server is ready");
}

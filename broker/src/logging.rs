//! Log lines as nats-server writes them: harnesses wait for some of them by their text.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use postroom_broker::{Broker, VERSION};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
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

/// The file that lines go to, if they go to one; it can be opened anew after somebody has moved it away.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogFile(Option<(PathBuf, Arc<Mutex<File>>)>);

/// Lines may be written, and the file be exchanged, from any thread.
struct Lines(Arc<Mutex<File>>);

static VERBOSITY: AtomicU8 = AtomicU8::new(0);

pub(crate) fn start(file: Option<&Path>, verbosity: Verbosity) -> io::Result<LogFile> {
    set_verbosity(verbosity);
    let is_wanted = filter_fn(|metadata| *metadata.level() <= wanted());
    let lines = layer().with_ansi(false).event_format(NatsLines);
    let registry = tracing_subscriber::registry();
    let Some(path) = file else {
        registry
            .with(lines.with_writer(io::stderr).with_filter(is_wanted))
            .init();
        return Ok(LogFile::default());
    };
    let opened = Arc::new(Mutex::new(open(path)?));
    let writer = Arc::clone(&opened);
    let lines = lines.with_writer(move || Lines(Arc::clone(&writer)));
    registry.with(lines.with_filter(is_wanted)).init();
    Ok(LogFile(Some((path.to_owned(), opened))))
}

pub(crate) fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
    // Whether a line is wanted was remembered.
    tracing::callsite::rebuild_interest_cache();
}

fn wanted() -> Level {
    match VERBOSITY.load(Ordering::Relaxed) {
        0 => Level::INFO,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl LogFile {
    pub(crate) fn reopen(&self) -> io::Result<()> {
        if let Some((path, file)) = &self.0 {
            *file.lock().unwrap_or_else(PoisonError::into_inner) = open(path)?;
        }
        Ok(())
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

pub(crate) fn announce_start(config_file: Option<&Path>) {
    tracing::info!("Starting nats-server");
    tracing::info!(
        "  Version:  {VERSION} (postroom-broker {})",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(path) = config_file {
        tracing::info!("Using configuration file: {}", path.display());
    }
}

/// What nats-server says once it is up; clients' test harnesses read these lines.
pub(crate) fn announce(broker: &Broker, store_dir: Option<&Path>) {
    tracing::info!("  Name:     {}", broker.server_name());
    tracing::info!("  ID:       {}", broker.server_id());
    if let Some(address) = broker.monitoring_address() {
        tracing::info!("Starting http monitor on {address}");
    }
    if let Some(directory) = store_dir {
        tracing::info!("Starting JetStream");
        tracing::info!("  Store Directory: \"{}\"", directory.display());
    }
    if let Some(url) = broker.websocket_url() {
        tracing::info!("Listening for websocket clients on {url}");
    }
    tracing::info!("Listening for client connections on {}", broker.client_address());
    if broker.client_url().starts_with("tls://") {
        tracing::info!("TLS required for client connections");
    }
    tracing::info!("Server is ready");
}

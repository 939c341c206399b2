//! Where the log goes: standard error, filtered by `POSTROOM_LOG` in the syntax of `RUST_LOG`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};

const VARIABLE: &str = "POSTROOM_LOG";

/// Crates that write whole protocol lines, passwords among them, at their most talkative levels.
const TELLS_SECRETS: [&str; 3] = ["imap_next=info", "imap_codec=info", "async_imap=info"];

pub(super) fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(VARIABLE)
        .from_env_lossy();
    let quiet = TELLS_SECRETS
        .iter()
        .filter_map(|directive| directive.parse::<Directive>().ok());
    let filter = quiet.fold(filter, EnvFilter::add_directive);
    // A second subscriber is refused; the first one then stays, which is what a test wants.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

//! `postroom demo`: the tour.

use std::path::PathBuf;

use super::CliError;
use crate::demo::{self, DemoError, DemoOptions};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where everything is kept. A second run on it goes on where the first ended.
    #[arg(long, value_name = "DIR", default_value = "postroom-data")]
    data: PathBuf,
    /// Somebody else's broker, such as nats://127.0.0.1:4222, in place of an own one.
    #[arg(long, env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    nats_url: Option<String>,
    /// Another database in place of SQLite in the data folder: sqlite:PATH or postgres://…
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// So many ordinary mails instead of the few dozen awkward ones.
    #[arg(long, value_name = "N")]
    mails: Option<usize>,
    /// Run on when the work is done: broker on 4222, monitoring on 8222, IMAP on 1143, SMTP on 1025.
    #[arg(long)]
    keep: bool,
    /// The summary as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let Args {
        data,
        nats_url,
        database_url,
        mails,
        keep,
        json,
    } = args;
    let options = DemoOptions {
        data,
        nats_url,
        database_url,
        mails,
        keep,
        json,
    };
    let mut out = std::io::stdout();
    demo::run(options, &mut out).await.map_err(|error| match error {
        DemoError::Stage(_) | DemoError::Postroom(_) => CliError::wrong(error),
        DemoError::Store(_) | DemoError::Output(_) | DemoError::Stuck | DemoError::DoesNotAddUp => {
            CliError::failed(error)
        }
    })
}

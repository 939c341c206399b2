//! `postroom doctor`: tries each thing that postroom needs, and says in a sentence what is wrong.

use std::io::{self, Write};

use postroom::Store;
use postroom::bus::Bus;
use postroom::explain::with_causes;
use serde_json::json;
use tokio::net::TcpListener;

use super::CliError;
use super::up::{BROKER, accounts};
use crate::config::{Config, Flags};
use crate::preflight;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// One JSON object for each thing that was tried.
    #[arg(long)]
    json: bool,
}

/// One thing that was tried.
struct Finding {
    what: String,
    /// What is well about it, or what to do.
    verdict: Result<String, String>,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let config = Config::load(&args.flags).map_err(CliError::wrong)?;
    let accounts = accounts(&config)?;
    let mut findings = vec![
        Finding {
            what: "broker".to_owned(),
            verdict: broker(&config).await,
        },
        Finding {
            what: "database".to_owned(),
            verdict: database(&config).await,
        },
    ];
    for account in &accounts {
        let imap = preflight::imap(account)
            .await
            .map(|()| "logged in, mailbox opened".to_owned());
        let smtp = preflight::smtp(account)
            .await
            .map(|()| match account.outbound.login {
                Some(_) => "logged in".to_owned(),
                None => "connected, no login".to_owned(),
            });
        let finding = |protocol: &str, verdict| Finding {
            what: format!("{protocol} {}", account.name),
            verdict,
        };
        findings.push(finding("imap", imap.map_err(|closed| closed.to_string())));
        findings.push(finding("smtp", smtp.map_err(|closed| closed.to_string())));
    }
    print(&findings, args.json, &mut io::stdout()).map_err(CliError::failed)?;
    match findings.iter().filter(|finding| finding.verdict.is_err()).count() {
        0 => Ok(()),
        1 => Err(CliError::Wrong(
            "one thing needs mending; it is named above".to_owned(),
        )),
        count => Err(CliError::Wrong(format!(
            "{count} things need mending; they are named above"
        ))),
    }
}

async fn broker(config: &Config) -> Result<String, String> {
    let url = config.settings().nats_url;
    if config.nats_url.is_none() && TcpListener::bind(BROKER).await.is_ok() {
        return Ok(format!("embedded; {BROKER} is free for it"));
    }
    let bus = Bus::connect(&url, "postroom doctor")
        .await
        .map_err(|error| with_causes(&error))?;
    bus.check_jetstream().await.map_err(|error| with_causes(&error))?;
    Ok("it answers, JetStream included".to_owned())
}

async fn database(config: &Config) -> Result<String, String> {
    let store = Store::open(&config.settings().database_url)
        .await
        .map_err(|error| with_causes(&error))?;
    store.close().await;
    Ok("it opens, its schema is up to date".to_owned())
}

fn print(findings: &[Finding], json: bool, out: &mut impl Write) -> io::Result<()> {
    for Finding { what, verdict } in findings {
        let (well, text) = match verdict {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        if json {
            writeln!(out, "{}", json!({ "what": what, "ok": well, "text": text }))?;
        } else {
            writeln!(out, "{}  {what:16}  {text}", if well { "ok   " } else { "WRONG" })?;
        }
    }
    Ok(())
}

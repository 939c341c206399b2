//! The file with a server's addresses, for whoever started it on random ports, and signals to a server by its pid.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use postroom_broker::Broker;
use serde_json::json;

/// What harnesses look for, whatever the binary is called.
const PROGRAM: &str = "nats-server";

/// `<directory>/nats-server_<pid>.ports`; harnesses read what each listener's addresses are.
pub(crate) fn write(directory: &Path, broker: &Broker) -> io::Result<Vec<PathBuf>> {
    let own = std::env::args().next().unwrap_or_default();
    let own = Path::new(&own)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let urls = |scheme: &str, address: Option<SocketAddr>| -> Vec<String> {
        address
            .map(|address| format!("{scheme}://{address}"))
            .into_iter()
            .collect()
    };
    let url = |url: Option<String>| -> Vec<String> { url.into_iter().collect() };
    let content = json!({
        "nats": url(Some(broker.client_url())),
        "monitoring": urls("http", broker.monitoring_address()),
        "websocket": url(broker.websocket_url()),
    });
    let mut written = Vec::new();
    for name in [PROGRAM, &own] {
        let path = directory.join(format!("{name}_{}.ports", std::process::id()));
        if !written.contains(&path) {
            // Renamed into place, so that nobody reads half of it.
            let unfinished = path.with_extension("new");
            std::fs::write(&unfinished, content.to_string())?;
            std::fs::rename(&unfinished, &path)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Sends `ldm=PID`, `reload=FILE` and the like; what went wrong, if anything did.
pub(crate) fn signal(word: &str) -> Result<(), String> {
    let (name, target) = word.split_once('=').unwrap_or((word, ""));
    let signal = match name {
        "stop" => "KILL",
        "quit" | "term" => "TERM",
        "reload" => "HUP",
        "reopen" => "USR1",
        "ldm" => "USR2",
        _ => {
            return Err(format!(
                "{name:?} is no signal; there are stop, quit, reload, reopen and ldm"
            ));
        }
    };
    let pid = match target.parse::<u32>() {
        Ok(pid) => pid.to_string(),
        Err(_) if target.is_empty() => {
            return Err(format!("say which server: --signal {name}=<pid or its file>"));
        }
        Err(_) => {
            let text =
                std::fs::read_to_string(target).map_err(|error| format!("can not read {target}: {error}"))?;
            let pid = text
                .trim()
                .parse::<u32>()
                .map_err(|_| format!("{target} holds no process id"))?;
            pid.to_string()
        }
    };
    match Command::new("kill").args(["-s", signal, &pid]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("there is no process {pid} that may be told")),
        Err(error) => Err(format!("can not run kill: {error}")),
    }
}

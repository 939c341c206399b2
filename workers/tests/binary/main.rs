//! The `postroom` binary as a user runs it: the tour, and what it says to wrong input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its set-up too"
)]

mod bench;
mod demo;
mod dlq;
mod outbox;
#[path = "../../../framework/tests/servers/mod.rs"]
mod servers;
mod suppressions;
mod worker;
mod wrong_input;

use std::path::Path;
use std::process::Command;

/// The binary in `dir`, with nothing of this process's own settings.
fn postroom(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("POSTROOM_") || name_text == "NATS_URL" || name_text == "DATABASE_URL" {
            command.env_remove(&name);
        }
    }
    command
}

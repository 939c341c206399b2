//! Configuration files: nats-server's own, as far as one node can do what they say.
//!
//! `syntax` makes values of the text, `directives` and `access` make settings of the values. Every mistake is told with
//! its place, all of them at once.

mod access;
mod directives;
mod listeners;
mod permissions;
mod read;
pub mod syntax;

use std::fmt;
use std::path::{Path, PathBuf};

use super::Config;
pub(super) use read::go_duration;
use syntax::{Entry, Spot};

/// What a file says: for the broker, and for the process around it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfigFile {
    pub config: Config,
    pub log_file: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// Where a file with all addresses is put, for whoever started the server on random ports.
    pub ports_file_dir: Option<PathBuf>,
    pub debug: bool,
    pub trace: bool,
    /// What was passed over because it was to be ignored.
    pub warnings: Vec<Problem>,
}

/// What becomes of directives that nats-server knows and this server does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unsupported {
    #[default]
    Refuse,
    Ignore,
}

/// One mistake and where it stands, as `file:line:column: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    at: Spot,
    text: String,
    is_unsupported: bool,
}

/// Everything that is wrong with a configuration file, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct ConfigError(Vec<Problem>);

/// What is being read, and what was wrong so far.
struct Draft {
    file: ConfigFile,
    /// `host` and `port` may be given apart, in any order.
    host: Option<std::net::IpAddr>,
    port: Option<u16>,
    monitoring_host: Option<std::net::IpAddr>,
    monitoring_port: Option<u16>,
    has_jetstream: bool,
    problems: Vec<Problem>,
}

impl ConfigFile {
    /// Reads the file at `path` and those that it includes.
    pub fn read(path: impl AsRef<Path>, unsupported: Unsupported) -> Result<ConfigFile, ConfigError> {
        let entries = syntax::read_file(path.as_ref()).map_err(|problem| ConfigError(vec![problem]))?;
        ConfigFile::from_entries(&entries, unsupported)
    }

    /// Reads `text`; `name` is what mistakes are told of, and includes are looked for in the working directory.
    pub fn parse(text: &str, name: &str, unsupported: Unsupported) -> Result<ConfigFile, ConfigError> {
        let entries = syntax::read_text(text, name, Path::new(""));
        ConfigFile::from_entries(
            &entries.map_err(|problem| ConfigError(vec![problem]))?,
            unsupported,
        )
    }

    fn from_entries(entries: &[Entry], unsupported: Unsupported) -> Result<ConfigFile, ConfigError> {
        let mut draft = Draft::new();
        draft.apply_all(entries);
        let Draft {
            mut file, problems, ..
        } = draft.finish();
        let ignored = |problem: &Problem| problem.is_unsupported && unsupported == Unsupported::Ignore;
        let (warnings, fatal): (Vec<_>, Vec<_>) = problems.into_iter().partition(ignored);
        if !fatal.is_empty() {
            return Err(ConfigError(fatal));
        }
        file.warnings = warnings;
        Ok(file)
    }
}

impl Problem {
    fn new(at: &Spot, text: impl Into<String>) -> Problem {
        Problem {
            at: at.clone(),
            text: text.into(),
            is_unsupported: false,
        }
    }

    /// nats-server has it, this server does not.
    fn unsupported(at: &Spot, text: impl Into<String>) -> Problem {
        Problem {
            is_unsupported: true,
            ..Problem::new(at, text)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

impl ConfigError {
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests;

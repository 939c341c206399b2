//! The command line, in Go's manner: `-flag value`, `--flag=value`, one dash or two, as nats-server takes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use postroom_broker::{Auth, Config, ConfigError, ConfigFile, HandshakeFirst, SyncPolicy, Tls, Unsupported};
use thiserror::Error;

pub(crate) const USAGE: &str = include_str!("usage.txt");

const PORT_DEFAULT: u16 = 4222;
const STORE_DEFAULT: &str = "./postroom-store";

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    #[error("unknown flag: {0}")]
    UnknownFlag(String),
    #[error("{0} needs a value")]
    MissingValue(String),
    #[error("{flag}: {value:?} is not {expected}")]
    BadValue {
        flag: String,
        value: String,
        expected: &'static str,
    },
    #[error("{0} is for clusters, and this server is one node")]
    Unsupported(String),
    #[error("--tls needs --tlscert and --tlskey")]
    TlsFiles,
    #[error(transparent)]
    File(#[from] ConfigError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verbosity {
    #[default]
    Info,
    Debug,
    Trace,
}

/// What was typed, made sense of.
#[derive(Debug)]
pub(crate) enum Args {
    Run(Box<Typed>),
    Signal(String),
    Version,
    Help,
}

/// Flags and file together.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) ports_file_dir: Option<PathBuf>,
    pub(crate) verbosity: Verbosity,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) only_check: bool,
    ignore_unsupported: bool,
    address: Option<IpAddr>,
    port: Option<u16>,
    monitoring_port: Option<u16>,
    name: Option<String>,
    has_jetstream: bool,
    store_dir: Option<PathBuf>,
    sync: Option<SyncPolicy>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    allow_anyone: bool,
    tls: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    tls_verify: bool,
    tls_first: bool,
    log_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    ports_file_dir: Option<PathBuf>,
    verbosity: Verbosity,
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Args, ArgsError> {
    let mut typed = Typed::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let stripped = argument.strip_prefix("--").or(argument.strip_prefix('-'));
        let Some(flag) = stripped.filter(|flag| !flag.is_empty()) else {
            return Err(ArgsError::UnknownFlag(argument));
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if typed.switch(name, inline.as_deref() != Some("false")) {
            continue;
        }
        match name {
            "v" | "version" => return Ok(Args::Version),
            "h" | "help" => return Ok(Args::Help),
            _ => {}
        }
        let mut value = || {
            inline
                .clone()
                .or_else(|| rest.next())
                .ok_or_else(|| ArgsError::MissingValue(argument.clone()))
        };
        match name {
            "sl" | "signal" => return Ok(Args::Signal(value()?)),
            "cluster" | "cluster_listen" | "cluster_name" | "routes" | "cluster_advertise"
            | "connect_retries" => {
                return Err(ArgsError::Unsupported(argument));
            }
            _ => typed.value(name, &argument, value)?,
        }
    }
    Ok(Args::Run(Box::new(typed)))
}

impl Typed {
    /// Takes a flag that needs no value; false if it is none.
    fn switch(&mut self, name: &str, on: bool) -> bool {
        let field = match name {
            "js" | "jetstream" => &mut self.has_jetstream,
            "t" => &mut self.only_check,
            "ignore-unsupported" | "ignore_unsupported" => &mut self.ignore_unsupported,
            "allow-anyone" | "allow_anyone" => &mut self.allow_anyone,
            "tls" => &mut self.tls,
            "tlsverify" => &mut self.tls_verify,
            "tlsfirst" => &mut self.tls_first,
            "D" | "debug" => {
                self.verbosity = Verbosity::Debug;
                return true;
            }
            "V" | "trace" | "DV" | "VV" | "DVV" => {
                self.verbosity = Verbosity::Trace;
                return true;
            }
            _ => return false,
        };
        *field = on;
        true
    }

    fn value(
        &mut self,
        name: &str,
        argument: &str,
        mut value: impl FnMut() -> Result<String, ArgsError>,
    ) -> Result<(), ArgsError> {
        match name {
            "a" | "addr" | "net" => self.address = Some(address(name, value()?)?),
            "p" | "port" => self.port = Some(port(name, value()?)?),
            "m" | "http_port" => self.monitoring_port = Some(port(name, value()?)?),
            "n" | "name" | "server_name" => self.name = Some(value()?),
            "c" | "config" => self.config_file = Some(value()?.into()),
            "sd" | "store_dir" => self.store_dir = Some(value()?.into()),
            "sync_interval" => self.sync = Some(sync(name, value()?)?),
            "user" => self.user = Some(value()?),
            "pass" => self.password = Some(value()?),
            "auth" => self.token = Some(value()?),
            "tlscert" => self.tls_cert = Some(value()?.into()),
            "tlskey" => self.tls_key = Some(value()?.into()),
            "tlscacert" => self.tls_ca = Some(value()?.into()),
            "l" | "log" => self.log_file = Some(value()?.into()),
            "P" | "pid" => self.pid_file = Some(value()?.into()),
            "ports_file_dir" => self.ports_file_dir = Some(value()?.into()),
            _ => return Err(ArgsError::UnknownFlag(argument.to_owned())),
        }
        Ok(())
    }

    /// Reads the file, if there is one, and lays the flags over it. Once more on every reload.
    pub(crate) fn load(&self) -> Result<Run, ArgsError> {
        let unsupported = if self.ignore_unsupported {
            Unsupported::Ignore
        } else {
            Unsupported::Refuse
        };
        let file = match &self.config_file {
            Some(path) => ConfigFile::read(path, unsupported)?,
            None => ConfigFile::parse("", "", unsupported)?,
        };
        let mut config = file.config;
        self.lay_over(&mut config)?;
        let verbosity = match self.verbosity {
            _ if file.trace => Verbosity::Trace,
            Verbosity::Info if file.debug => Verbosity::Debug,
            typed => typed,
        };
        Ok(Run {
            config,
            log_file: self.log_file.clone().or(file.log_file),
            pid_file: self.pid_file.clone().or(file.pid_file),
            ports_file_dir: self.ports_file_dir.clone().or(file.ports_file_dir),
            verbosity,
            warnings: file.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    fn lay_over(&self, config: &mut Config) -> Result<(), ArgsError> {
        match (&self.token, &self.user) {
            (Some(token), _) => config.auth = Auth::token(token.clone()),
            (None, Some(user)) => {
                config.auth = Auth::user(user.clone(), self.password.clone().unwrap_or_default());
            }
            (None, None) => {}
        }
        config.allow_anyone |= self.allow_anyone;
        // The file could not know that the flags bring credentials.
        let has_opened = self.config_file.is_none() && (config.auth.is_required() || config.allow_anyone);
        let everywhere = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).filter(|_| has_opened);
        let ip = self.address.or(everywhere).unwrap_or(config.listen.ip());
        config.listen = SocketAddr::new(ip, self.port.unwrap_or(config.listen.port()));
        if let Some(port) = self.monitoring_port {
            let ip = config.monitoring.map_or(ip, |monitoring| monitoring.ip());
            config.monitoring = Some(SocketAddr::new(ip, port));
        }
        // A store directory without `-js` is accepted and unused, as by nats-server.
        if self.has_jetstream || config.store_dir.is_some() {
            let file = config.store_dir.take();
            config.store_dir = self
                .store_dir
                .clone()
                .or(file)
                .or_else(|| Some(STORE_DEFAULT.into()));
        }
        config.sync = self.sync.unwrap_or(config.sync);
        config.server_name = self.name.clone().or(config.server_name.take());
        self.lay_tls_over(config)
    }

    fn lay_tls_over(&self, config: &mut Config) -> Result<(), ArgsError> {
        if !(self.tls || self.tls_verify || self.tls_cert.is_some() || self.tls_key.is_some()) {
            return Ok(());
        }
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Err(ArgsError::TlsFiles);
        };
        let mut tls = Tls::new(cert, key);
        tls.ca_file.clone_from(&self.tls_ca);
        tls.verify = self.tls_verify;
        if self.tls_first {
            tls.handshake_first = HandshakeFirst::Yes;
        }
        config.tls = Some(tls);
        Ok(())
    }
}

/// -1 is a random port; 0 the default one, as nats-server has it.
fn port(flag: &str, value: String) -> Result<u16, ArgsError> {
    match value.parse::<i32>() {
        Ok(-1) => Ok(0),
        Ok(0) => Ok(PORT_DEFAULT),
        Ok(number) if u16::try_from(number).is_ok() => Ok(u16::try_from(number).unwrap_or_default()),
        _ => Err(bad(flag, value, "a port")),
    }
}

fn address(flag: &str, value: String) -> Result<IpAddr, ArgsError> {
    match value.as_str() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => value.parse().map_err(|_| bad(flag, value, "an IP address")),
    }
}

fn sync(flag: &str, value: String) -> Result<SyncPolicy, ArgsError> {
    value
        .parse()
        .map_err(|_| bad(flag, value, "always, os or an interval such as 2m"))
}

fn bad(flag: &str, value: String, expected: &'static str) -> ArgsError {
    ArgsError::BadValue {
        flag: format!("--{flag}"),
        value,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Args, ArgsError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn run(line: &str) -> Run {
        match typed(line) {
            Ok(Args::Run(typed)) => typed.load().unwrap(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn one_dash_or_two_and_both_ways_to_give_a_value() {
        for line in [
            "-js -p 4333 -sd /x -m 8333",
            "--jetstream --port=4333 --store_dir=/x --http_port 8333",
        ] {
            let config = run(line).config;
            assert_eq!(config.listen.to_string(), "127.0.0.1:4333");
            assert_eq!(config.store_dir, Some("/x".into()));
            assert_eq!(config.monitoring.map(|address| address.port()), Some(8333));
        }
        let config = run("-p -1 -a 127.0.0.1").config;
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(run("-p 0").config.listen.port(), 4222);
        assert_eq!(run("-sd /x").config.store_dir, None);
        let open = run("--user a --pass b").config;
        assert_eq!(
            (open.auth, open.listen.to_string().as_str()),
            (Auth::user("a", "b"), "0.0.0.0:4222")
        );
        assert_eq!(
            run("--auth t -a 127.0.0.1").config.listen.to_string(),
            "127.0.0.1:4222"
        );
        assert_eq!(run("--auth t").config.auth, Auth::token("t"));
        assert_eq!(run("--allow-anyone").config.listen.to_string(), "0.0.0.0:4222");
        let tls = run("--tls --tlscert c --tlskey k --tlsverify --tlscacert a --tlsfirst")
            .config
            .tls
            .unwrap();
        assert!(tls.verify && tls.handshake_first == HandshakeFirst::Yes && tls.ca_file == Some("a".into()));
        assert_eq!(run("-DV").verbosity, Verbosity::Trace);
    }

    #[test]
    fn refusals() {
        let check = |line: &str, expect: ArgsError| assert_eq!(typed(line).unwrap_err(), expect, "{line}");
        check("--bogus", ArgsError::UnknownFlag("--bogus".into()));
        check("word", ArgsError::UnknownFlag("word".into()));
        check("-p", ArgsError::MissingValue("-p".into()));
        check("--routes x", ArgsError::Unsupported("--routes".into()));
        let Ok(Args::Run(half)) = typed("--tls --tlscert c") else {
            panic!()
        };
        assert_eq!(half.load().unwrap_err(), ArgsError::TlsFiles);
        assert!(matches!(typed("-sl ldm=5"), Ok(Args::Signal(word)) if word == "ldm=5"));
        assert!(matches!(typed("-p x"), Err(ArgsError::BadValue { .. })));
        for line in ["-p 70000", "--sync_interval never", "--sync_interval 0s"] {
            assert!(matches!(typed(line), Err(ArgsError::BadValue { .. })), "{line}");
        }
    }

    #[test]
    fn flags_beat_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        let text = "port: 1, server_name: file, jetstream {store_dir: kept, sync_interval: os}, authorization {token: t}\nhttp: 5\ncluster {}";
        std::fs::write(&path, text).unwrap();
        let line = format!("-c {} -p 2 --ignore-unsupported -m 6", path.display());
        let loaded = run(&line);
        assert_eq!(loaded.config.listen.to_string(), "0.0.0.0:2");
        assert_eq!(loaded.config.monitoring.unwrap().to_string(), "0.0.0.0:6");
        assert_eq!(loaded.config.server_name.as_deref(), Some("file"));
        assert_eq!(loaded.config.store_dir, Some("kept".into()));
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(loaded.config.sync, SyncPolicy::Os);
        let synced = run(&format!("{line} --sync_interval=always"));
        assert_eq!(synced.config.sync, SyncPolicy::Always);
        assert_eq!(run(&format!("{line} -sd x")).config.store_dir, Some("x".into()));
    }
}

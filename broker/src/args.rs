//! The command line, in Go's manner: `-flag value`, `--flag=value`, one dash or two, as nats-server takes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use postroom_broker::{Auth, Config};
use thiserror::Error;

pub(crate) const USAGE: &str = "\
Usage: postroom-broker [options]

Server:
    -a, --addr, --net <host>        Address to listen on (default 0.0.0.0)
    -p, --port <port>               Port for clients (default 4222, -1 for a random one)
    -n, --name, --server_name <name> Name of this server
    -m, --http_port <port>          Port for monitoring over HTTP
    -P, --pid <file>                File to write the process id to
JetStream:
    -js, --jetstream                Keep streams
    -sd, --store_dir <directory>    Where to keep them (default ./postroom-store)
Authorization:
    --user <user> --pass <password> Credentials that clients must give
    --auth <token>                  Token that clients must give
Logging:
    -l, --log <file>                File to log to instead of stderr
    -D, --debug                     Log more
    -V, --trace                     Log every detail
    -DV                             Both
    -v, --version                   Print the version and exit
    -h, --help                      Print this and exit
";

/// nats-server listens everywhere unless told otherwise, and so does its drop-in.
const ADDRESS_DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
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
    #[error("{0} is not supported by this server yet; give the same as flags")]
    Unsupported(String),
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
    Run(Box<Run>),
    Version,
    Help,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) verbosity: Verbosity,
}

#[derive(Default)]
struct Typed {
    address: Option<IpAddr>,
    port: Option<u16>,
    monitoring_port: Option<u16>,
    name: Option<String>,
    has_jetstream: bool,
    store_dir: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    log_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
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
        let mut value = || {
            inline
                .clone()
                .or_else(|| rest.next())
                .ok_or_else(|| ArgsError::MissingValue(argument.clone()))
        };
        match name {
            "v" | "version" => return Ok(Args::Version),
            "h" | "help" => return Ok(Args::Help),
            "js" | "jetstream" => typed.has_jetstream = inline.as_deref() != Some("false"),
            "D" | "debug" => typed.verbosity = Verbosity::Debug,
            "V" | "trace" | "DV" => typed.verbosity = Verbosity::Trace,
            "a" | "addr" | "net" => typed.address = Some(address(name, value()?)?),
            "p" | "port" => typed.port = Some(port(name, value()?)?),
            "m" | "http_port" => typed.monitoring_port = Some(port(name, value()?)?),
            "n" | "name" | "server_name" => typed.name = Some(value()?),
            "sd" | "store_dir" => typed.store_dir = Some(value()?.into()),
            "user" => typed.user = Some(value()?),
            "pass" => typed.password = Some(value()?),
            "auth" => typed.token = Some(value()?),
            "l" | "log" => typed.log_file = Some(value()?.into()),
            "P" | "pid" => typed.pid_file = Some(value()?.into()),
            "c" | "config" | "t" | "sl" | "signal" | "ports_file_dir" | "routes" | "cluster"
            | "cluster_name" | "cluster_listen" | "tls" | "tlscert" | "tlskey" | "tlsverify"
            | "tlscacert" | "tlsfirst" => {
                return Err(ArgsError::Unsupported(argument));
            }
            _ => return Err(ArgsError::UnknownFlag(argument)),
        }
    }
    Ok(Args::Run(Box::new(typed.into_run())))
}

impl Typed {
    fn into_run(self) -> Run {
        let address = self.address.unwrap_or(ADDRESS_DEFAULT);
        let mut config = Config::new().listen(SocketAddr::new(address, self.port.unwrap_or(PORT_DEFAULT)));
        config.monitoring = self.monitoring_port.map(|port| SocketAddr::new(address, port));
        // A store directory without `-js` is accepted and unused, as by nats-server.
        config.store_dir = self
            .has_jetstream
            .then(|| self.store_dir.unwrap_or_else(|| STORE_DEFAULT.into()));
        config.server_name = self.name;
        config.auth = match (self.token, self.user) {
            (Some(token), _) => Auth::Token(token),
            (None, Some(user)) => Auth::User {
                user,
                password: self.password.unwrap_or_default(),
            },
            (None, None) => Auth::Open,
        };
        Run {
            config,
            log_file: self.log_file,
            pid_file: self.pid_file,
            verbosity: self.verbosity,
        }
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
            Ok(Args::Run(run)) => *run,
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
            assert_eq!(config.listen.to_string(), "0.0.0.0:4333");
            assert_eq!(config.store_dir, Some("/x".into()));
            assert_eq!(config.monitoring.map(|address| address.port()), Some(8333));
        }
        let config = run("-p -1 -a 127.0.0.1").config;
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(run("-p 0").config.listen.port(), 4222);
        assert_eq!(run("-sd /x").config.store_dir, None);
        assert!(matches!(run("--user a --pass b").config.auth, Auth::User { .. }));
        assert!(matches!(run("--auth t").config.auth, Auth::Token(_)));
        assert_eq!(run("-DV").verbosity, Verbosity::Trace);
    }

    #[test]
    fn refusals() {
        let check = |line: &str, expect: ArgsError| assert_eq!(typed(line).unwrap_err(), expect, "{line}");
        check("--bogus", ArgsError::UnknownFlag("--bogus".into()));
        check("word", ArgsError::UnknownFlag("word".into()));
        check("-p", ArgsError::MissingValue("-p".into()));
        check("-c file", ArgsError::Unsupported("-c".into()));
        assert!(matches!(typed("-p x"), Err(ArgsError::BadValue { .. })));
        assert!(matches!(typed("-p 70000"), Err(ArgsError::BadValue { .. })));
    }
}

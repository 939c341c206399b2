//! The keys of the outermost block, and those of `jetstream`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::read::{self, Directive, apply, block, duration, flag, size, text};
use super::syntax::{Entry, Item};
use super::{ConfigFile, Draft, Problem, access, listeners};
use crate::config::{Auth, Config, SyncPolicy};

const PORT_DEFAULT: u16 = 4222;
const MONITORING_PORT_DEFAULT: u16 = 8222;
const STORE_DEFAULT: &str = "./postroom-store";

const TOP: &[Directive<Draft>] = &[
    ("listen", |draft, item| {
        let (host, port) = read::address(item, PORT_DEFAULT)?;
        draft.host = host.or(draft.host);
        draft.port = Some(port);
        Ok(())
    }),
    ("host", |draft, item| put(&mut draft.host, read::host(item))),
    ("net", |draft, item| put(&mut draft.host, read::host(item))),
    ("port", |draft, item| {
        put(&mut draft.port, read::port(item, PORT_DEFAULT))
    }),
    ("http", monitoring),
    ("monitoring", monitoring),
    ("http_port", |draft, item| {
        put(
            &mut draft.monitoring_port,
            read::port(item, MONITORING_PORT_DEFAULT),
        )
    }),
    ("monitor_port", |draft, item| {
        put(
            &mut draft.monitoring_port,
            read::port(item, MONITORING_PORT_DEFAULT),
        )
    }),
    ("server_name", |draft, item| {
        put(&mut draft.file.config.server_name, text(item))
    }),
    ("debug", |draft, item| set(&mut draft.file.debug, flag(item))),
    ("trace", |draft, item| set(&mut draft.file.trace, flag(item))),
    ("trace_verbose", |draft, item| {
        set(&mut draft.file.trace, flag(item))
    }),
    ("log_file", |draft, item| {
        put(&mut draft.file.log_file, text(item).map(Into::into))
    }),
    ("logfile", |draft, item| {
        put(&mut draft.file.log_file, text(item).map(Into::into))
    }),
    ("pid_file", |draft, item| {
        put(&mut draft.file.pid_file, text(item).map(Into::into))
    }),
    ("pidfile", |draft, item| {
        put(&mut draft.file.pid_file, text(item).map(Into::into))
    }),
    ("ports_file_dir", |draft, item| {
        put(&mut draft.file.ports_file_dir, text(item).map(Into::into))
    }),
    ("max_payload", |draft, item| {
        set(&mut draft.file.config.limits.max_payload, size(item))
    }),
    ("max_control_line", |draft, item| {
        set(&mut draft.file.config.limits.max_control_line, size(item))
    }),
    ("max_pending", |draft, item| {
        set(&mut draft.file.config.limits.max_pending, size(item))
    }),
    ("max_pending_total", |draft, item| {
        set(&mut draft.file.config.limits.max_pending_total, size(item))
    }),
    ("max_connections", |draft, item| {
        set(&mut draft.file.config.limits.max_connections, many(item))
    }),
    ("max_conn", |draft, item| {
        set(&mut draft.file.config.limits.max_connections, many(item))
    }),
    ("max_subscriptions", |draft, item| {
        set(
            &mut draft.file.config.limits.max_subscriptions,
            none_is_zero(item),
        )
    }),
    ("max_subs", |draft, item| {
        set(
            &mut draft.file.config.limits.max_subscriptions,
            none_is_zero(item),
        )
    }),
    ("max_sub_tokens", |draft, item| {
        set(
            &mut draft.file.config.limits.max_subject_tokens,
            none_is_zero(item),
        )
    }),
    ("ping_interval", |draft, item| {
        set(&mut draft.file.config.limits.ping_interval, positive(item))
    }),
    ("ping_max", |draft, item| {
        set(
            &mut draft.file.config.limits.ping_max,
            read::number(item, "a number of unanswered pings"),
        )
    }),
    ("write_deadline", |draft, item| {
        set(&mut draft.file.config.limits.write_deadline, positive(item))
    }),
    ("lame_duck_duration", |draft, item| {
        set(&mut draft.file.config.limits.lame_duck, duration(item))
    }),
    ("lame_duck_grace_period", |draft, item| {
        set(&mut draft.file.config.limits.lame_duck_grace, duration(item))
    }),
    ("jetstream", jetstream),
    ("store_dir", |draft, item| {
        put(&mut draft.file.config.store_dir, text(item).map(Into::into))
    }),
    ("authorization", access::authorization),
    ("accounts", access::accounts),
    ("no_auth_user", |draft, item| {
        put(&mut draft.file.config.auth.no_auth_user, text(item))
    }),
    ("system_account", |draft, item| {
        put(&mut draft.file.config.auth.system_account, text(item))
    }),
    ("system", |draft, item| {
        put(&mut draft.file.config.auth.system_account, text(item))
    }),
    ("tls", |draft, item| {
        put(
            &mut draft.file.config.tls,
            listeners::tls(item, &mut draft.problems),
        )
    }),
    ("websocket", listeners::websocket),
    ("ws", listeners::websocket),
    ("allow_anyone", |draft, item| {
        set(&mut draft.file.config.allow_anyone, flag(item))
    }),
    // How lines look and how much memory may be spent on speed; there is one way here.
    ("logtime", |_, item| flag(item).map(drop)),
    ("logtime_utc", |_, item| flag(item).map(drop)),
    ("disable_sublist_cache", |_, item| flag(item).map(drop)),
    ("no_sublist_cache", |_, item| flag(item).map(drop)),
    ("connect_error_reports", |_, item| {
        read::number::<u32>(item, "a number").map(drop)
    }),
    ("reconnect_error_reports", |_, item| {
        read::number::<u32>(item, "a number").map(drop)
    }),
    ("max_traced_msg_len", |_, item| {
        read::number::<u32>(item, "a number").map(drop)
    }),
    ("server_tags", |_, item| read::texts(item).map(drop)),
];

const ONE_NODE: &str = "this server is one node; past that, use a nats-server cluster";
const STATIC_USERS: &str = "users and accounts stand in the configuration file";
const LOGS: &str = "logs go to stderr or to log_file";

const UNSUPPORTED: &[(&str, &str)] = &[
    ("cluster", ONE_NODE),
    ("gateway", ONE_NODE),
    ("leaf", ONE_NODE),
    ("leafnodes", ONE_NODE),
    ("client_advertise", ONE_NODE),
    ("mqtt", "only the NATS protocol is spoken"),
    ("operator", STATIC_USERS),
    ("operators", STATIC_USERS),
    ("resolver", STATIC_USERS),
    ("account_resolver", STATIC_USERS),
    ("resolver_preload", STATIC_USERS),
    ("resolver_tls", STATIC_USERS),
    ("resolver_pinned_accounts", STATIC_USERS),
    ("trusted", STATIC_USERS),
    ("trusted_keys", STATIC_USERS),
    ("default_sentinel", STATIC_USERS),
    ("https", "monitoring is served over http; put a proxy in front"),
    (
        "https_port",
        "monitoring is served over http; put a proxy in front",
    ),
    ("http_base_path", "monitoring stands at the root"),
    ("syslog", LOGS),
    ("remote_syslog", LOGS),
    ("logfile_size_limit", LOGS),
    ("log_size_limit", LOGS),
    ("logfile_max_num", LOGS),
    ("log_max_num", LOGS),
    ("prof_port", "there is no profiler inside"),
    ("prof_block_rate", "there is no profiler inside"),
    ("allow_non_tls", "with TLS every client uses it"),
    ("no_header_support", "headers are always there"),
    (
        "no_fast_producer_stall",
        "a publisher always waits for those that do not keep up, for a moment",
    ),
    ("always_enable_nkey_nonce", "a nonce is sent when there are nkeys"),
    ("mappings", "subjects are mapped in streams only"),
    ("maps", "subjects are mapped in streams only"),
    ("msg_trace", "messages are not traced"),
    ("ocsp", "certificates are not stapled"),
    ("ocsp_cache", "certificates are not stapled"),
    ("proxies", "proxies are not trusted with addresses"),
    ("max_closed_clients", "connections that ended are not kept"),
];

const JETSTREAM: &[Directive<Draft>] = &[
    ("enabled", |draft, item| set(&mut draft.has_jetstream, flag(item))),
    ("enable", |draft, item| set(&mut draft.has_jetstream, flag(item))),
    ("store_dir", |draft, item| {
        put(&mut draft.file.config.store_dir, text(item).map(Into::into))
    }),
    ("store", |draft, item| {
        put(&mut draft.file.config.store_dir, text(item).map(Into::into))
    }),
    ("sync_interval", |draft, item| {
        draft.file.config.sync = match text(item).as_deref() {
            Ok(word @ ("always" | "os")) => word.parse().unwrap_or_default(),
            _ => SyncPolicy::Interval(positive(item)?),
        };
        Ok(())
    }),
    ("max_memory_store", |draft, item| {
        bytes(&mut draft.file.config.jetstream.max_memory, item)
    }),
    ("max_mem_store", |draft, item| {
        bytes(&mut draft.file.config.jetstream.max_memory, item)
    }),
    ("max_mem", |draft, item| {
        bytes(&mut draft.file.config.jetstream.max_memory, item)
    }),
    ("max_file_store", |draft, item| {
        bytes(&mut draft.file.config.jetstream.max_storage, item)
    }),
    ("max_file", |draft, item| {
        bytes(&mut draft.file.config.jetstream.max_storage, item)
    }),
    ("strict", |_, item| match flag(item)? {
        true => Ok(()),
        false => Err(Problem::unsupported(
            &item.at,
            "`strict: false` is not supported: requests are always checked",
        )),
    }),
];

const JETSTREAM_UNSUPPORTED: &[(&str, &str)] = &[
    ("domain", "there is one server, and no domain to tell it from"),
    ("key", "streams are not encrypted; use an encrypted file system"),
    (
        "encryption_key",
        "streams are not encrypted; use an encrypted file system",
    ),
    (
        "prev_key",
        "streams are not encrypted; use an encrypted file system",
    ),
    (
        "cipher",
        "streams are not encrypted; use an encrypted file system",
    ),
    ("tpm", "streams are not encrypted; use an encrypted file system"),
    ("unique_tag", ONE_NODE),
    ("extension_hint", ONE_NODE),
    ("max_outstanding_catchup", ONE_NODE),
    ("max_buffered_size", "memory is bounded by max_pending_total"),
    ("max_buffered_msgs", "memory is bounded by max_pending_total"),
    ("request_queue_limit", "requests are taken in order"),
    (
        "limits",
        "streams are limited by their own settings and their account's",
    ),
];

impl Draft {
    pub(super) fn new() -> Draft {
        Draft {
            file: ConfigFile {
                config: Config::new(),
                log_file: None,
                pid_file: None,
                ports_file_dir: None,
                debug: false,
                trace: false,
                warnings: Vec::new(),
            },
            host: None,
            port: None,
            monitoring_host: None,
            monitoring_port: None,
            has_jetstream: false,
            problems: Vec::new(),
        }
    }

    pub(super) fn apply_all(&mut self, entries: &[Entry]) {
        let mut problems = Vec::new();
        apply(entries, TOP, self, UNSUPPORTED, &mut problems);
        self.problems.append(&mut problems);
        access::check(entries, &self.file.config.auth, &mut self.problems);
    }

    /// Puts together what is given in parts.
    pub(super) fn finish(mut self) -> Draft {
        let config = &mut self.file.config;
        let host = self
            .host
            .unwrap_or_else(|| default_host(&config.auth, config.allow_anyone));
        config.listen = SocketAddr::new(host, self.port.unwrap_or(PORT_DEFAULT));
        let monitoring_host = self.monitoring_host.unwrap_or(host);
        config.monitoring = self
            .monitoring_port
            .map(|port| SocketAddr::new(monitoring_host, port));
        config.store_dir = match config.store_dir.take() {
            _ if !self.has_jetstream => None,
            None => Some(STORE_DEFAULT.into()),
            some => some,
        };
        self
    }
}

/// Everywhere, as nats-server, if clients must say who they are; this machine alone, if not.
pub fn default_host(auth: &Auth, allow_anyone: bool) -> IpAddr {
    let ip = if auth.is_required() || allow_anyone {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    };
    IpAddr::V4(ip)
}

fn monitoring(draft: &mut Draft, item: &Item) -> Result<(), Problem> {
    let (host, port) = read::address(item, MONITORING_PORT_DEFAULT)?;
    draft.monitoring_host = host;
    draft.monitoring_port = Some(port);
    Ok(())
}

/// A block, or a flag, or `enabled`.
fn jetstream(draft: &mut Draft, item: &Item) -> Result<(), Problem> {
    if let Ok(entries) = block(item) {
        draft.has_jetstream = true;
        let mut problems = Vec::new();
        apply(entries, JETSTREAM, draft, JETSTREAM_UNSUPPORTED, &mut problems);
        draft.problems.append(&mut problems);
        return Ok(());
    }
    draft.has_jetstream = match text(item).map(|word| word.to_ascii_lowercase()).as_deref() {
        Ok("enabled") => true,
        Ok("disabled") => false,
        _ => flag(item).map_err(|_| read::wrong(item, "true, false, or a block in braces"))?,
    };
    Ok(())
}

pub(super) fn set<T>(field: &mut T, read: Result<T, Problem>) -> Result<(), Problem> {
    *field = read?;
    Ok(())
}

pub(super) fn put<T>(field: &mut Option<T>, read: Result<T, Problem>) -> Result<(), Problem> {
    *field = Some(read?);
    Ok(())
}

/// -1 is without limit.
pub(super) fn bytes(field: &mut Option<u64>, item: &Item) -> Result<(), Problem> {
    let number: i64 = read::number(item, "a size such as 1GB, or -1 for no limit")?;
    *field = u64::try_from(number).ok();
    Ok(())
}

fn many(item: &Item) -> Result<usize, Problem> {
    let number: i64 = read::number(item, "a number, or -1 for no limit")?;
    Ok(usize::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .unwrap_or(usize::MAX))
}

fn none_is_zero(item: &Item) -> Result<usize, Problem> {
    let number: i64 = read::number(item, "a number, or 0 for no limit")?;
    Ok(usize::try_from(number).unwrap_or(0))
}

fn positive(item: &Item) -> Result<std::time::Duration, Problem> {
    let given = duration(item)?;
    if given.is_zero() {
        return Err(read::wrong(item, "a duration above 0"));
    }
    Ok(given)
}

//! `tls` and `websocket`: how connections come in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::directives::{default_host, put, set};
use super::read::{self, Directive, apply, block, duration, flag, text, wrong};
use super::syntax::{Item, Value};
use super::{Draft, Problem};
use crate::config::{HANDSHAKE_FIRST_AUTO, HandshakeFirst, TLS_TIMEOUT, Tls, WebSocket};

#[derive(Default)]
struct TlsDraft {
    cert_file: Option<String>,
    key_file: Option<String>,
    ca_file: Option<String>,
    verify: bool,
    verify_and_map: bool,
    handshake_first: HandshakeFirst,
    timeout: Option<Duration>,
}

const TLS: &[Directive<TlsDraft>] = &[
    ("cert_file", |draft, item| put(&mut draft.cert_file, text(item))),
    ("key_file", |draft, item| put(&mut draft.key_file, text(item))),
    ("ca_file", |draft, item| put(&mut draft.ca_file, text(item))),
    ("verify", |draft, item| set(&mut draft.verify, flag(item))),
    ("verify_and_map", |draft, item| {
        set(&mut draft.verify_and_map, flag(item))
    }),
    ("timeout", |draft, item| put(&mut draft.timeout, duration(item))),
    ("handshake_first", |draft, item| {
        set(&mut draft.handshake_first, handshake_first(item))
    }),
    ("first", |draft, item| {
        set(&mut draft.handshake_first, handshake_first(item))
    }),
    ("immediate", |draft, item| {
        set(&mut draft.handshake_first, handshake_first(item))
    }),
];

const CIPHERS: &str = "rustls offers only what is safe";

const TLS_UNSUPPORTED: &[(&str, &str)] = &[
    ("cipher_suites", CIPHERS),
    ("curve_preferences", CIPHERS),
    ("min_version", CIPHERS),
    ("insecure", "a certificate that is not checked proves nothing"),
    ("verify_cert_and_check_known_urls", "it is for clusters"),
    (
        "connection_rate_limit",
        "connections are limited by max_connections",
    ),
    ("pinned_certs", "use an authority of your own with ca_file"),
    ("certs", "one certificate per listener"),
    ("ocsp_peer", "certificates are not stapled"),
    ("cert_store", "certificates are read from files"),
    ("cert_match_by", "certificates are read from files"),
    ("cert_match", "certificates are read from files"),
];

#[derive(Default)]
struct WebSocketDraft {
    host: Option<IpAddr>,
    port: Option<u16>,
    tls: Option<Tls>,
    no_tls: bool,
    same_origin: bool,
    allowed_origins: Option<Vec<String>>,
    problems: Vec<Problem>,
}

const WEBSOCKET: &[Directive<WebSocketDraft>] = &[
    ("listen", |draft, item| {
        let (host, port) = read::address(item, WEBSOCKET_PORT_DEFAULT)?;
        draft.host = host.or(draft.host);
        draft.port = Some(port);
        Ok(())
    }),
    ("host", |draft, item| put(&mut draft.host, read::host(item))),
    ("net", |draft, item| put(&mut draft.host, read::host(item))),
    ("port", |draft, item| {
        put(&mut draft.port, read::port(item, WEBSOCKET_PORT_DEFAULT))
    }),
    ("tls", |draft, item| {
        put(&mut draft.tls, tls(item, &mut draft.problems))
    }),
    ("no_tls", |draft, item| set(&mut draft.no_tls, flag(item))),
    ("same_origin", |draft, item| {
        set(&mut draft.same_origin, flag(item))
    }),
    ("allowed_origins", |draft, item| {
        put(&mut draft.allowed_origins, read::texts(item))
    }),
    ("allowed_origin", |draft, item| {
        put(&mut draft.allowed_origins, read::texts(item))
    }),
    // Compression is offered by nats-server and never needed; a client that offers it is answered without.
    ("compression", |_, item| flag(item).map(drop)),
];

const COOKIES: &str = "credentials come in CONNECT, not in cookies";

const WEBSOCKET_UNSUPPORTED: &[(&str, &str)] = &[
    ("jwt_cookie", COOKIES),
    ("user_cookie", COOKIES),
    ("pass_cookie", COOKIES),
    ("token_cookie", COOKIES),
    ("advertise", "this server is one node"),
    ("authorization", "users are the same on all listeners"),
    ("no_auth_user", "users are the same on all listeners"),
    ("handshake_timeout", "a handshake has two seconds"),
    ("headers", "answers carry no headers of yours"),
    ("ping_interval", "it is the same on all listeners"),
];

const WEBSOCKET_PORT_DEFAULT: u16 = 443;

pub fn tls(item: &Item, problems: &mut Vec<Problem>) -> Result<Tls, Problem> {
    let mut draft = TlsDraft::default();
    apply(block(item)?, TLS, &mut draft, TLS_UNSUPPORTED, problems);
    let missing = |what: &str| Problem::new(&item.at, format!("tls needs `{what}`"));
    let asks = draft.verify || draft.verify_and_map;
    if asks && draft.ca_file.is_none() {
        return Err(Problem::new(
            &item.at,
            "tls with `verify` needs `ca_file`: whose certificates may clients show?",
        ));
    }
    Ok(Tls {
        cert_file: draft.cert_file.ok_or_else(|| missing("cert_file"))?.into(),
        key_file: draft.key_file.ok_or_else(|| missing("key_file"))?.into(),
        ca_file: draft.ca_file.map(Into::into),
        verify: draft.verify,
        verify_and_map: draft.verify_and_map,
        handshake_first: draft.handshake_first,
        timeout: draft.timeout.unwrap_or(TLS_TIMEOUT),
    })
}

fn handshake_first(item: &Item) -> Result<HandshakeFirst, Problem> {
    match &item.value {
        Value::Bool(true) => Ok(HandshakeFirst::Yes),
        Value::Bool(false) => Ok(HandshakeFirst::No),
        Value::Text(word) if word.eq_ignore_ascii_case("auto") => {
            Ok(HandshakeFirst::Within(HANDSHAKE_FIRST_AUTO))
        }
        _ => duration(item)
            .map(HandshakeFirst::Within)
            .map_err(|_| wrong(item, "true, false, auto, or a duration such as \"300ms\"")),
    }
}

pub fn websocket(draft: &mut Draft, item: &Item) -> Result<(), Problem> {
    let mut given = WebSocketDraft::default();
    apply(
        block(item)?,
        WEBSOCKET,
        &mut given,
        WEBSOCKET_UNSUPPORTED,
        &mut draft.problems,
    );
    draft.problems.append(&mut given.problems);
    let Some(port) = given.port else {
        return Err(Problem::new(&item.at, "websocket needs a `port`"));
    };
    if given.tls.is_none() && !given.no_tls {
        let text = "websocket needs `tls`, or `no_tls: true` where a proxy in front speaks it";
        return Err(Problem::new(&item.at, text));
    }
    let host = given.host.or(draft.host);
    let config = &mut draft.file.config;
    let host = host.unwrap_or_else(|| default_host(&config.auth, config.allow_anyone));
    config.websocket = Some(WebSocket {
        listen: SocketAddr::new(host, port),
        tls: given.tls.filter(|_| !given.no_tls),
        allowed_origins: given.allowed_origins,
        same_origin: given.same_origin,
    });
    Ok(())
}

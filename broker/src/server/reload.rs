//! A new configuration for a server that runs.

use std::sync::{Arc, PoisonError};

use rustls::ServerConfig;
use thiserror::Error;

use super::shared::Shared;
use super::tls::{self, Acceptor, TlsError};
use super::{accounts, maps_certificates};
use crate::config::{Config, Tls};
use crate::session::Realm;

/// Why the old configuration stays in force.
#[derive(Debug, Error)]
pub enum ReloadError {
    #[error("`{0}` can not change while the server runs; restart it")]
    NeedsRestart(&'static str),
    #[error(
        "without users anyone could connect: `allow_anyone` or a restart on 127.0.0.1 would say that this is meant"
    )]
    OpenToAnyone,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

pub fn reload(shared: &Shared, mut config: Config) -> Result<(), ReloadError> {
    let before = shared.config();
    keep_random_ports(&before, &mut config);
    let changed = |what: &'static str, has_changed: bool| match has_changed {
        true => Err(ReloadError::NeedsRestart(what)),
        false => Ok(()),
    };
    changed("listen", before.listen != config.listen)?;
    changed("http", before.monitoring != config.monitoring)?;
    changed("store_dir", before.store_dir != config.store_dir)?;
    changed("sync_interval", before.sync != config.sync)?;
    changed("jetstream", before.jetstream != config.jetstream)?;
    changed("server_name", before.server_name != config.server_name)?;
    changed("tls", before.tls.is_some() != config.tls.is_some())?;
    changed(
        "max_pending_total",
        before.limits.max_pending_total != config.limits.max_pending_total,
    )?;
    let shape = |config: &Config| config.websocket.as_ref().map(|it| (it.listen, it.tls.is_some()));
    changed("websocket", shape(&before) != shape(&config))?;
    changed(
        "accounts",
        accounts::named(&before.auth) != accounts::named(&config.auth),
    )?;
    changed(
        "system_account",
        before.auth.system_account() != config.auth.system_account(),
    )?;
    if !config.auth.is_required() && !config.allow_anyone && !config.listen.ip().is_loopback() {
        return Err(ReloadError::OpenToAnyone);
    }
    let websocket_tls = config
        .websocket
        .as_ref()
        .and_then(|websocket| websocket.tls.as_ref());
    // All is read before anything is replaced.
    let clients = certificates(shared.tls.as_ref(), config.tls.as_ref())?;
    let websocket = certificates(shared.websocket_tls.as_ref(), websocket_tls)?;
    for (acceptor, read) in clients.into_iter().chain(websocket) {
        acceptor.replace(read);
    }
    take_over(shared, config);
    Ok(())
}

/// What a listener with TLS is to show from now on.
fn certificates<'a>(
    acceptor: Option<&'a Acceptor>,
    tls: Option<&Tls>,
) -> Result<Option<(&'a Acceptor, Arc<ServerConfig>)>, TlsError> {
    let both = acceptor.zip(tls);
    both.map(|(acceptor, tls)| Ok((acceptor, tls::read(tls)?)))
        .transpose()
}

fn take_over(shared: &Shared, config: Config) {
    let realm = Realm::new(&config.auth, shared.accounts(), maps_certificates(&config));
    shared.realm.send_replace(Arc::new(realm));
    *shared.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.limits.clone());
    *shared.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    for client in shared.clients() {
        client.recheck.notify_one();
    }
}

/// A port that was to be found still is the one that was found.
fn keep_random_ports(before: &Config, config: &mut Config) {
    if config.listen.port() == 0 {
        config.listen.set_port(before.listen.port());
    }
    if let (Some(monitoring), Some(before)) = (&mut config.monitoring, before.monitoring)
        && monitoring.port() == 0
    {
        monitoring.set_port(before.port());
    }
    if let (Some(websocket), Some(before)) = (&mut config.websocket, &before.websocket)
        && websocket.listen.port() == 0
    {
        websocket.listen.set_port(before.listen.port());
    }
}

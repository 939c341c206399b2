//! What all connections of a server and its monitoring look at.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::watch;

use super::tls::Acceptor;
use crate::config::{Config, Limits, Tls};
use crate::jetstream::JetStream;
use crate::protocol::Info;
use crate::protocol::info::{API_LEVEL, PROTOCOL, VERSION};
use crate::router::{Client, ClientId, Pending};
use crate::session::{Account, Gate, Realm};

#[derive(Debug)]
pub struct Shared {
    pub server_id: String,
    pub server_name: String,
    pub address: SocketAddr,
    pub websocket: Option<SocketAddr>,
    pub monitoring: Option<SocketAddr>,
    pub started: SystemTime,
    pub total_connections: AtomicU64,
    pub slow_consumers: AtomicU64,
    pub stale_connections: AtomicU64,
    /// What connections that have ended had done.
    pub past: crate::router::Traffic,
    pub pending: Arc<Pending>,
    pub(super) realm: watch::Sender<Arc<Realm>>,
    pub(super) gate: Gate,
    pub(super) limits: RwLock<Arc<Limits>>,
    /// As it was read last: what a reload compares with.
    pub(super) config: Mutex<Config>,
    pub(super) tls: Option<Acceptor>,
    pub(super) websocket_tls: Option<Acceptor>,
    pub(super) is_lame_duck: AtomicBool,
    pub(super) clients: Mutex<HashMap<ClientId, Arc<Client>>>,
}

impl Shared {
    pub fn clients(&self) -> Vec<Arc<Client>> {
        let mut clients: Vec<_> = self.lock().values().cloned().collect();
        clients.sort_by_key(|client| client.id);
        clients
    }

    pub fn connection_count(&self) -> usize {
        self.lock().len()
    }

    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn realm(&self) -> Arc<Realm> {
        Arc::clone(&self.realm.borrow())
    }

    pub fn auth_required(&self) -> bool {
        self.realm().is_auth_required()
    }

    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.realm().accounts().to_vec()
    }

    /// The streams of all accounts.
    pub fn jetstreams(&self) -> Vec<JetStream> {
        self.accounts()
            .iter()
            .filter_map(|account| account.jetstream.clone())
            .collect()
    }

    pub fn subscription_count(&self) -> usize {
        self.accounts()
            .iter()
            .map(|account| account.router.subscription_count())
            .sum()
    }

    pub fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn info_for(&self, client: &Client, nonce: Option<String>, tls: Option<&Tls>) -> Info {
        let address = self.address;
        Info {
            server_id: self.server_id.clone(),
            server_name: self.server_name.clone(),
            version: VERSION,
            proto: PROTOCOL,
            host: address.ip().to_string(),
            port: address.port(),
            headers: true,
            auth_required: self.auth_required(),
            tls_required: tls.is_some(),
            tls_verify: tls.is_some_and(Tls::asks_for_certificates),
            max_payload: self.limits().max_payload,
            jetstream: !self.jetstreams().is_empty(),
            client_id: client.id.0,
            client_ip: client.address.ip().to_string(),
            nonce,
            ldm: self.is_lame_duck.load(Ordering::Relaxed),
            connect_info: false,
            remote_account: None,
            acc_is_sys: false,
            api_lvl: API_LEVEL,
        }
    }
}

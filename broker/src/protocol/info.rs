//! INFO: what the server tells about itself. Optional fields are absent, never false or empty.

use serde::Serialize;

/// The nats-server release whose behaviour clients may expect; they gate features on it.
pub const VERSION: &str = "2.14.0";
/// The JetStream API level that goes with [`VERSION`], as ADR-44 counts them.
pub const API_LEVEL: u32 = 2;
/// The newest client protocol: 1 adds INFO after CONNECT.
pub const PROTOCOL: u8 = 1;

#[derive(Debug, Clone, Serialize)]
pub struct Info {
    pub server_id: String,
    pub server_name: String,
    pub version: &'static str,
    pub proto: u8,
    pub host: String,
    pub port: u16,
    pub headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    pub max_payload: usize,
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    pub client_id: u64,
    pub client_ip: String,
    /// What a client with an nkey signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The server is about to stop: go elsewhere.
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    /// Set on the INFO that answers a client's first PING.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_account: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub acc_is_sys: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub api_lvl: u32,
}

impl Info {
    /// The same server, told again to a client whose first PING came in.
    pub fn after_first_ping(&self, account: &str, is_system: bool) -> Info {
        Info {
            connect_info: true,
            remote_account: Some(account.to_owned()),
            acc_is_sys: is_system,
            ..self.clone()
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

//! CONNECT: what a client says about itself. A key that is absent keeps its value; unknown keys are ignored.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ClientError;

/// The options in force on a connection.
#[derive(Clone)]
pub struct Connect {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub user: Option<String>,
    pub pass: Option<String>,
    pub auth_token: Option<String>,
    pub nkey: Option<String>,
    pub sig: Option<String>,
    pub jwt: Option<String>,
    pub name: Option<String>,
    pub lang: Option<String>,
    pub version: Option<String>,
}

impl std::fmt::Debug for Connect {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("lang", &self.lang)
            .finish_non_exhaustive()
    }
}

/// nats-server seeds these three with true before it reads the JSON.
impl Default for Connect {
    fn default() -> Connect {
        Connect {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            user: None,
            pass: None,
            auth_token: None,
            nkey: None,
            sig: None,
            jwt: None,
            name: None,
            lang: None,
            version: None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Given {
    verbose: Option<bool>,
    pedantic: Option<bool>,
    echo: Option<bool>,
    headers: Option<bool>,
    no_responders: Option<bool>,
    protocol: Option<i64>,
    user: Option<String>,
    pass: Option<String>,
    auth_token: Option<String>,
    nkey: Option<String>,
    sig: Option<String>,
    jwt: Option<String>,
    name: Option<String>,
    lang: Option<String>,
    version: Option<String>,
    account: Option<String>,
}

impl Connect {
    /// Lays what `json` gives over the options in force.
    pub fn update(&mut self, json: &[u8]) -> Result<(), ClientError> {
        let given = Given::read(json)?;
        set(&mut self.verbose, given.verbose);
        set(&mut self.pedantic, given.pedantic);
        set(&mut self.echo, given.echo);
        set(&mut self.headers, given.headers);
        set(&mut self.no_responders, given.no_responders);
        set(&mut self.protocol, given.protocol);
        set_some(&mut self.user, given.user);
        set_some(&mut self.pass, given.pass);
        set_some(&mut self.auth_token, given.auth_token);
        set_some(&mut self.nkey, given.nkey);
        set_some(&mut self.sig, given.sig);
        // An empty one is none: clients of accounts without operators send it so.
        set_some(&mut self.jwt, given.jwt.filter(|jwt| !jwt.is_empty()));
        set_some(&mut self.name, given.name);
        set_some(&mut self.lang, given.lang);
        set_some(&mut self.version, given.version);
        if !(0..=1).contains(&self.protocol) {
            return Err(ClientError::InvalidProtocol);
        }
        if self.no_responders && !self.headers {
            return Err(ClientError::NoRespondersNeedsHeaders);
        }
        // Accounts are made in the configuration file, not by whoever names one.
        if given.account.is_some_and(|account| !account.is_empty()) {
            return Err(ClientError::Authorization);
        }
        Ok(())
    }
}

impl Given {
    /// As Go reads JSON: `null` is nothing, keys are in any case, and of equal ones the last counts.
    fn read(json: &[u8]) -> Result<Given, ClientError> {
        let given: Option<Map<String, Value>> =
            serde_json::from_slice(json).map_err(|_| ClientError::Malformed)?;
        let fields = given.into_iter().flatten();
        let fields = fields
            .map(|(key, value)| (key.to_ascii_lowercase(), value))
            .collect();
        Given::deserialize(Value::Object(fields)).map_err(|_| ClientError::Malformed)
    }
}

fn set<T>(current: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *current = value;
    }
}

fn set_some<T>(current: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *current = given;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_keep_their_value() {
        let mut connect = Connect::default();
        connect
            .update(br#"{"verbose":false,"lang":"x","unheard_of":[1]}"#)
            .unwrap();
        assert!(!connect.verbose && connect.pedantic && connect.echo);
        connect
            .update(br#"{"headers":true,"no_responders":true}"#)
            .unwrap();
        assert!(!connect.verbose && connect.headers);
        assert_eq!(connect.lang.as_deref(), Some("x"));
    }

    #[test]
    fn refusals() {
        let check = |json: &str, expect: ClientError| {
            assert_eq!(Connect::default().update(json.as_bytes()), Err(expect), "{json}");
        };
        check("", ClientError::Malformed);
        check("[]", ClientError::Malformed);
        check(r#"{"verbose":"yes"}"#, ClientError::Malformed);
        check(r#"{"protocol":2}"#, ClientError::InvalidProtocol);
        check(r#"{"account":"A"}"#, ClientError::Authorization);
        check(r#"{"no_responders":true}"#, ClientError::NoRespondersNeedsHeaders);
    }
}

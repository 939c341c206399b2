//! What a worker process is told from outside: where broker and database are, and how long to drain.

use std::env::{self, VarError};
use std::net::SocketAddr;
use std::time::Duration;

/// The broker that postroom looks for by default.
pub const DEFAULT_NATS_URL: &str = "nats://127.0.0.1:4222";
/// The database that postroom keeps by default.
pub const DEFAULT_DATABASE_URL: &str = "sqlite:postroom-data/postroom.db";
/// Long enough for a handler at its default timeout; shorter than the 90 s after which service managers kill.
const DEFAULT_DRAIN: Duration = Duration::from_secs(35);
/// Long enough to find out next month what was done about a letter.
const DEFAULT_DLQ_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The settings of an [`App`](crate::App).
#[derive(Clone)]
pub struct Settings {
    /// The broker: `nats://host:4222`, several with commas. `NATS_URL`.
    pub nats_url: String,
    /// The database: `sqlite:PATH` or `postgres://…`. `DATABASE_URL`.
    pub database_url: String,
    /// Where to serve `/live`, `/ready` and `/metrics`; nowhere by default. `POSTROOM_HTTP`.
    pub http: Option<SocketAddr>,
    /// How long handlers may finish after a stop signal; then they are cut off and their messages put back.
    /// `POSTROOM_DRAIN`, such as `35s`.
    pub drain: Duration,
    /// How long a dead letter stays after it was replayed with success or discarded; `None`: for ever. Those that wait for a
    /// person always stay. `POSTROOM_DLQ_RETENTION`, such as `90d`, or `never`.
    pub dlq_retention: Option<Duration>,
}

/// An environment variable that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{value}`: {right}")]
pub struct SettingsError {
    /// The variable.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
    /// What would be right.
    pub right: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nats_url: DEFAULT_NATS_URL.to_owned(),
            database_url: DEFAULT_DATABASE_URL.to_owned(),
            http: None,
            drain: DEFAULT_DRAIN,
            dlq_retention: Some(DEFAULT_DLQ_RETENTION),
        }
    }
}

impl Settings {
    /// The defaults, overruled by the environment.
    ///
    /// # Errors
    /// Names the variable, its value, and what would be right.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_variables(|name| match env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        })
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        if let Some(url) = variable("NATS_URL") {
            settings.nats_url = url;
        }
        if let Some(url) = variable("DATABASE_URL") {
            settings.database_url = url;
        }
        if let Some(value) = variable("POSTROOM_HTTP") {
            let right = "give an address and port, such as `127.0.0.1:9090`";
            let address = value.parse().map_err(|_| SettingsError {
                variable: "POSTROOM_HTTP",
                value,
                right,
            })?;
            settings.http = Some(address);
        }
        if let Some(value) = variable("POSTROOM_DRAIN") {
            let right = "give a duration, such as `35s`";
            settings.drain = humantime::parse_duration(&value).map_err(|_| SettingsError {
                variable: "POSTROOM_DRAIN",
                value,
                right,
            })?;
        }
        if let Some(value) = variable("POSTROOM_DLQ_RETENTION") {
            let right = "give an age, such as `90d`, or `never`";
            settings.dlq_retention = parse_retention(&value).map_err(|_| SettingsError {
                variable: "POSTROOM_DLQ_RETENTION",
                value,
                right,
            })?;
        }
        Ok(settings)
    }
}

/// Reads how long something is kept: an age such as `90d`, or `never` for never forgetting it, which gives `None`.
///
/// # Errors
/// When it is neither.
pub fn parse_retention(text: &str) -> Result<Option<Duration>, humantime::DurationError> {
    match text {
        "never" => Ok(None),
        age => humantime::parse_duration(age).map(Some),
    }
}

/// Without credentials.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("nats_url", &crate::store::redacted(&self.nats_url))
            .field("database_url", &crate::store::redacted(&self.database_url))
            .field("http", &self.http)
            .field("drain", &self.drain)
            .field("dlq_retention", &self.dlq_retention)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<Settings, SettingsError> {
        Settings::from_variables(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn each_variable_is_read_and_a_wrong_one_is_named() {
        assert_eq!(
            with("NATS_URL", "nats://b:1").expect("a URL").nats_url,
            "nats://b:1"
        );
        assert_eq!(
            with("POSTROOM_DRAIN", "2m").expect("a duration").drain,
            Duration::from_secs(120)
        );
        let retention = |value| with("POSTROOM_DLQ_RETENTION", value).map(|settings| settings.dlq_retention);
        assert_eq!(retention("never"), Ok(None));
        assert_eq!(retention("1d"), Ok(Some(Duration::from_secs(86_400))));
        assert_eq!(
            Settings::default().dlq_retention,
            Some(Duration::from_secs(30 * 86_400))
        );
        assert_eq!(
            retention("long").expect_err("no age").to_string(),
            "POSTROOM_DLQ_RETENTION is `long`: give an age, such as `90d`, or `never`"
        );
        let wrong = with("POSTROOM_HTTP", "9090").expect_err("no address").to_string();
        assert_eq!(
            wrong,
            "POSTROOM_HTTP is `9090`: give an address and port, such as `127.0.0.1:9090`"
        );
        assert!(
            with("POSTROOM_DRAIN", "soon")
                .expect_err("no duration")
                .to_string()
                .contains("POSTROOM_DRAIN is `soon`")
        );
    }

    #[test]
    fn credentials_do_not_show() {
        let settings = Settings {
            nats_url: "nats://ann:s3cret@h:4222".into(),
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}

//! One request to a token server (RFC 6749): a form there, a token back. The only file that speaks HTTP to it.

use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::provider::{OAuth, TokenUrl};
use crate::config::Secret;
use crate::tls::{Dialer, TlsError};

/// Connecting, asking and reading together.
const DEADLINE: Duration = Duration::from_secs(30);
/// Tokens are a few kilobytes at most.
const MAX_ANSWER: usize = 64 * 1024;
/// RFC 6749 recommends `expires_in`; a server that leaves it out is asked again soon.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// What a server says about itself is cut to this for people.
const MAX_SHOWN: usize = 300;

/// No token could be had.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// Nobody has signed in yet.
    #[error(
        "account `{account}` has no refresh token; run `postroom login {account}`, or give refresh_token_env in [accounts.oauth]"
    )]
    NotSignedIn { account: String },
    /// The token server will not have this client or this refresh token any more.
    #[error(
        "the token server {host} refuses ({error}); run `postroom login ACCOUNT` to sign in again, and check client_id and client_secret"
    )]
    Refused { host: String, error: String },
    /// The token server is in trouble of its own.
    #[error("the token server {host} has trouble: {what}")]
    Trouble { host: String, what: String },
    #[error(transparent)]
    Connect(#[from] TlsError),
    #[error("the token server {host} took longer than {DEADLINE:?}")]
    Slow { host: String },
}

impl OAuthError {
    /// Only a person can mend it: asking again does not help.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotSignedIn { .. })
    }
}

/// What a token server gave.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) access_token: Secret,
    pub(super) lifetime: Duration,
    /// A new one, which takes the place of the one that was used.
    pub(super) refresh_token: Option<Secret>,
}

/// A new access token for a refresh token.
pub(super) async fn refresh(
    dialer: &Dialer,
    oauth: &OAuth,
    refresh_token: &Secret,
) -> Result<Given, OAuthError> {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token.expose()),
    ];
    ask(dialer, oauth, &form, oauth.provider.scope.as_deref()).await
}

/// The first tokens, for the code that a browser brought back.
pub(super) async fn redeem(
    dialer: &Dialer,
    oauth: &OAuth,
    code: &str,
    redirect: &str,
    verifier: &str,
) -> Result<Given, OAuthError> {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect),
        ("code_verifier", verifier),
    ];
    ask(dialer, oauth, &form, None).await
}

async fn ask(
    dialer: &Dialer,
    oauth: &OAuth,
    form: &[(&str, &str)],
    scope: Option<&str>,
) -> Result<Given, OAuthError> {
    let url = &oauth.provider.token_url;
    let posted = tokio::time::timeout(DEADLINE, post(dialer, url, encoded(oauth, form, scope))).await;
    let (status, answer) = posted.map_err(|_| OAuthError::Slow {
        host: url.authority(),
    })??;
    read(&url.authority(), status, &answer)
}

fn encoded(oauth: &OAuth, form: &[(&str, &str)], scope: Option<&str>) -> String {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form).append_pair("client_id", &oauth.client_id);
    if let Some(secret) = &oauth.client_secret {
        body.append_pair("client_secret", secret.expose());
    }
    if let Some(scope) = scope {
        body.append_pair("scope", scope);
    }
    body.finish()
}

async fn post(dialer: &Dialer, url: &TokenUrl, form: String) -> Result<(StatusCode, Bytes), OAuthError> {
    let trouble = |what: String| OAuthError::Trouble {
        host: url.authority(),
        what,
    };
    let stream = dialer.connect(&url.endpoint).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| trouble(error.to_string()))?;
    let request = Request::post(&url.path)
        .header("host", url.authority())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| trouble(error.to_string()))?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| trouble(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| trouble(format!("its answer cannot be read: {error}")))?;
        Ok((status, body.to_bytes()))
    };
    // The connection moves the bytes, and may end just before the last of them are taken.
    let mut exchange = pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}

/// The members that matter, of success and of failure.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    /// Some servers write the number in quotes.
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

fn read(host: &str, status: StatusCode, body: &[u8]) -> Result<Given, OAuthError> {
    /// RFC 6749 section 5.2, and what servers say when they are not themselves.
    const PASSING: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];
    let trouble = |what: String| OAuthError::Trouble {
        host: host.to_owned(),
        what,
    };
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    if let (true, Some(token)) = (
        status.is_success(),
        answer.access_token.filter(|token| !token.is_empty()),
    ) {
        return Ok(Given {
            access_token: Secret::new(token),
            lifetime: answer
                .expires_in
                .as_ref()
                .and_then(seconds)
                .unwrap_or(DEFAULT_LIFETIME),
            refresh_token: answer
                .refresh_token
                .filter(|token| !token.is_empty())
                .map(Secret::new),
        });
    }
    let Some(error) = answer.error else {
        return Err(trouble(format!("it answers {status} without a token")));
    };
    let said = match answer.error_description {
        Some(description) => format!("{error}: {description}"),
        None => error.clone(),
    };
    let said: String = said.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || PASSING.contains(&&*error) {
        true => Err(trouble(said)),
        false => Err(OAuthError::Refused {
            host: host.to_owned(),
            error: said,
        }),
    }
}

fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_servers() {
        let given = |body: &str| read("id.example", StatusCode::OK, body.as_bytes()).unwrap();
        let token =
            given(r#"{"access_token":"a","expires_in":3599,"refresh_token":"r","token_type":"Bearer"}"#);
        assert_eq!(token.access_token.expose(), "a");
        assert_eq!(token.lifetime, Duration::from_secs(3599));
        assert_eq!(token.refresh_token.unwrap().expose(), "r");
        assert_eq!(
            given(r#"{"access_token":"a","expires_in":"60"}"#).lifetime,
            Duration::from_secs(60)
        );
        assert_eq!(given(r#"{"access_token":"a"}"#).lifetime, DEFAULT_LIFETIME);
    }

    #[test]
    fn refusals_and_trouble_are_told_apart() {
        let check = |status: u16, body: &str, is_refused: bool, says: &str| {
            let error = read(
                "id.example",
                StatusCode::from_u16(status).unwrap(),
                body.as_bytes(),
            )
            .unwrap_err();
            assert_eq!(error.is_refused(), is_refused, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let expired =
            r#"{"error":"invalid_grant","error_description":"Token has been\r\n expired or revoked."}"#;
        check(
            400,
            expired,
            true,
            "invalid_grant: Token has been expired or revoked.",
        );
        check(401, r#"{"error":"invalid_client"}"#, true, "invalid_client");
        check(
            503,
            r#"{"error":"temporarily_unavailable"}"#,
            false,
            "temporarily",
        );
        check(429, r#"{"error":"invalid_request"}"#, false, "invalid_request");
        check(502, "<html>Bad Gateway", false, "502");
        check(200, "{}", false, "without a token");
        check(200, r#"{"access_token":""}"#, false, "without a token");
    }
}

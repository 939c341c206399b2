//! The one time that a person is asked: the authorization code flow with PKCE (RFC 6749, 7636, 8252), which ends at a
//! port of this machine.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::exchange::{self, OAuthError};
use super::provider::OAuth;
use crate::config::Secret;
use crate::tls::Dialer;

/// The browser brought back no sign-in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error(
        "no sign-in page is known for this token_url; add sign_in_url = \"https://…\" to [accounts.oauth]"
    )]
    NoPage,
    #[error("port {port} of this machine can't be used for the way back; give another with --port")]
    Port {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("the sign-in was refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Exchange(#[from] OAuthError),
    #[error(
        "the provider gave no refresh token; allow offline access for this client there, and sign in again"
    )]
    NoRefreshToken,
}

/// A sign-in that waits for the browser.
#[derive(Debug)]
pub struct SignIn {
    listener: TcpListener,
    redirect: String,
    state: String,
    verifier: String,
    /// To be opened in a browser on this machine.
    pub url: String,
}

impl SignIn {
    /// Opens the way back, at this port or at a free one (0).
    ///
    /// # Errors
    /// When the provider has no sign-in page, or the port can't be used.
    pub async fn begin(oauth: &OAuth, user: &str, port: u16) -> Result<Self, SignInError> {
        let page = oauth.provider.sign_in_url.as_ref().ok_or(SignInError::NoPage)?;
        let taken = |source| SignInError::Port { port, source };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let port = listener.local_addr().map_err(taken)?.port();
        // Microsoft takes any port of `localhost` where this redirect is registered, and of 127.0.0.1 none.
        let redirect = format!("http://localhost:{port}");
        let (state, verifier) = (unguessable(), unguessable());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &oauth.client_id),
            ("redirect_uri", &redirect),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", user),
        ]);
        if let Some(scope) = &oauth.provider.scope {
            query.append_pair("scope", scope);
        }
        query.extend_pairs(oauth.provider.sign_in_extras);
        let separator = if page.contains('?') { '&' } else { '?' };
        let url = format!("{page}{separator}{}", query.finish());
        Ok(Self {
            listener,
            redirect,
            state,
            verifier,
            url,
        })
    }

    /// Waits for the browser, and redeems what it brings. Gives the refresh token.
    ///
    /// # Errors
    /// When the person or the provider refuses.
    pub async fn finish(self, oauth: &OAuth, dialer: &Dialer) -> Result<Secret, SignInError> {
        let (sender, mut receiver) = mpsc::channel(1);
        let asked = Asked {
            state: self.state.clone(),
            sender,
        };
        let router = axum::Router::new().route("/", get(answer)).with_state(asked);
        let stop = tokio_util::sync::CancellationToken::new();
        let serving =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(async move { serving.await });
        let code = receiver.recv().await;
        // The browser still gets its page.
        stop.cancel();
        let _ = serving.await;
        let code = code.unwrap_or_else(|| Err("the way back was closed".to_owned()));
        let code = code.map_err(SignInError::Refused)?;
        let given = exchange::redeem(dialer, oauth, &code, &self.redirect, &self.verifier).await?;
        given.refresh_token.ok_or(SignInError::NoRefreshToken)
    }
}

#[derive(Clone)]
struct Asked {
    state: String,
    sender: mpsc::Sender<Result<String, String>>,
}

async fn answer(
    State(asked): State<Asked>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, &'static str) {
    // Any page in the browser can call this port; only the provider knows the state.
    if query.get("state") != Some(&asked.state) {
        return (
            StatusCode::BAD_REQUEST,
            "This is no answer to the question that postroom asked.",
        );
    }
    let (outcome, page) = match (query.get("code"), query.get("error")) {
        (Some(code), None) => (
            Ok(code.clone()),
            "Signed in. You can close this page; postroom goes on by itself.",
        ),
        (_, Some(error)) => {
            let description = query.get("error_description").unwrap_or(error);
            (
                Err(description.clone()),
                "Not signed in. postroom says more in its terminal.",
            )
        }
        (None, None) => return (StatusCode::BAD_REQUEST, "The answer holds no code."),
    };
    // Full: the browser asked twice, and the first answer counts.
    let _ = asked.sender.try_send(outcome);
    (StatusCode::OK, page)
}

/// 244 random bits, in the letters that RFC 7636 allows.
fn unguessable() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

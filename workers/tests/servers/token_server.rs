//! A token server (RFC 6749) whose tokens the tests' Dovecot takes: JWTs by a key that both know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const KEY: &[u8] = b"a key that only the token server and Dovecot know";

/// What comes of a request for a token.
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    /// A token that is said to be good for `expires_in` seconds, and that Dovecot takes for `valid` seconds.
    Token { expires_in: u64, valid: i64 },
    /// The refresh token is over.
    Refuse,
    /// 503.
    Away,
}

#[derive(Debug)]
pub(crate) struct TokenServer {
    pub(crate) url: String,
    state: Arc<Mutex<Book>>,
}

#[derive(Debug)]
struct Book {
    user: String,
    /// What is answered, in order; the last one for ever.
    grants: Vec<Grant>,
    /// Each good once; `refresh-1` is the first.
    rotates: bool,
    asked: Vec<HashMap<String, String>>,
}

impl TokenServer {
    /// The key as Dovecot reads it.
    pub(crate) fn shared_key() -> String {
        STANDARD.encode(KEY)
    }

    /// Gives out tokens for this user.
    pub(crate) async fn start(user: &str, grants: Vec<Grant>, rotates: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
        let state = Arc::new(Mutex::new(Book {
            user: user.to_owned(),
            grants,
            rotates,
            asked: Vec::new(),
        }));
        let router = Router::new()
            .route("/token", post(token))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// The forms that were posted.
    pub(crate) fn asked(&self) -> Vec<HashMap<String, String>> {
        self.state.lock().expect("no test panics with it").asked.clone()
    }
}

async fn token(
    State(book): State<Arc<Mutex<Book>>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let mut book = book.lock().expect("no test panics with it");
    let refused = || {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({ "error": "invalid_grant", "error_description": "it is over" })),
        )
    };
    let expected = format!("refresh-{}", if book.rotates { book.asked.len() + 1 } else { 1 });
    let is_good = form.get("refresh_token").is_none_or(|given| *given == expected);
    book.asked.push(form);
    if !is_good {
        return refused();
    }
    let grant = match book.grants.len() {
        1 => book.grants[0].clone(),
        _ => book.grants.remove(0),
    };
    match grant {
        Grant::Refuse => refused(),
        Grant::Away => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "error": "server_error" })),
        ),
        Grant::Token { expires_in, valid } => {
            let mut answer = json!({
                "access_token": jwt(&book.user, valid), "expires_in": expires_in, "token_type": "Bearer",
            });
            if book.rotates {
                answer["refresh_token"] = json!(format!("refresh-{}", book.asked.len() + 1));
            }
            (StatusCode::OK, Json(answer))
        }
    }
}

fn jwt(user: &str, valid: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let now = i64::try_from(now).expect("it is before the year 292 billion");
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let claims = part(json!({
        "iss": "https://issuer.test", "sub": user, "email": user, "iat": now - 3600, "exp": now + valid,
    }));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY);
    let signature = ring::hmac::sign(&key, format!("{head}.{claims}").as_bytes());
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}

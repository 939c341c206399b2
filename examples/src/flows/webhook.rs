//! Forwards each mail to a webhook, signed, and tried again until it is taken.
//!
//! The receiver computes the HMAC-SHA256 of the body with the secret that both know, and compares it with `X-Signature`.
//! Since a call whose answer was lost is made again, `X-Event-Id` says which event it is.

use std::sync::{Arc, Mutex};

use axum::body::Bytes as Body;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postroom::{App, Cx, Handle, Handler, HandlerError};
use postroom_workers::messages::NewMail;
use ring::hmac;
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{AnyError, Stage};

#[derive(Handler)]
#[handler(on = NewMail, id = "webhook", idempotent(key = [event_id], ttl = "30d"), retry(max = 20, backoff = "100ms..1h"))]
struct Webhook {
    /// Host and port; put a proxy that speaks TLS in between, or use a client that does.
    host: String,
    key: hmac::Key,
}

#[derive(Debug, thiserror::Error, HandlerError)]
enum WebhookError {
    #[error("the webhook can't be reached: {0}")]
    #[on(retry)]
    Away(String),
    #[error("the webhook answered {0}")]
    #[on(retry)]
    Refused(StatusCode),
    #[error("the call could not be made: {0}")]
    #[on(dead_letter)]
    Call(String),
}

impl Handle<NewMail> for Webhook {
    type Error = WebhookError;

    async fn handle(&self, mail: NewMail, _: &mut Cx<'_>) -> Result<(), WebhookError> {
        let body = serde_json::to_vec(&mail).map_err(|error| WebhookError::Call(error.to_string()))?;
        let call = hyper::Request::post("/mail")
            .header("host", &self.host)
            .header("connection", "close")
            .header("content-type", "application/json")
            .header("x-event-id", mail.event_id.to_string())
            .header("x-signature", hex(hmac::sign(&self.key, &body).as_ref()))
            .body(Full::<Bytes>::from(body))
            .map_err(|error| WebhookError::Call(error.to_string()))?;
        let status = post(&self.host, call)
            .await
            .map_err(|error| WebhookError::Away(error.to_string()))?;
        if status.is_success() {
            Ok(())
        } else {
            Err(WebhookError::Refused(status))
        }
    }
}

async fn post(host: &str, call: hyper::Request<Full<Bytes>>) -> Result<StatusCode, AnyError> {
    let stream = TokioIo::new(TcpStream::connect(host).await?);
    let (mut client, connection) = http1::handshake(stream).await?;
    let (answer, _) = tokio::join!(client.send_request(call), connection);
    Ok(answer?.status())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives what the receiver took, which is out of order at first.
pub async fn play() -> Result<Vec<String>, AnyError> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret that both sides know");
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let (heard, expected) = (Arc::clone(&calls), key.clone());
    let receive = move |headers: HeaderMap, body: Body| async move {
        let told = headers
            .get("x-signature")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let is_ours = told == Some(hex(hmac::sign(&expected, &body).as_ref()));
        let Ok(mut heard) = heard.lock() else {
            return StatusCode::INTERNAL_SERVER_ERROR;
        };
        let status = match (is_ours, heard.is_empty()) {
            (false, _) => StatusCode::UNAUTHORIZED,
            (true, true) => StatusCode::SERVICE_UNAVAILABLE,
            (true, false) => StatusCode::OK,
        };
        let subject = serde_json::from_slice::<NewMail>(&body)
            .map(|mail| mail.subject)
            .unwrap_or_default();
        heard.push(format!("{status}: {subject}"));
        status
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let server = axum::serve(
        listener,
        axum::Router::new().route("/mail", axum::routing::post(receive)),
    );
    let server = tokio::spawn(server.into_future());

    let play = Stage::set("", &[])
        .await?
        .play(|app: App| app.handler(Webhook { host, key }))
        .await?;
    play.arrives("Ada <ada@mail.example>", "My order", "", "Where is it?")
        .await?;
    let told = || calls.lock().map(|calls| calls.clone()).unwrap_or_default();
    play.until(async || Ok(told().len() >= 2)).await?;
    play.end().await?;
    server.abort();
    Ok(told())
}

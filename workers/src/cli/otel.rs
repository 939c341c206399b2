//! Deliveries as spans of OpenTelemetry, by OTLP over HTTP, where the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and
//! the others) say. Where neither endpoint is given, nothing is exported.

use std::io;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::tls::{Dialer, Endpoint, Security, TlsError};

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const SERVICE_NAME: &str = "postroom";
/// Connecting, sending and reading together: OTLP's own default.
const DEADLINE: Duration = Duration::from_secs(10);
/// A collector says how many spans it refused, and why.
const MAX_ANSWER: usize = 64 * 1024;

/// Flushed at the end of the process.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Spans can't be exported as the variables say.
#[derive(Debug, thiserror::Error)]
pub(super) enum OtelError {
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Hands spans to the exporter; `None` where nothing says where to send them.
pub(super) fn layer<S>() -> Result<Option<OpenTelemetryLayer<S, SdkTracer>>, OtelError>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let is = |name, wanted: &str| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(wanted));
    let unwanted = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    if unwanted || !ENDPOINTS.iter().any(is_set) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new()?)
        .build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let tracer = PROVIDER.get_or_init(|| provider).tracer("postroom");
    Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer)))
}

/// Sends what has not been sent.
pub(super) async fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // It waits for its own thread.
        let done = tokio::task::spawn_blocking(|| provider.shutdown()).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or our own name.
fn resource() -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok()
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|list| list.contains("service.name="));
    let resource = Resource::builder();
    if named {
        resource.build()
    } else {
        resource.with_service_name(SERVICE_NAME).build()
    }
}

/// Sends requests by our own TLS. The exporter's thread has no runtime, so this brings one.
#[derive(Debug, Clone)]
struct Client {
    dialer: Dialer,
    runtime: Handle,
}

impl Client {
    fn new() -> Result<Self, TlsError> {
        Ok(Self {
            dialer: Dialer::new(None)?,
            runtime: Handle::current(),
        })
    }
}

type Answered<'f> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>;

// What `async_trait` makes of the trait, written out.
impl HttpClient for Client {
    fn send_bytes<'s, 'f>(&'s self, request: Request<Bytes>) -> Answered<'f>
    where
        's: 'f,
        Self: 'f,
    {
        let dialer = self.dialer.clone();
        let sent = self
            .runtime
            .spawn(async move { tokio::time::timeout(DEADLINE, post(&dialer, request)).await });
        Box::pin(async move { sent.await?? })
    }
}

async fn post(dialer: &Dialer, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let (endpoint, path) = place(&parts.uri)?;
    let host = format!("{}:{}", endpoint.host, endpoint.port);
    parts.headers.insert(HOST, HeaderValue::from_str(&host)?);
    parts.uri = path;
    let stream = dialer.connect(&endpoint).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let request = Request::from_parts(parts, Full::new(body));
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    };
    // The connection moves the bytes, and may end just before the last of them are taken.
    let mut exchange = pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}

/// Where to connect to, and what to ask for there.
fn place(uri: &Uri) -> Result<(Endpoint, Uri), HttpError> {
    let (security, default_port) = match uri.scheme_str() {
        Some("https") => (Security::Tls, 443),
        _ => (Security::None, 80),
    };
    let host = uri
        .host()
        .ok_or_else(|| io::Error::other(format!("`{uri}` names no host")))?;
    let endpoint = Endpoint {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(default_port),
        security,
    };
    let path = uri.path_and_query().cloned();
    Ok((endpoint, path.map_or_else(Uri::default, Uri::from)))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use opentelemetry::trace::{Span, Tracer};
    use opentelemetry_otlp::WithExportConfig;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn spans_arrive_at_a_collector() {
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let collect = post(move |headers: HeaderMap, body: Bytes| async move {
            let _ = arrived.send((headers, body));
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let server = axum::serve(listener, Router::new().route("/v1/traces", collect));
        tokio::spawn(server.into_future());

        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new().unwrap())
            .with_endpoint(endpoint)
            .build()
            .unwrap();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        provider.tracer("postroom").start("delivery").end();
        tokio::task::spawn_blocking(move || provider.shutdown())
            .await
            .unwrap()
            .unwrap();

        let (headers, body) = arrivals.recv().await.unwrap();
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let has = |text: &str| body.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(has("delivery") && has(SERVICE_NAME), "{body:?}");
    }

    #[test]
    fn an_endpoint_is_read_as_it_stands() {
        let check = |uri: &str, host: &str, port, path: &str| {
            let (endpoint, rest) = place(&uri.parse().unwrap()).unwrap();
            assert_eq!(
                (endpoint.host.as_str(), endpoint.port, rest.to_string().as_str()),
                (host, port, path)
            );
        };
        check("http://127.0.0.1:4318/v1/traces", "127.0.0.1", 4318, "/v1/traces");
        check(
            "https://otel.example/v1/traces?a=b",
            "otel.example",
            443,
            "/v1/traces?a=b",
        );
        check("http://[::1]/v1/traces", "::1", 80, "/v1/traces");
        assert!(place(&"/v1/traces".parse().unwrap()).is_err());
    }
}

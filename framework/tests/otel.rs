//! Spans of deliveries as OpenTelemetry gets them: one trace, through every handler and message.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use postroom::testing::Kit;
use postroom::{Cx, CxError, Handle, Handler, Message};
use serde::{Deserialize, Serialize};
use tracing_subscriber::prelude::*;

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "mails.new", id = "mails.new.v1")]
struct Mail {
    id: u32,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "mails.answered", id = "mails.answered.v1")]
struct Answer {
    id: u32,
}

#[derive(Debug, Serialize, Deserialize, Message)]
#[message(subject = "mails.filed", id = "mails.filed.v1")]
struct Filed {
    id: u32,
}

#[derive(Handler)]
#[handler(on = Mail, id = "answer", idempotent(key = [id], ttl = "7d"))]
struct Responder;

impl Handle<Mail> for Responder {
    type Error = CxError;

    async fn handle(&self, mail: Mail, cx: &mut Cx<'_>) -> Result<(), CxError> {
        cx.publish(&Answer { id: mail.id }).await
    }
}

#[derive(Handler)]
#[handler(on = Answer, id = "file", idempotent(key = [id], ttl = "7d"))]
struct Filer;

impl Handle<Answer> for Filer {
    type Error = CxError;

    async fn handle(&self, answer: Answer, cx: &mut Cx<'_>) -> Result<(), CxError> {
        cx.publish(&Filed { id: answer.id }).await
    }
}

/// The span of a delivery to `handler`.
fn delivery<'s>(spans: &'s [SpanData], handler: &str) -> &'s SpanData {
    let is_its = |span: &&SpanData| {
        let said = span.attributes.iter().find(|said| said.key.as_str() == "handler");
        span.name == "delivery" && said.is_some_and(|said| said.value.as_str() == handler)
    };
    spans.iter().find(is_its).expect("a span of that handler")
}

#[tokio::test]
async fn one_trace_goes_through_publish_and_handle_and_publish_and_handle() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
        .init();

    let kit = Kit::start(|app| app.handler(Responder).handler(Filer)).await;
    kit.deliver(&Mail { id: 1 }).await;
    kit.advance(Duration::from_secs(1)).await;
    kit.assert_effects(2);
    drop(kit);

    let spans = exporter.get_finished_spans().expect("the spans");
    let (first, second) = (delivery(&spans, "answer"), delivery(&spans, "file"));
    assert_eq!(
        first.span_context.trace_id(),
        second.span_context.trace_id(),
        "one trace"
    );
    assert_eq!(
        second.parent_span_id,
        first.span_context.span_id(),
        "the second descends from the first"
    );
    assert!(second.parent_span_is_remote, "by way of the message");
}

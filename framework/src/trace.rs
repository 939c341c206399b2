//! W3C trace context (<https://www.w3.org/TR/trace-context/>): taken from a message's headers, carried on by everything
//! that comes of it.
//!
//! A message that carries none begins a trace of its own, whose id is made of the message's place in its stream. So all
//! attempts and all handlers of one message are in one trace, in whatever process they run.
//!
//! With the feature `otel`, a delivery's span is OpenTelemetry's, too, where the app has a layer of `tracing-opentelemetry`:
//!
//! ```
//! # #[cfg(feature = "otel")]
//! # {
//! use opentelemetry::trace::TracerProvider;
//! use tracing_subscriber::prelude::*;
//!
//! // With an exporter of your choice.
//! let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
//! tracing_subscriber::registry()
//!     .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("my-worker")))
//!     .init();
//! # }
//! ```

#[cfg(feature = "otel")]
mod otel;

use tokio::task_local;
use tracing::{Instrument, Span, field};

use crate::bus::Incoming;
use crate::fingerprint;
use crate::headers::Headers;

/// The header that names the trace and the span that a message comes from.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what else they need.
pub const TRACESTATE: &str = "tracestate";

/// Longer ones are dropped, as the recommendation allows: every message of the trace would carry it.
const MAX_TRACESTATE: usize = 512;
/// What names a delivery's span to those who look for it.
pub(crate) const DELIVERY: &str = "delivery";
pub(crate) const TARGET: &str = "postroom::delivery";
const SAMPLED: u8 = 1;

task_local! {
    static CURRENT: TraceContext;
}

/// A place in a trace: the trace, and the span that whatever comes of it descends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// What the headers say; `None` where they say nothing, or nothing that could be right.
    #[must_use]
    pub fn from_headers(headers: &Headers) -> Option<Self> {
        let mut context = Self::parse(header(headers, TRACEPARENT)?)?;
        context.state = header(headers, TRACESTATE)
            .filter(|state| !state.is_empty() && state.len() <= MAX_TRACESTATE)
            .map(str::to_owned);
        Some(context)
    }

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`: version, trace id, span id, flags.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut hex = |digits| {
            fields
                .next()
                .filter(|field: &&str| field.len() == digits && field.bytes().all(is_lower_hex))
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Version ff is forbidden; a version that is yet to come may say more behind what this one says.
        if version == "ff" || (version == "00" && fields.next().is_some()) {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & SAMPLED,
            state: None,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The trace of a message that came without one: the same whoever handles it, and however often.
    fn of_place(incoming: &Incoming) -> Option<Self> {
        let digest = fingerprint::of_payload(incoming.place().as_str().as_bytes(), &[]);
        let (trace_id, span_id) = (digest.get(..32)?, digest.get(32..48)?);
        Self::parse(&format!("00-{trace_id}-{span_id}-01"))
    }

    /// Of a message: as its headers say, or made of where it stands.
    fn of(incoming: &Incoming) -> Self {
        Self::from_headers(&incoming.headers)
            .or_else(|| Self::of_place(incoming))
            .unwrap_or_else(Self::root)
    }

    /// A new trace.
    #[must_use]
    pub fn root() -> Self {
        Self {
            trace_id: rand::random::<u128>().max(1),
            span_id: rand::random::<u64>().max(1),
            flags: SAMPLED,
            state: None,
        }
    }

    /// A new span of the trace with this id: 32 hex digits.
    pub(crate) fn of_trace(trace_id: &str) -> Option<Self> {
        Self::parse(&format!("00-{trace_id}-{:016x}-01", Self::root().span_id))
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: rand::random::<u64>().max(1),
            ..self.clone()
        }
    }

    /// The context of the delivery under way in this task. Tasks that a handler spawns have none.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs `future` as part of this trace: what it publishes carries it on.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// 32 hex digits, as in `dead_letters.trace_id`.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The value of the header `traceparent`, for requests of your own.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!(
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }

    /// The value of the header `tracestate`, where there is one.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Writes the context into the headers of what descends from it.
    pub(crate) fn write(&self, headers: &mut Headers) {
        headers.set(TRACEPARENT, self.traceparent());
        if let Some(state) = &self.state {
            headers.set(TRACESTATE, state.as_str());
        }
    }
}

/// The span of one delivery, and the context that everything in it descends from.
pub(crate) struct Traced {
    context: TraceContext,
    span: Span,
}

impl Traced {
    pub(crate) fn of(handler: &'static str, incoming: &Incoming) -> Self {
        let parent = TraceContext::of(incoming);
        let span = tracing::info_span!(
            target: TARGET,
            DELIVERY,
            handler,
            subject = incoming.subject,
            stream = incoming.stream,
            seq = incoming.stream_seq,
            attempt = field::Empty,
            trace_id = parent.trace_id(),
        );
        let context = Self::descend(&span, &parent);
        Self { context, span }
    }

    /// What comes of the delivery descends from its span, in the words of whoever keeps the spans.
    #[cfg(feature = "otel")]
    fn descend(span: &Span, parent: &TraceContext) -> TraceContext {
        otel::join(span, parent).unwrap_or_else(|| parent.child())
    }

    #[cfg(not(feature = "otel"))]
    fn descend(_: &Span, parent: &TraceContext) -> TraceContext {
        parent.child()
    }

    /// Runs the delivery in its span.
    pub(crate) async fn around<F: Future>(self, delivery: F) -> F::Output {
        self.context.scope(delivery.instrument(self.span)).await
    }
}

/// Notes in the delivery's span which attempt it turned out to be.
pub(crate) fn attempt_is(attempt: i64) {
    Span::current().record("attempt", attempt);
}

/// Names are compared as HTTP does: NATS keeps their case, and not every client writes it small.
fn header<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    headers
        .get(name)
        .or_else(|| {
            headers
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
        .map(str::trim)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &str, state: Option<&str>) -> Headers {
        let mut headers = Headers::default();
        headers.set(TRACEPARENT, parent);
        if let Some(state) = state {
            headers.set(TRACESTATE, state);
        }
        headers
    }

    #[test]
    fn a_context_is_read_and_written_as_it_was() {
        let context = TraceContext::from_headers(&headers(PARENT, Some("vendor=1"))).expect("a context");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let mut written = Headers::default();
        context.write(&mut written);
        assert_eq!(written, headers(PARENT, Some("vendor=1")));
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let context = TraceContext::from_headers(&headers(PARENT, Some("vendor=1"))).expect("a context");
        let child = context.child();
        assert_eq!(
            (child.trace_id, child.flags, child.tracestate()),
            (context.trace_id, 1, Some("vendor=1"))
        );
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let check = |parent: &str, right: bool| {
            assert_eq!(
                TraceContext::from_headers(&headers(parent, None)).is_some(),
                right,
                "{parent}"
            );
        };
        check(PARENT, true);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true);
        check(
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            true,
        );
        check(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            false,
        );
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
        check("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("4bf92f3577b34da6a3ce929d0e0e4736", false);
        check("", false);
    }

    #[test]
    fn a_state_of_any_length_costs_no_message_more_than_the_limit() {
        let check = |length, kept: bool| {
            let read =
                TraceContext::from_headers(&headers(PARENT, Some(&"x".repeat(length)))).expect("a context");
            assert_eq!(read.tracestate().is_some(), kept, "{length}");
        };
        check(MAX_TRACESTATE, true);
        check(MAX_TRACESTATE + 1, false);
        check(0, false);
    }

    #[test]
    fn the_header_is_found_however_it_is_written() {
        let mut written = Headers::default();
        written.set("Traceparent", PARENT);
        assert!(TraceContext::from_headers(&written).is_some());
    }
}

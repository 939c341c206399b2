//! A delivery's span in OpenTelemetry: the context that its message came with is its parent, and whatever comes of the
//! delivery descends from it.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{SAMPLED, TraceContext};

/// Gives `span` its parent, and tells where in the trace it is. `None` where nobody keeps spans for OpenTelemetry.
pub(super) fn join(span: &Span, parent: &TraceContext) -> Option<TraceContext> {
    let state = parent
        .tracestate()
        .and_then(|state| state.parse::<TraceState>().ok());
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id.to_be_bytes()),
        SpanId::from_bytes(parent.span_id.to_be_bytes()),
        TraceFlags::new(parent.flags),
        true,
        state.unwrap_or_default(),
    );
    span.set_parent(Context::new().with_remote_span_context(remote))
        .ok()?;
    let context = span.context();
    let context = context.span();
    let own = context.span_context();
    own.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(own.span_id().to_bytes()),
        // As the sampler has decided: what is not kept here is not kept further on.
        flags: own.trace_flags().to_u8() & SAMPLED,
        state: parent.state.clone(),
    })
}

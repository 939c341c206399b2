//! The derive macros of postroom. Each emits metadata and spanned checks only: nothing that a user could not write by
//! hand, and nothing that runs. All mistakes of an item are reported at once, each at the token that is wrong.
//!
//! # Layout
//! One file a derive, named after it. `attributes` reads `key = value` lists and collects every mistake in them; `wire`
//! reads what serde is told of names, `root` by what name postroom is known; `duration` reads times; `backoff` is the framework's own arithmetic, so that both agree on a retry horizon.

mod attributes;
#[path = "../../src/retry.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the same file as in the framework, which uses the rest of it"
)]
mod backoff;
mod duration;
mod handler;
mod handler_error;
mod message;
#[path = "../../src/rate.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the same file as in the framework, which uses the rest of it"
)]
mod rate;
mod root;
mod wire;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `postroom::Message`.
///
/// `#[message(subject = "noun.verb", id = "noun.verb.v1")]` on the type, with `upcast_from = OlderVersion` where there is
/// `impl From<OlderVersion>` for it; `#[message(incidental)]` on fields that two
/// copies of one message may differ in, by the names that serde gives them.
///
/// All three derives take `crate = "…"` where postroom goes by another name, as in `#[message(crate = "mail")]`, or is had
/// from another crate.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    message::expand(&input)
        .unwrap_or_else(|errors| errors.to_compile_error())
        .into()
}

/// Implements `postroom::Handler`: the spec of a type that implements `postroom::Handle`.
///
/// ```text
/// #[handler(
///     on = Welcome,                                        the message it takes (required)
///     id = "send-welcome",                                 names its consumer and its ledger (required)
///     idempotent(key = [user_id, to.address], ttl = "7d"), fields of the message; default: each stored message once
///     retry(max = 8, backoff = "2s..15m"),                 attempts in all, first and longest wait
///     timeout = "30s", concurrency = 8,
///     per_key(to.domain, 4, rate = "10/s"),                of messages that are alike in a field, so many at a time, or
///                                                          `ordered`, one by one as in the stream; and so many in a time
///     batch(50, within = "200ms"),                         for a `HandleBatch`: so many at a time, or what has come by then
///     rate = "100/s",                                      or /m, /h, /d: no more are begun; per process, as all of these
///     ambiguous = Resend,                                  or Hold or Reconcile; required where the error type can be
///                                                          ambiguous; Reconcile needs `impl Reconcile<Welcome>`
///     aliases = ["welcome-mail"],                          ids that the handler had before
///     crate = "mail",                                      the name under which this crate knows postroom
/// )]
/// ```
#[proc_macro_derive(Handler, attributes(handler))]
pub fn derive_handler(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    handler::expand(&input)
        .unwrap_or_else(|errors| errors.to_compile_error())
        .into()
}

/// Implements `postroom::HandlerError`: what each variant means for the message.
///
/// On the enum, `#[on(crate = "…")]`; on the variants
/// `#[on(retry)]`, `#[on(retry(after = "5m"))]`, `#[on(snooze = "1m")]`, `#[on(pause = "5m")]`,
/// `#[on(dead_letter)]`, `#[on(discard)]`, `#[on(ambiguous)]`, or `#[on(inherit)]` for a variant that wraps another `HandlerError`.
#[proc_macro_derive(HandlerError, attributes(on))]
pub fn derive_handler_error(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    handler_error::expand(&input)
        .unwrap_or_else(|errors| errors.to_compile_error())
        .into()
}

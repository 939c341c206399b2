//! `#[derive(Handler)]`: what the attribute says, read and checked. What it becomes is in [`expand`].

mod batch;
mod expand;
mod numbers;
mod per_key;

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{DeriveInput, Expr, ExprArray, Ident, LitStr, Token, Type};

use crate::attributes::{self, Mistakes, Once, string};
use crate::backoff::{Backoff, batch_limit};
use crate::duration;
use crate::rate::Rate;
use crate::root;
use batch::Batch;
use numbers::{at_least_one, positive};
use per_key::PerKey;

const KEYS: &[&str] = &[
    "on",
    "id",
    "idempotent",
    "retry",
    "timeout",
    "concurrency",
    "per_key",
    "batch",
    "rate",
    "ambiguous",
    "aliases",
    "crate",
];
/// As in the framework's `Spec`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

struct Declared {
    on: Once<Type>,
    id: Once<LitStr>,
    idempotent: Once<Idempotent>,
    retry: Once<Retry>,
    timeout: Once<Duration>,
    concurrency: Once<u16>,
    per_key: Once<PerKey>,
    batch: Once<Batch>,
    rate: Once<Rate>,
    ambiguous: Once<Ident>,
    aliases: Once<Vec<LitStr>>,
    postroom: Once<syn::Path>,
}

struct Idempotent {
    fields: Vec<Expr>,
    ttl: Option<(LitStr, Duration)>,
}

impl Declared {
    fn nothing() -> Self {
        Self {
            on: Once::new("on"),
            id: Once::new("id"),
            idempotent: Once::new("idempotent"),
            retry: Once::new("retry"),
            timeout: Once::new("timeout"),
            concurrency: Once::new("concurrency"),
            per_key: Once::new("per_key"),
            batch: Once::new("batch"),
            rate: Once::new("rate"),
            ambiguous: Once::new("ambiguous"),
            aliases: Once::new("aliases"),
            postroom: Once::new("crate"),
        }
    }
}

struct Retry {
    max: u32,
    first: Duration,
    cap: Duration,
    at: Span,
}

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    let declared = read(input, &mut mistakes);
    for lifetime in input.generics.lifetimes() {
        mistakes.at(
            lifetime,
            "a handler lives as long as its app: let it own what it needs, or share it, as by an `Arc`",
        );
    }
    let (Some(on), Some(id)) = (&declared.on.value, &declared.id.value) else {
        if declared.on.value.is_none() {
            mistakes.at(
                &input.ident,
                "a handler names its message: add `#[handler(on = YourMessage)]`",
            );
        }
        if declared.id.value.is_none() {
            mistakes.at(
                &input.ident,
                "a handler has an id that outlives renames: add `#[handler(id = \"your-handler\")]`",
            );
        }
        return mistakes.or(TokenStream::new());
    };
    check_horizon(&declared, &mut mistakes);
    check_batch(&declared, &mut mistakes);
    if let Some(aliases) = &declared.aliases.value {
        check_aliases(id, aliases, &mut mistakes);
    }
    let spec = expand::spec(&declared, on, id);
    let checks = expand::checks(input, on, &declared);
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let written = quote! {
        #[automatically_derived]
        impl #generics ::postroom::Handler for #name #arguments #bounds {
            type Message = #on;

            fn spec() -> ::postroom::Spec<#on> {
                #spec
            }
        }
        #checks
    };
    mistakes.or(root::named(written, declared.postroom.value.as_ref()))
}

fn read(input: &DeriveInput, mistakes: &mut Mistakes) -> Declared {
    let mut declared = Declared::nothing();
    attributes::each(&input.attrs, "handler", mistakes, |meta, mistakes| {
        if meta.path.is_ident("on") {
            let on = meta.value()?.parse()?;
            declared.on.set(&meta, on, mistakes);
        } else if meta.path.is_ident("id") {
            if let Some(id) = mistakes.keep(string(&meta)) {
                check_id(&id, mistakes);
                declared.id.set(&meta, id, mistakes);
            }
        } else if meta.path.is_ident("idempotent") {
            let idempotent = idempotent(&meta, mistakes)?;
            declared.idempotent.set(&meta, idempotent, mistakes);
        } else if meta.path.is_ident("retry") {
            let retry = retry(&meta, mistakes)?;
            declared.retry.set(&meta, retry, mistakes);
        } else if meta.path.is_ident("timeout") {
            let timeout = string(&meta).and_then(|text| positive(&text));
            let timeout = mistakes.keep(timeout).unwrap_or(DEFAULT_TIMEOUT);
            declared.timeout.set(&meta, timeout, mistakes);
        } else if meta.path.is_ident("concurrency") {
            let concurrency = mistakes.keep(at_least_one(&meta)).unwrap_or(1);
            declared.concurrency.set(&meta, concurrency, mistakes);
        } else if meta.path.is_ident("per_key") {
            let per_key = per_key::read(&meta, mistakes)?;
            declared.per_key.set(&meta, per_key, mistakes);
        } else if meta.path.is_ident("batch") {
            declared.batch.set(&meta, batch::read(&meta, mistakes)?, mistakes);
        } else if meta.path.is_ident("rate") {
            let read = |text: LitStr| {
                Rate::parse(&text.value()).map_err(|wrong| syn::Error::new(text.span(), wrong))
            };
            if let Some(rate) = mistakes.keep(string(&meta).and_then(read)) {
                declared.rate.set(&meta, rate, mistakes);
            }
        } else if meta.path.is_ident("ambiguous") {
            let policy: Ident = meta.value()?.parse()?;
            if !["Resend", "Hold", "Reconcile"]
                .iter()
                .any(|known| policy == known)
            {
                mistakes.at(
                    &policy,
                    "an effect whose outcome was lost is sent again, held, or looked for: `Resend`, `Hold` or `Reconcile`",
                );
            }
            declared.ambiguous.set(&meta, policy, mistakes);
        } else if meta.path.is_ident("aliases") {
            let aliases = aliases(&meta, mistakes)?;
            declared.aliases.set(&meta, aliases, mistakes);
        } else if meta.path.is_ident("crate") {
            root::read(&meta, &mut declared.postroom, mistakes);
        } else {
            return attributes::unknown(&meta, KEYS, mistakes);
        }
        Ok(())
    });
    declared
}

/// `aliases = ["old-id", …]`.
fn aliases(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<Vec<LitStr>> {
    let list: ExprArray = meta.value()?.parse()?;
    let mut aliases = Vec::new();
    for alias in &list.elems {
        match alias {
            Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => {
                check_id(text, mistakes);
                aliases.push(text.clone());
            }
            other => mistakes.at(
                other,
                "an alias is an id that the handler had before, in double quotes",
            ),
        }
    }
    Ok(aliases)
}

/// An alias is another id than the handler's, and than every other alias.
fn check_aliases(id: &LitStr, aliases: &[LitStr], mistakes: &mut Mistakes) {
    let mut names = vec![id.value()];
    for alias in aliases {
        let name = alias.value();
        if names.contains(&name) {
            mistakes.at(
                alias,
                format!("`{name}` is named before: an alias is an id that the handler no longer has"),
            );
        }
        names.push(name);
    }
}

fn check_id(text: &LitStr, mistakes: &mut Mistakes) {
    let id = text.value();
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 64 || !id.chars().all(named) {
        mistakes.at(
            text,
            "use 1 to 64 letters, digits, `-` and `_`, since the id names a durable consumer",
        );
    }
}

/// `idempotent(key = [a, b.c], ttl = "7d")`.
fn idempotent(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<Idempotent> {
    let mut key = Once::new("key");
    let mut ttl = Once::new("ttl");
    meta.parse_nested_meta(|inner| {
        if inner.path.is_ident("key") {
            let list: Expr = inner.value()?.parse()?;
            let Expr::Array(list) = list else {
                mistakes.at(
                    list,
                    "a key is a list of the message's fields, in brackets: `key = [account]`",
                );
                key.value.get_or_insert_default();
                return Ok(());
            };
            check_key(&list, mistakes);
            key.set(&inner, list.elems, mistakes);
        } else if inner.path.is_ident("ttl") {
            if let Some(text) = mistakes.keep(string(&inner))
                && let Some(time) = mistakes.keep(duration::parse(&text))
            {
                ttl.set(&inner, (text, time), mistakes);
            }
        } else {
            return attributes::unknown(&inner, &["key", "ttl"], mistakes);
        }
        Ok(())
    })?;
    if key.value.is_none() {
        mistakes.at(
            &meta.path,
            "`idempotent` needs a key: `key = [field, …]`, fields of the message",
        );
    }
    let fields: Punctuated<Expr, Token![,]> = key.value.unwrap_or_default();
    Ok(Idempotent {
        fields: fields.into_iter().collect(),
        ttl: ttl.value,
    })
}

fn check_key(list: &ExprArray, mistakes: &mut Mistakes) {
    if list.elems.is_empty() {
        mistakes.at(
            list,
            "an empty key would make all messages one: name the fields that tell them apart",
        );
    }
    for field in &list.elems {
        if !is_field(field) {
            mistakes.at(
                field,
                "a key is made of the message's fields, such as `account` or `to.address`",
            );
        }
    }
}

fn is_field(expression: &Expr) -> bool {
    match expression {
        Expr::Path(path) => path.path.get_ident().is_some(),
        Expr::Field(field) => is_field(&field.base),
        _ => false,
    }
}

/// `retry(max = 8, backoff = "2s..15m")`.
fn retry(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<Retry> {
    let default = Backoff::DEFAULT;
    let mut retry = Retry {
        max: default.max_attempts,
        first: default.first,
        cap: default.cap,
        at: meta.path.span(),
    };
    if !meta.input.peek(syn::token::Paren) {
        mistakes.at(
            &meta.path,
            "write `retry(max = 8, backoff = \"2s..15m\")`, or one of the two",
        );
        attributes::skip_value(meta)?;
        return Ok(retry);
    }
    meta.parse_nested_meta(|inner| {
        if inner.path.is_ident("max") {
            if let Some(max) = mistakes.keep(at_least_one(&inner)) {
                retry.max = max;
                retry.at = inner.path.span();
            }
        } else if inner.path.is_ident("backoff") {
            if let Some(range) = mistakes.keep(string(&inner).and_then(|text| duration::parse_range(&text))) {
                (retry.first, retry.cap) = range;
            }
        } else {
            return attributes::unknown(&inner, &["max", "backoff"], mistakes);
        }
        Ok(())
    })?;
    Ok(retry)
}

/// A duplicate that arrives after its ledger row is forgotten would be handled twice.
fn check_horizon(declared: &Declared, mistakes: &mut Mistakes) {
    let Some(Idempotent {
        ttl: Some((literal, ttl)),
        ..
    }) = &declared.idempotent.value
    else {
        return;
    };
    let backoff = declared
        .retry
        .value
        .as_ref()
        .map_or(Backoff::DEFAULT, |retry| Backoff {
            max_attempts: retry.max,
            first: retry.first,
            cap: retry.cap,
        });
    let timeout = declared.timeout.value.unwrap_or(DEFAULT_TIMEOUT);
    let longest = declared
        .batch
        .value
        .as_ref()
        .map_or(timeout, |batch| batch_limit(timeout, batch.within));
    let horizon = backoff.horizon(longest);
    if *ttl < horizon {
        // Rounded up to whole seconds, so that the time named is long enough.
        let enough = Duration::from_secs(horizon.as_secs() + u64::from(horizon.subsec_nanos() > 0));
        mistakes.at(
            literal,
            format!(
                "a dedupe ttl of {} is shorter than the retries can take, {}: a late duplicate would be handled twice; \
                 raise the ttl, or lower retry max, backoff or timeout",
                humantime::format_duration(*ttl),
                humantime::format_duration(enough)
            ),
        );
    }
}

/// What can't be had in a batch.
fn check_batch(declared: &Declared, mistakes: &mut Mistakes) {
    if declared.batch.value.is_none() {
        return;
    }
    if let Some(policy) = &declared.ambiguous.value {
        mistakes.at(
            policy,
            "leave `ambiguous` out: a batch begins no effects outside SQL",
        );
    }
    if let Some(Retry { max: 1, at, .. }) = &declared.retry.value {
        mistakes.at_span(*at, "what fails in a batch is tried again alone: use 2 or more");
    }
}

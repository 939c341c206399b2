//! `batch(50, within = "200ms")`: so many messages at a time, or what has come in so long.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Ident, LitInt, LitStr, Token};

use super::numbers::{parse_at_least_one, positive};
use crate::attributes::Mistakes;
use crate::duration;

/// As in the framework's `Spec`.
const MOST: u16 = 1000;

pub(super) struct Batch {
    size: u16,
    pub(super) within: Duration,
}

pub(super) fn read(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<Batch> {
    let inside;
    syn::parenthesized!(inside in meta.input);
    let number: LitInt = inside.parse()?;
    let size = mistakes.keep(parse_at_least_one(&number)).unwrap_or(1);
    if size > MOST {
        mistakes.at(&number, format!("a batch holds {MOST} messages at most"));
    }
    if inside.is_empty() {
        mistakes.at(
            &number,
            "say how long a batch waits to be full: `batch(50, within = \"200ms\")`",
        );
        let within = Duration::ZERO;
        return Ok(Batch { size, within });
    }
    inside.parse::<Token![,]>()?;
    let word: Ident = inside.parse()?;
    if word != "within" {
        mistakes.at(
            &word,
            "`within = \"200ms\"` is wanted here: how long a batch waits to be full",
        );
    }
    inside.parse::<Token![=]>()?;
    let text: LitStr = inside.parse()?;
    let within = mistakes.keep(positive(&text)).unwrap_or_default();
    Ok(Batch { size, within })
}

pub(super) fn tokens(batch: &Batch) -> TokenStream {
    let (size, within) = (batch.size, duration::tokens(batch.within));
    quote!(.batch(#size, #within))
}

//! From what was declared to code: the spec, and checks that the compiler makes.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Ident, LitStr, Type};

use super::{Declared, batch, per_key};
use crate::duration;
use crate::rate::Rate;

pub(super) fn spec(declared: &Declared, on: &Type, id: &LitStr) -> TokenStream {
    let idempotent = declared.idempotent.value.as_ref().map(|idempotent| {
        let parts = idempotent.fields.iter().map(|field| {
            // The field's own span: an unknown field, or one that can't be part of a key, is underlined itself.
            quote_spanned!(field.span()=> &message.#field)
        });
        let ttl = idempotent
            .ttl
            .as_ref()
            .map_or(Duration::from_secs(7 * 86_400), |(_, ttl)| *ttl);
        let ttl = duration::tokens(ttl);
        quote!(.idempotent(|message: &#on| ::postroom::Key::of(&[#(#parts),*]), #ttl))
    });
    let retry = declared.retry.value.as_ref().map(|retry| {
        let (max, first, cap) = (
            retry.max,
            duration::tokens(retry.first),
            duration::tokens(retry.cap),
        );
        quote!(.retry(#max, #first, #cap))
    });
    let timeout = declared.timeout.value.map(|timeout| {
        let timeout = duration::tokens(timeout);
        quote!(.timeout(#timeout))
    });
    let concurrency = declared
        .concurrency
        .value
        .map(|concurrency| quote!(.concurrency(#concurrency)));
    let per_key = declared.per_key.value.as_ref();
    let per_key = per_key.map(|per_key| per_key::tokens(per_key, on));
    let batch = declared.batch.value.as_ref().map(batch::tokens);
    let rate = declared.rate.value.map(|Rate { count, per }| {
        let per = duration::tokens(per);
        quote!(.rate(::postroom::Rate::new(#count, #per)))
    });
    let ambiguous = declared.ambiguous.value.as_ref().map(|policy| {
        if policy == "Reconcile" {
            // Spanned, so that a handler that can't be asked is told so at the word that promises it.
            quote_spanned!(policy.span()=> .reconcile::<Self>())
        } else {
            quote!(.ambiguous(::postroom::Ambiguous::#policy))
        }
    });
    let aliases = declared
        .aliases
        .value
        .as_ref()
        .map(|aliases| quote!(.aliases(&[#(#aliases),*])));
    // The message is named where a bound on it may fail, so that the compiler can name it, too.
    let named = ambiguous.as_ref().map(|_| quote!(::<#on>));
    quote!(::postroom::Spec #named::new(#id) #idempotent #retry #timeout #concurrency #per_key #batch #rate #ambiguous #aliases)
}

/// That the type handles what it says, and that it has a policy if its errors can be ambiguous: errors of the compiler's
/// own, at the tokens of `on = …`.
pub(super) fn checks(input: &DeriveInput, on: &Type, declared: &Declared) -> TokenStream {
    let name = &input.ident;
    if !input.generics.params.is_empty() {
        // `App::handler` asks for the same where the parameters are known.
        return TokenStream::new();
    }
    // Respanned, so that the compiler underlines the message that is not handled and not the whole type.
    let name = Ident::new(&name.to_string(), on.span());
    let handles = match declared.batch.value {
        Some(_) => quote_spanned!(on.span()=> ::postroom::HandleBatch<#on>),
        None => quote_spanned!(on.span()=> ::postroom::Handle<#on>),
    };
    let verdict = if declared.ambiguous.value.is_some() {
        quote_spanned!(on.span()=> let _ = can_be_ambiguous::<#name>();)
    } else if declared.batch.value.is_some() {
        quote_spanned! {on.span()=> assert!(
            !can_be_ambiguous::<#name>(),
            "its error can be ambiguous, and a batch begins no effects: give it an error without `#[on(ambiguous)]`",
        );}
    } else {
        quote_spanned! {on.span()=> assert!(
            !can_be_ambiguous::<#name>(),
            "its error can be ambiguous: choose `ambiguous = Resend`, `Hold` or `Reconcile` in #[handler(...)]",
        );}
    };
    quote_spanned! {on.span()=>
        const _: () = {
            const fn can_be_ambiguous<H: #handles>() -> bool {
                <H::Error as ::postroom::HandlerError>::CAN_BE_AMBIGUOUS
            }
            #verdict
        };
    }
}

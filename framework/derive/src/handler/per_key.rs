//! `per_key(to.domain, 4)`, `per_key(account, ordered)`, `per_key(to.domain, rate = "10/s")`, and what of it goes together.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Expr, Ident, LitInt, LitStr, Token, Type};

use super::is_field;
use super::numbers::parse_at_least_one;
use crate::attributes::Mistakes;
use crate::duration;
use crate::rate::Rate;

pub(super) struct PerKey {
    field: Expr,
    limit: Option<u16>,
    ordered: bool,
    rate: Option<Rate>,
}

pub(super) fn read(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<PerKey> {
    let inside;
    syn::parenthesized!(inside in meta.input);
    let field: Expr = inside.parse()?;
    if !is_field(&field) {
        mistakes.at(
            &field,
            "a field of the message is wanted here, such as `account` or `to.domain`",
        );
    }
    let mut per_key = PerKey {
        field,
        limit: None,
        ordered: false,
        rate: None,
    };
    let mut said = false;
    while inside.peek(Token![,]) {
        inside.parse::<Token![,]>()?;
        if inside.is_empty() {
            break;
        }
        said = true;
        one(&inside, &mut per_key, mistakes)?;
    }
    if !said {
        mistakes.at(
            &per_key.field,
            "say what holds for it: so many at a time, `ordered`, or a rate, as in `per_key(to.domain, 4, rate = \"10/s\")`",
        );
    }
    Ok(per_key)
}

fn one(inside: ParseStream<'_>, per_key: &mut PerKey, mistakes: &mut Mistakes) -> syn::Result<()> {
    if inside.peek(LitInt) {
        let number: LitInt = inside.parse()?;
        let limit = mistakes.keep(parse_at_least_one(&number)).unwrap_or(1);
        if per_key.ordered {
            mistakes.at(&number, ONE_AT_A_TIME);
        } else if per_key.limit.replace(limit).is_some() {
            mistakes.at(&number, "so many at a time is said twice");
        }
        return Ok(());
    }
    let word: Ident = inside.parse()?;
    if word == "ordered" {
        if per_key.limit.is_some() {
            mistakes.at(&word, ONE_AT_A_TIME);
        } else if per_key.ordered {
            mistakes.at(&word, "`ordered` is said twice");
        }
        per_key.ordered = true;
    } else if word == "rate" {
        inside.parse::<Token![=]>()?;
        let text: LitStr = inside.parse()?;
        let rate = Rate::parse(&text.value()).map_err(|wrong| syn::Error::new(text.span(), wrong));
        if let Some(rate) = mistakes.keep(rate)
            && per_key.rate.replace(rate).is_some()
        {
            mistakes.at(&word, "`rate` is given twice");
        }
    } else {
        mistakes.at(&word, "a number, `ordered` or `rate = \"10/s\"` is wanted here");
        if inside.peek(Token![=]) {
            inside.parse::<Token![=]>()?;
            inside.parse::<Expr>()?;
        }
    }
    Ok(())
}

const ONE_AT_A_TIME: &str = "`ordered` messages go one at a time already: leave the number out";

pub(super) fn tokens(per_key: &PerKey, on: &Type) -> TokenStream {
    let PerKey {
        field,
        limit,
        ordered,
        rate,
    } = per_key;
    // The field's own span: an unknown field, or one that can't be part of a key, is underlined itself.
    let part = quote_spanned!(field.span()=> &message.#field);
    let rate = rate.map(|Rate { count, per }| {
        let per = duration::tokens(per);
        quote!(::postroom::Rate::new(#count, #per))
    });
    let holds = match (ordered, limit, &rate) {
        (true, ..) => quote!(::postroom::PerKey::in_order()),
        (false, Some(limit), _) => quote!(::postroom::PerKey::at_most(#limit)),
        (false, None, Some(rate)) => quote!(::postroom::PerKey::rate(#rate)),
        // It is a mistake, and told as one.
        (false, None, None) => quote!(::postroom::PerKey::at_most(1)),
    };
    let and_rate = (*ordered || limit.is_some()).then(|| rate.map(|rate| quote!(.and_rate(#rate))));
    let and_rate = and_rate.flatten();
    quote!(.per_key(|message: &#on| ::postroom::Key::of(&[#part]), #holds #and_rate))
}

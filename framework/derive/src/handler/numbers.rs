//! Values that must not be nothing.

use std::time::Duration;

use syn::meta::ParseNestedMeta;
use syn::{Expr, LitInt, LitStr};

use crate::duration;

pub(super) fn positive(text: &LitStr) -> syn::Result<Duration> {
    let time = duration::parse(text)?;
    if time.is_zero() {
        return Err(syn::Error::new(text.span(), "give the handler some time"));
    }
    Ok(time)
}

pub(super) fn at_least_one<N>(meta: &ParseNestedMeta<'_>) -> syn::Result<N>
where
    N: std::str::FromStr + PartialOrd + Default,
    N::Err: std::fmt::Display,
{
    let expression: Expr = meta.value()?.parse()?;
    let Expr::Lit(syn::ExprLit {
        lit: syn::Lit::Int(number),
        ..
    }) = &expression
    else {
        return Err(syn::Error::new_spanned(
            expression,
            "a whole number is wanted here, 1 or more",
        ));
    };
    parse_at_least_one(number)
}

pub(super) fn parse_at_least_one<N>(number: &LitInt) -> syn::Result<N>
where
    N: std::str::FromStr + PartialOrd + Default,
    N::Err: std::fmt::Display,
{
    let value: N = number.base10_parse().map_err(|_| {
        let most = u64::MAX >> (64 - 8 * size_of::<N>());
        syn::Error::new(number.span(), format!("`{number}` is no number from 1 to {most}"))
    })?;
    if value <= N::default() {
        return Err(syn::Error::new(number.span(), "use 1 or more"));
    }
    Ok(value)
}

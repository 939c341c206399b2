//! Reading `#[name(key = value, …)]`: every mistake is kept, so that all are reported at once.

use std::fmt::Display;

use proc_macro2::Span;
use quote::ToTokens;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitStr};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Mistakes(Option<syn::Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn at_span(&mut self, span: Span, message: impl Display) {
        self.add(syn::Error::new(span, message));
    }

    /// The value, unless there were mistakes.
    pub(crate) fn or<T>(self, value: T) -> syn::Result<T> {
        match self.0 {
            Some(errors) => Err(errors),
            None => Ok(value),
        }
    }

    /// Keeps what is right, notes what is not.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

/// A value that may be given once.
pub(crate) struct Once<T> {
    name: &'static str,
    pub(crate) value: Option<T>,
}

impl<T> Once<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, value: None }
    }

    pub(crate) fn set(&mut self, meta: &ParseNestedMeta<'_>, value: T, mistakes: &mut Mistakes) {
        if self.value.is_some() {
            mistakes.at(&meta.path, format!("`{}` is given twice", self.name));
        }
        self.value = Some(value);
    }
}

/// Calls `read` for each entry of each attribute `name`. An entry that `read` refuses is noted; the rest of that
/// attribute is still read where its syntax allows.
pub(crate) fn each(
    attributes: &[Attribute],
    name: &str,
    mistakes: &mut Mistakes,
    mut read: impl FnMut(ParseNestedMeta<'_>, &mut Mistakes) -> syn::Result<()>,
) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident(name))
    {
        let mut inner = Mistakes::default();
        let parsed = attribute.parse_nested_meta(|meta| read(meta, &mut inner));
        if let Err(errors) = inner.or(()) {
            mistakes.add(errors);
        }
        if let Err(error) = parsed {
            mistakes.add(error);
        }
    }
}

/// The error for a key that is none of `known`, with the nearest one. What follows the key is skipped.
pub(crate) fn unknown(
    meta: &ParseNestedMeta<'_>,
    known: &[&str],
    mistakes: &mut Mistakes,
) -> syn::Result<()> {
    let given = meta.path.to_token_stream().to_string();
    mistakes.at(&meta.path, unknown_text(&given, known));
    skip_value(meta)
}

pub(crate) fn unknown_text(given: &str, known: &[&str]) -> String {
    let list = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    // `max_retries` and `timeout_secs` of other frameworks are near to what they contain.
    let begins_like = |name: &str| {
        given
            .split('_')
            .any(|word| word.len() >= 4 && name.get(..4) == word.get(..4))
    };
    let apart = |name: &&str| {
        if begins_like(name) {
            0
        } else {
            distance(given, name)
        }
    };
    let nearest = known.iter().map(|name| (apart(name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => {
            format!("unknown key `{given}`; did you mean `{name}`? known are {list}")
        }
        _ => format!("unknown key `{given}`; known are {list}"),
    }
}

pub(crate) fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::token::Paren) {
        let inside;
        syn::parenthesized!(inside in meta.input);
        inside.parse::<proc_macro2::TokenStream>()?;
    } else if meta.input.peek(syn::Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    }
    Ok(())
}

/// A string literal after `=`.
pub(crate) fn string(meta: &ParseNestedMeta<'_>) -> syn::Result<LitStr> {
    if !meta.input.peek(syn::Token![=]) {
        let name = meta.path.to_token_stream().to_string();
        let wanted = format!("`{name}` has a value: `{name} = \"…\"`");
        return Err(syn::Error::new_spanned(&meta.path, wanted));
    }
    let value = meta.value()?;
    let expression: syn::Expr = value.parse()?;
    match expression {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Ok(text),
        other => Err(syn::Error::new_spanned(
            other,
            "a string is wanted here, in double quotes",
        )),
    }
}

/// Edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_offered_when_it_is_near() {
        let known = ["timeout", "retry", "concurrency"];
        let check = |given, words: &str| assert!(unknown_text(given, &known).contains(words), "{given}");
        check("timout", "did you mean `timeout`?");
        check("concurency", "did you mean `concurrency`?");
        check("max_retries", "did you mean `retry`?");
        check("timeout_secs", "did you mean `timeout`?");
        assert!(!unknown_text("colour", &known).contains("did you mean"));
    }
}

//! `#[derive(HandlerError)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, Variant};

use crate::attributes::{self, Mistakes, Once, string};
use crate::duration;
use crate::root;

const KEYS: &[&str] = &[
    "retry",
    "snooze",
    "pause",
    "dead_letter",
    "discard",
    "ambiguous",
    "inherit",
];

/// What a variant says of itself.
enum Says {
    Verdict { verdict: TokenStream, ambiguous: bool },
    Inherit,
}

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    let Data::Enum(data) = &input.data else {
        mistakes.at(
            &input.ident,
            "HandlerError is derived for enums: one variant for each way to fail",
        );
        return mistakes.or(TokenStream::new());
    };
    let postroom = root_of(input, &mut mistakes);
    let mut arms = Arms::default();
    for variant in &data.variants {
        arms.add(variant, &mut mistakes);
    }
    let Arms {
        verdicts,
        classes,
        ambiguous,
    } = arms;
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    // An enum without variants is matched by value.
    let subject = if data.variants.is_empty() {
        quote!(*self)
    } else {
        quote!(self)
    };
    let written = quote! {
        #[automatically_derived]
        impl #generics ::postroom::HandlerError for #name #arguments #bounds {
            const CAN_BE_AMBIGUOUS: bool = false #(|| #ambiguous)*;

            fn verdict(&self) -> ::postroom::Verdict {
                match #subject { #(#verdicts),* }
            }

            fn class(&self) -> &'static str {
                match #subject { #(#classes),* }
            }
        }
    };
    mistakes.or(root::named(written, postroom.as_ref()))
}

/// `#[on(crate = "…")]`, which is all that the enum itself may say.
fn root_of(input: &DeriveInput, mistakes: &mut Mistakes) -> Option<syn::Path> {
    let mut postroom = Once::new("crate");
    for attribute in input.attrs.iter().filter(|attribute| is_on(attribute)) {
        let parsed = attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("the verdict of a variant"));
            }
            root::read(&meta, &mut postroom, mistakes);
            Ok(())
        });
        if parsed.is_err() {
            mistakes.at(
                attribute,
                "`#[on(…)]` goes on the variants, each with its own verdict",
            );
        }
    }
    postroom.value
}

/// The match arms of the two methods, and what makes the enum ambiguous.
#[derive(Default)]
struct Arms {
    verdicts: Vec<TokenStream>,
    classes: Vec<TokenStream>,
    ambiguous: Vec<TokenStream>,
}

impl Arms {
    fn add(&mut self, variant: &Variant, mistakes: &mut Mistakes) {
        let name = &variant.ident;
        match says(variant, mistakes) {
            Some(Says::Verdict { verdict, ambiguous }) => {
                let class = name.unraw().to_string();
                self.verdicts.push(quote!(Self::#name { .. } => #verdict));
                self.classes.push(quote!(Self::#name { .. } => #class));
                if ambiguous {
                    self.ambiguous.push(quote!(true));
                }
            }
            Some(Says::Inherit) => {
                let Some((binding, inner)) = only_field(variant, mistakes) else {
                    return;
                };
                // Called by the field's type, so that one without a verdict is underlined there, and nowhere else.
                let inherited = quote!(<#inner as ::postroom::HandlerError>);
                self.verdicts
                    .push(quote!(Self::#binding => #inherited::verdict(inner)));
                self.classes
                    .push(quote!(Self::#binding => #inherited::class(inner)));
                self.ambiguous
                    .push(quote!(<#inner as ::postroom::HandlerError>::CAN_BE_AMBIGUOUS));
            }
            None => {}
        }
    }
}

fn says(variant: &Variant, mistakes: &mut Mistakes) -> Option<Says> {
    let mut said: Option<Says> = None;
    let mut tried = false;
    attributes::each(&variant.attrs, "on", mistakes, |meta, mistakes| {
        if tried {
            mistakes.at(&meta.path, "a variant has one verdict");
        }
        tried = true;
        said = verdict(&meta, mistakes)?;
        Ok(())
    });
    let empty = |attribute: &&Attribute| {
        is_on(attribute) && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.is_empty())
    };
    if let (false, Some(attribute)) = (tried, variant.attrs.iter().find(empty)) {
        mistakes.at(
            attribute,
            "say what becomes of the message, such as `#[on(retry)]` or `#[on(dead_letter)]`",
        );
    }
    if !tried && !variant.attrs.iter().any(is_on) {
        mistakes.at(
            &variant.ident,
            format!(
                "say what becomes of a message that fails with `{}`: `#[on(retry)]`, `#[on(snooze = \"1m\")]`, \
                 `#[on(pause = \"5m\")]`, `#[on(dead_letter)]`, `#[on(discard)]`, `#[on(ambiguous)]` or `#[on(inherit)]`",
                variant.ident
            ),
        );
    }
    said
}

fn is_on(attribute: &Attribute) -> bool {
    attribute.path().is_ident("on")
}

fn verdict(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<Option<Says>> {
    let plain = |verdict| {
        Some(Says::Verdict {
            verdict,
            ambiguous: false,
        })
    };
    Ok(if meta.path.is_ident("retry") {
        let after = retry_after(meta, mistakes)?;
        plain(quote!(::postroom::Verdict::Retry { after: #after }))
    } else if meta.path.is_ident("snooze") {
        let text = string(meta)?;
        let pause = duration::tokens(mistakes.keep(duration::parse(&text)).unwrap_or_default());
        plain(quote!(::postroom::Verdict::Snooze(#pause)))
    } else if meta.path.is_ident("pause") {
        let text = string(meta)?;
        let rest = duration::tokens(mistakes.keep(rest(&text)).unwrap_or_default());
        plain(quote!(::postroom::Verdict::Pause(#rest)))
    } else if meta.path.is_ident("dead_letter") {
        plain(quote!(::postroom::Verdict::DeadLetter))
    } else if meta.path.is_ident("discard") {
        plain(quote!(::postroom::Verdict::Discard))
    } else if meta.path.is_ident("ambiguous") {
        Some(Says::Verdict {
            verdict: quote!(::postroom::Verdict::Ambiguous),
            ambiguous: true,
        })
    } else if meta.path.is_ident("inherit") {
        Some(Says::Inherit)
    } else {
        attributes::unknown(meta, KEYS, mistakes)?;
        None
    })
}

fn rest(text: &LitStr) -> syn::Result<Duration> {
    let rest = duration::parse(text)?;
    if rest.is_zero() {
        return Err(syn::Error::new(
            text.span(),
            "a pause of no time is none: say how long the handler rests, such as \"5m\"",
        ));
    }
    Ok(rest)
}

/// `retry` or `retry(after = "5m")`.
fn retry_after(meta: &ParseNestedMeta<'_>, mistakes: &mut Mistakes) -> syn::Result<TokenStream> {
    let mut after = quote!(::core::option::Option::None);
    if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| {
            if !inner.path.is_ident("after") {
                return attributes::unknown(&inner, &["after"], mistakes);
            }
            let text = string(&inner)?;
            let wait = duration::tokens(mistakes.keep(duration::parse(&text)).unwrap_or_default());
            after = quote!(::core::option::Option::Some(#wait));
            Ok(())
        })?;
    }
    Ok(after)
}

/// The pattern that binds the variant's only field as `inner`, and that field's type.
fn only_field<'v>(variant: &'v Variant, mistakes: &mut Mistakes) -> Option<(TokenStream, &'v syn::Type)> {
    let name = &variant.ident;
    let field = match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first(),
        Fields::Named(fields) if fields.named.len() == 1 => fields.named.first(),
        _ => None,
    };
    let Some(field) = field else {
        mistakes.at_span(
            span_of(variant),
            "`#[on(inherit)]` asks the one error inside the variant; it has none, or several",
        );
        return None;
    };
    let pattern = match &field.ident {
        Some(field) => quote!(#name { #field: inner }),
        None => quote!(#name(inner)),
    };
    Some((pattern, &field.ty))
}

fn span_of(variant: &Variant) -> Span {
    variant.ident.span()
}

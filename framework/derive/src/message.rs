//! `#[derive(Message)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Ident, LitStr, Type};

use crate::attributes::{self, Mistakes, Once, string};
use crate::root;
use crate::wire::Names;

const KEYS: &[&str] = &["subject", "id", "upcast_from", "crate"];
const FIELD_KEYS: &[&str] = &["incidental"];

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    let mut subject = Once::new("subject");
    let mut id = Once::new("id");
    let mut older = Once::new("upcast_from");
    let mut postroom = Once::new("crate");
    attributes::each(&input.attrs, "message", &mut mistakes, |meta, mistakes| {
        if meta.path.is_ident("subject") {
            if let Some(text) = mistakes.keep(string(&meta)) {
                check_subject(&text, mistakes);
                subject.set(&meta, text, mistakes);
            }
        } else if meta.path.is_ident("id") {
            if let Some(text) = mistakes.keep(string(&meta)) {
                check_id(&text, mistakes);
                id.set(&meta, text, mistakes);
            }
        } else if meta.path.is_ident("upcast_from") {
            let version: Type = meta.value()?.parse()?;
            older.set(&meta, version, mistakes);
        } else if meta.path.is_ident("crate") {
            root::read(&meta, &mut postroom, mistakes);
        } else {
            return attributes::unknown(&meta, KEYS, mistakes);
        }
        Ok(())
    });
    if subject.value.is_none() {
        mistakes.at(
            &input.ident,
            "a message has a subject: add `#[message(subject = \"noun.verb\")]`",
        );
    }
    if id.value.is_none() {
        mistakes.at(
            &input.ident,
            "a message has a wire id: add `#[message(id = \"noun.verb.v1\")]`",
        );
    }
    for lifetime in input.generics.lifetimes() {
        mistakes.at(
            lifetime,
            "a message owns what it says, since the bytes that it is read from do not last: use `String` in place of `&str`",
        );
    }
    let incidental = incidental_fields(input, &mut mistakes);
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let (subject, id) = (subject.value, id.value);
    let (upcast, checks) = match &older.value {
        Some(older) => (upcast(older), version_checks(input, older)),
        None => (TokenStream::new(), TokenStream::new()),
    };
    let written = quote! {
        #[automatically_derived]
        impl #generics ::postroom::Message for #name #arguments #bounds {
            const SUBJECT: &'static str = #subject;
            const ID: &'static str = #id;
            const INCIDENTAL: &'static [&'static str] = &[#(#incidental),*];
            #upcast
        }
        #checks
    };
    mistakes.or(root::named(written, postroom.value.as_ref()))
}

/// The older version, and through it those before.
fn upcast(older: &Type) -> TokenStream {
    // The type's own span: where `From` is missing, it is underlined.
    quote_spanned! {older.span()=>
        fn versions() -> ::std::vec::Vec<::postroom::Version> {
            let mut versions = ::std::vec![::postroom::Version::of::<Self>()];
            versions.extend(<#older as ::postroom::Message>::versions());
            versions
        }

        fn upcast(id: &str, payload: &[u8]) -> ::core::option::Option<::postroom::message::Read<Self>> {
            ::postroom::message::read_as::<#older, Self>(id, payload)
        }
    }
}

/// A version of another subject would never arrive, and one with the same id could not be told from this.
fn version_checks(input: &DeriveInput, older: &Type) -> TokenStream {
    let name = &input.ident;
    if !input.generics.params.is_empty() {
        return TokenStream::new();
    }
    let name = Ident::new(&name.to_string(), older.span());
    quote_spanned! {older.span()=>
        const _: () = {
            use ::postroom::Message as M;
            use ::postroom::message::same_text as same;
            assert!(
                same(<#older as M>::SUBJECT, <#name as M>::SUBJECT),
                "an older version has the subject of the newer one: a consumer takes one subject",
            );
            assert!(
                !same(<#older as M>::ID, <#name as M>::ID),
                "an older version has an id of its own, such as \"inbox.new.v1\" where this is \"inbox.new.v2\"",
            );
        };
    }
}

fn check_subject(text: &LitStr, mistakes: &mut Mistakes) {
    let subject = text.value();
    if subject.contains(['*', '>']) {
        mistakes.at(
            text,
            format!(
                "`{subject}` has wildcards: a message is published on one subject, such as \"inbox.new\""
            ),
        );
    } else if subject
        .split('.')
        .any(|token| token.is_empty() || token.contains(char::is_whitespace))
    {
        mistakes.at(
            text,
            format!("`{subject}` is no subject: write words with dots between them, such as \"inbox.new\""),
        );
    } else if subject.starts_with('$') {
        mistakes.at(
            text,
            format!("`{subject}`: subjects that begin with `$` belong to the broker"),
        );
    }
}

fn check_id(text: &LitStr, mistakes: &mut Mistakes) {
    let id = text.value();
    let version = id.rsplit('.').next().and_then(|last| last.strip_prefix('v'));
    let versioned = version
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    if !versioned || !id.contains('.') {
        mistakes.at(
            text,
            format!(
                "`{id}` has no version: end it with one, such as \"inbox.new.v1\", so that it can change"
            ),
        );
    }
}

/// The names on the wire of the fields marked `#[message(incidental)]`.
fn incidental_fields(input: &DeriveInput, mistakes: &mut Mistakes) -> Vec<String> {
    let Data::Struct(data) = &input.data else {
        return Vec::new();
    };
    let wire = Names::of(&input.attrs);
    let mut names = Vec::new();
    for field in &data.fields {
        let mut marked = false;
        attributes::each(&field.attrs, "message", mistakes, |meta, mistakes| {
            if meta.path.is_ident("incidental") {
                marked = true;
                return Ok(());
            }
            attributes::unknown(&meta, FIELD_KEYS, mistakes)
        });
        if !marked {
            continue;
        }
        match &field.ident {
            Some(name) => match wire.of_field(name, &field.attrs) {
                Some(on_the_wire) => names.extend(on_the_wire),
                None => mistakes.at(
                    name,
                    "a flattened field has no name on the wire: mark as incidental what is inside it, or take `flatten` off",
                ),
            },
            None => mistakes.at(field, "only named fields can be incidental"),
        }
    }
    names
}

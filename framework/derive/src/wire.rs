//! What serde is told of names: what a field is called in JSON.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Ident, LitStr};

/// A name, or a rule for names: serde may be told one for writing and another for reading.
#[derive(Default)]
struct Told {
    written: Option<String>,
    read: Option<String>,
}

/// What a struct says of the names of its fields.
pub(crate) struct Names(Told);

impl Names {
    pub(crate) fn of(attributes: &[Attribute]) -> Self {
        let mut rules = Told::default();
        each(attributes, |meta| match meta.path.is_ident("rename_all") {
            true => rules.tell(meta),
            false => skip(meta),
        });
        Self(rules)
    }

    /// Every name that the field may have in JSON. `None`: it is flattened, and has none.
    pub(crate) fn of_field(&self, field: &Ident, attributes: &[Attribute]) -> Option<Vec<String>> {
        let (mut renamed, mut aliases, mut flattened) = (Told::default(), Vec::new(), false);
        each(attributes, |meta| {
            if meta.path.is_ident("rename") {
                return renamed.tell(meta);
            }
            if meta.path.is_ident("alias") {
                aliases.push(meta.value()?.parse::<LitStr>()?.value());
                return Ok(());
            }
            flattened |= meta.path.is_ident("flatten");
            skip(meta)
        });
        let own = field.unraw().to_string();
        let name = |renamed: Option<String>, rule: Option<&String>| {
            renamed.unwrap_or_else(|| rule.map_or_else(|| own.clone(), |rule| apply(rule, &own)))
        };
        let mut names = vec![name(renamed.written, self.0.written.as_ref())];
        names.push(name(renamed.read, self.0.read.as_ref()));
        names.extend(aliases);
        names.sort_unstable();
        names.dedup();
        (!flattened).then_some(names)
    }
}

impl Told {
    /// `rename = "a"`, or `rename(serialize = "a", deserialize = "b")`.
    fn tell(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        if meta.input.peek(syn::Token![=]) {
            let name = meta.value()?.parse::<LitStr>()?.value();
            (self.written, self.read) = (Some(name.clone()), Some(name));
            return Ok(());
        }
        meta.parse_nested_meta(|side| {
            let name = side.value()?.parse::<LitStr>()?.value();
            if side.path.is_ident("serialize") {
                self.written = Some(name);
            } else {
                self.read = Some(name);
            }
            Ok(())
        })
    }
}

/// What serde makes of its own attribute is for serde to say, so nothing is refused here.
fn each(attributes: &[Attribute], mut read: impl FnMut(&ParseNestedMeta<'_>) -> syn::Result<()>) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
    {
        let _ = attribute.parse_nested_meta(|meta| read(&meta));
    }
}

fn skip(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    crate::attributes::skip_value(meta)
}

/// As serde does to the name of a field; a rule that it does not know it refuses itself.
fn apply(rule: &str, field: &str) -> String {
    let words = || field.split('_');
    let capitals = || words().map(capitalised).collect::<String>();
    match rule {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => field.to_ascii_uppercase(),
        "PascalCase" => capitals(),
        "camelCase" => {
            let capitals = capitals();
            let first = capitals.chars().next().map_or(0, char::len_utf8);
            capitals[..first].to_ascii_lowercase() + &capitals[first..]
        }
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => field.to_ascii_uppercase().replace('_', "-"),
        _ => field.to_owned(),
    }
}

fn capitalised(word: &str) -> String {
    let first = word.chars().next().map_or(0, char::len_utf8);
    word[..first].to_ascii_uppercase() + &word[first..]
}

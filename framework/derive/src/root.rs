//! By what name the user's crate knows postroom: `crate = "…"`, for those who have renamed it, or have it from another.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Path;
use syn::meta::ParseNestedMeta;

use crate::attributes::{Mistakes, Once, string};

/// Reads the value of `crate = …` into `postroom`.
pub(crate) fn read(meta: &ParseNestedMeta<'_>, postroom: &mut Once<Path>, mistakes: &mut Mistakes) {
    if let Some(path) = mistakes.keep(parse(meta)) {
        postroom.set(meta, path, mistakes);
    }
}

/// `crate = "mail"`, or a path such as `"crate::mail::postroom"`.
fn parse(meta: &ParseNestedMeta<'_>) -> syn::Result<Path> {
    let text = string(meta)?;
    let wanted = "this is no path to postroom, such as \"mail\" or \"crate::mail::postroom\"";
    text.parse_with(Path::parse_mod_style)
        .map_err(|_| syn::Error::new(text.span(), wanted))
}

/// What a derive has written with `::postroom`, with `root` in place of that. One pass over the whole, so that no other
/// file has to know.
pub(crate) fn named(written: TokenStream, root: Option<&Path>) -> TokenStream {
    let Some(root) = root else { return written };
    let mut named: Vec<TokenTree> = Vec::new();
    for token in written {
        match token {
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), self::named(group.stream(), Some(root)));
                inside.set_span(group.span());
                named.push(TokenTree::Group(inside));
            }
            TokenTree::Ident(name) if name == "postroom" && begins_at_the_root(&named) => {
                named.truncate(named.len() - 2);
                named.extend(root.to_token_stream().into_iter().map(|mut token| {
                    // Errors are underlined where they were.
                    token.set_span(Span::call_site().located_at(name.span()));
                    token
                }));
            }
            other => named.push(other),
        }
    }
    named.into_iter().collect()
}

/// Whether the tokens end in a `::` that goes on from no name: `a::postroom` is somebody else's.
fn begins_at_the_root(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    let is_name = |token: &TokenTree| match token {
        TokenTree::Ident(ident) => syn::parse2::<syn::Ident>(ident.to_token_stream()).is_ok(),
        _ => false,
    };
    match tokens {
        [.., before, first, second] => is_colon(first) && is_colon(second) && !is_name(before),
        [first, second] => is_colon(first) && is_colon(second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_from_the_root_are_renamed() {
        let check = |written: &str, expected: &str| {
            let tokens = |text: &str| text.parse::<TokenStream>().expect("tokens").to_string();
            let root = syn::parse_str("crate::mail").expect("a path");
            let named = named(written.parse().expect("tokens"), Some(&root));
            assert_eq!(named.to_string(), tokens(expected));
        };
        check("::postroom::Key", "crate::mail::Key");
        check(
            "impl ::postroom::Handler for X",
            "impl crate::mail::Handler for X",
        );
        check(
            "fn f<H: ::postroom::Handle<a::postroom::M>>()",
            "fn f<H: crate::mail::Handle<a::postroom::M>>()",
        );
        check(
            "{ (<X as ::postroom::M>::ID, postroom) }",
            "{ (<X as crate::mail::M>::ID, postroom) }",
        );
    }
}

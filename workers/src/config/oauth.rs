//! `[accounts.oauth]`: where an account's tokens come from.

use super::read::{SecretKeys, Surroundings, secret};
use super::section::{Given, Section, note};
use crate::login::{OAuth, Provider, TokenUrl};

const CLIENT_SECRET: SecretKeys = SecretKeys {
    plain: "client_secret",
    variable: "client_secret_env",
    file: "client_secret_file",
};
const REFRESH_TOKEN: SecretKeys = SecretKeys {
    plain: "refresh_token",
    variable: "refresh_token_env",
    file: "refresh_token_file",
};
/// Microsoft's word for whoever may sign in.
const ANY_TENANT: &str = "common";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Google,
    Microsoft,
}

pub(super) fn read(mut section: Section<'_>, surroundings: &Surroundings<'_>) -> Option<OAuth> {
    let provider = provider(&mut section);
    let client_id = section.required("client_id", "1234.apps.example");
    let client_secret = secret(&mut section, surroundings, &CLIENT_SECRET);
    let refresh_token = secret(&mut section, surroundings, &REFRESH_TOKEN);
    section.finish();
    Some(OAuth {
        provider: provider?,
        client_id: client_id?.value,
        client_secret: client_secret.ok()?,
        refresh_token: refresh_token.ok()?,
    })
}

fn provider(section: &mut Section<'_>) -> Option<Provider> {
    let words = [("google", Known::Google), ("microsoft", Known::Microsoft)];
    let is_named = section.has("provider");
    let known = section.choice("provider", &words);
    let is_by_url = section.has("token_url");
    let token_url = section.parsed::<TokenUrl>(
        "token_url",
        "write an https:// URL, such as \"https://id.shop.example/token\"",
    );
    let tenant = section
        .text("tenant")
        .and_then(|given| path_segment(section, given));
    let scope = section.text("scope").map(|given| given.value);
    let sign_in_url = section.parsed_by("sign_in_url", "write an https:// URL", |text| {
        text.parse::<TokenUrl>().is_ok().then(|| text.to_owned())
    });
    if tenant.is_some() && known != Some(Known::Microsoft) {
        section.wrong("has a tenant, which only provider = \"microsoft\" knows");
    }
    let mut provider = match (known, token_url) {
        (Some(_), Some(_)) => {
            section.wrong("has both provider and token_url; keep one");
            return None;
        }
        (Some(Known::Google), None) => Provider::google(),
        (Some(Known::Microsoft), None) => Provider::microsoft(tenant.as_deref().unwrap_or(ANY_TENANT)),
        (None, Some(url)) => Provider::other(url.value),
        // What was there and could not be read is noted already.
        (None, None) if is_named || is_by_url => return None,
        (None, None) => {
            section.wrong("needs provider = \"google\" or \"microsoft\", or the token_url of another");
            return None;
        }
    };
    provider.scope = scope.or(provider.scope);
    provider.sign_in_url = sign_in_url.map(|given| given.value).or(provider.sign_in_url);
    Some(provider)
}

/// It becomes a part of the token server's URL.
fn path_segment(section: &Section<'_>, given: Given<String>) -> Option<String> {
    let is_plain = !given.value.is_empty()
        && given
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if !is_plain {
        let sentence = format_args!(
            "`tenant` is \"{}\"; write the directory's id or domain",
            given.value
        );
        note(section.mistakes(), &given.origin, sentence);
    }
    is_plain.then_some(given.value)
}

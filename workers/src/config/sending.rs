//! `templates` and `[[dkim]]`: what mails are made with. The files are read here, so that what is wrong with one is told
//! before anything starts.

use postroom::Rate;

use super::read::{Surroundings, path};
use super::section::{Given, Section, note};
use crate::send::KeptBy;
use crate::send::dkim::{Signer, Signers};
use crate::send::pace::WarmUp;
use crate::send::template::Templates;

/// What all accounts' mails are made with.
#[derive(Debug, Clone, Default)]
pub struct Sending {
    pub templates: Templates,
    pub signers: Signers,
    /// Of each account to each recipient's domain.
    pub domain_rate: Option<Rate>,
}

pub(super) fn read(top: &mut Section<'_>, surroundings: &Surroundings<'_>) -> Sending {
    let templates = top.text("templates").and_then(|given| {
        let read = Templates::read(&path(surroundings, &given));
        read.map_err(|error| note(top.mistakes(), &given.origin, error))
            .ok()
    });
    let signers = top
        .sections("dkim", "[[dkim]]")
        .into_iter()
        .filter_map(|section| signer(section, surroundings));
    let domain_rate = rate(top, "domain_rate");
    Sending {
        domain_rate,
        signers: signers.collect(),
        templates: templates.unwrap_or_default(),
    }
}

fn rate(section: &mut Section<'_>, key: &'static str) -> Option<Rate> {
    let right = "write mails and a time, such as \"10/s\", \"20/m\" or \"5000/d\"";
    section
        .parsed_by(key, right, |text| Rate::parse(text).ok())
        .map(|given| given.value)
}

fn warm_up(mut section: Section<'_>) -> Option<WarmUp> {
    let wants = |section: &Section<'_>, key: &str, example: &str| {
        if !section.has(key) {
            section.wrong(format_args!("needs `{key}`, for example {key} = \"{example}\""));
        }
    };
    wants(&section, "begins", "2026-11-24");
    wants(&section, "per_day", "50, 100, 200");
    let begins = section.parsed("begins", "write a day, such as \"2026-11-24\"");
    let per_day = section.parsed(
        "per_day",
        "write the mails of each day in turn, such as \"50, 100, 200\"",
    );
    section.finish();
    Some(WarmUp {
        begins: begins?.value,
        per_day: per_day?.value,
    })
}

/// How an account's mails go out, beside its relay.
#[derive(Debug, Clone, Default)]
pub struct OfAccount {
    pub sent_folder: Option<SentFolder>,
    /// Mails, from each process.
    pub rate: Option<Rate>,
    pub warm_up: Option<WarmUp>,
}

pub(super) fn of_account(account: &mut Section<'_>) -> OfAccount {
    let has_oauth = account.has("oauth");
    let sent = account.section("sent", "[accounts.sent]");
    let warm = account.section("warm_up", "[accounts.warm_up]");
    OfAccount {
        sent_folder: sent.and_then(|section| sent_folder(section, has_oauth)),
        rate: rate(account, "rate"),
        warm_up: warm.and_then(warm_up),
    }
}

/// `[accounts.sent]`: the folder of what the account has sent, and who fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFolder {
    pub mailbox: String,
    pub kept_by: KeptBy,
}

/// Those whose logins are by OAuth keep what they send.
fn sent_folder(mut section: Section<'_>, has_oauth: bool) -> Option<SentFolder> {
    let mailbox = section.required("mailbox", "Sent");
    let words = [("postroom", KeptBy::Postroom), ("provider", KeptBy::Provider)];
    let kept_by = section.choice("kept_by", &words);
    section.finish();
    let default = if has_oauth {
        KeptBy::Provider
    } else {
        KeptBy::Postroom
    };
    Some(SentFolder {
        mailbox: mailbox?.value,
        kept_by: kept_by.unwrap_or(default),
    })
}

fn signer(mut section: Section<'_>, surroundings: &Surroundings<'_>) -> Option<Signer> {
    let domain = section.required("domain", "shop.example");
    let domain = domain.and_then(|given| dns_name(&section, "domain", given));
    let selector = section.required("selector", "2026a");
    let selector = selector.and_then(|given| dns_name(&section, "selector", given));
    let key_file = section.required("key_file", "dkim.pem");
    let read = key_file.and_then(|given| {
        let file = path(surroundings, &given);
        Signer::read(&domain.clone()?, &selector.clone()?, &file)
            .map_err(|error| {
                let sentence = format_args!("key_file {} {error}", file.display());
                note(section.mistakes(), &given.origin, sentence);
            })
            .ok()
    });
    section.finish();
    read
}

/// It goes into a header, and into a name that the recipient's server looks up.
fn dns_name(section: &Section<'_>, key: &str, given: Given<String>) -> Option<String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let is_name = given.value.len() <= 253 && given.value.split('.').all(is_label);
    if !is_name {
        let sentence = format_args!(
            "`{key}` is \"{}\"; write letters, digits, - and dots, a domain beyond ASCII in its xn-- form",
            given.value
        );
        note(section.mistakes(), &given.origin, sentence);
    }
    is_name.then_some(given.value)
}

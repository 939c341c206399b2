//! Each mail reads as it was meant, by the same parser that ingest uses.

use std::collections::HashSet;

use super::*;
use crate::mime::{self, Summary};

const SHA: &str = "0123456789abcdef";

fn summary(name: &str) -> Summary {
    let mail = corpus().into_iter().find(|mail| mail.name == name).unwrap();
    mime::parse(&mail.raw, SHA).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_few_dozen_mails_with_names_of_their_own() {
    let mails = corpus();
    assert_eq!(mails.len(), 48);
    assert_eq!(
        mails.iter().map(|mail| mail.name).collect::<HashSet<_>>().len(),
        mails.len()
    );
    assert_eq!(corpus(), mails);
}

#[test]
fn fates_agree_with_the_parser() {
    for mail in corpus() {
        let parsed = mime::parse(&mail.raw, SHA);
        let Ok(summary) = parsed else {
            assert_eq!(mail.fate, Fate::Unreadable, "{}: {parsed:?}", mail.name);
            continue;
        };
        let is_ours = summary
            .from
            .as_ref()
            .is_some_and(|from| from.is_same_address(ADDRESS));
        match mail.fate {
            Fate::Unreadable => panic!("{} was read", mail.name),
            Fate::Unanswered(reason) => assert_eq!(summary.automatic, Some(reason), "{}", mail.name),
            _ => assert_eq!(summary.automatic, None, "{}", mail.name),
        }
        assert_eq!(is_ours, mail.fate == Fate::Own, "{}", mail.name);
    }
}

#[test]
fn answers_go_to_different_addresses() {
    let mut seen = HashSet::new();
    for mail in corpus() {
        if !matches!(
            mail.fate,
            Fate::Answered | Fate::AnsweredLate | Fate::AnswerRefused
        ) {
            continue;
        }
        let summary = mime::parse(&mail.raw, SHA).unwrap();
        let to = summary
            .reply_to
            .first()
            .or(summary.from.as_ref())
            .unwrap()
            .address
            .clone();
        assert!(seen.insert(to), "{}", mail.name);
    }
}

#[test]
fn each_reads_as_it_was_meant() {
    for (name, subject, text, attachments) in [
        ("plain", "Where is my order 1042?", "I ordered the blue kettle", 0),
        ("html-only", "Refund for order 998", "€ 39,90", 0),
        ("alternative", "Change of address", "I have moved – please", 0),
        (
            "attachment-pdf",
            "Invoice 2026-311 attached",
            "find our invoice",
            1,
        ),
        ("inline-image", "A photo of the damage", "has a crack", 1),
        ("forwarded", "Fwd: Offer for lamps", "Is the offer below", 1),
        ("iso-2022-jp", "配送についての質問", "注文番号1077", 0),
        ("windows-1251", "Где мой заказ?", "Здравствуйте", 0),
        ("koi8-r", "Вопрос о гарантии", "Сколько лет", 0),
        ("gb18030", "退货申请", "我想退回订单1090", 0),
        ("raw-8bit-header", "Größe des Überzugs", "Grüß Gott", 0),
        ("utf-7", "Käse und Öl", "Käse und Öl", 0),
        ("encoded-words", "Café– and crème brûlée", "Is the café", 0),
        (
            "folded-headers",
            "A party for forty, with a very long list of guests",
            "forty plates",
            0,
        ),
        ("format-flowed", "Opening hours", "When are you open?", 0),
        ("thread-1", "Two kettles in one box", "two kettles", 0),
        ("thread-2", "Re: Two kettles in one box", "Same here", 0),
        ("thread-3", "RE: AW: Re: Two kettles in one box", "Me too", 0),
        (
            "reply-to",
            "Please answer to my other address",
            "I write from work",
            0,
        ),
        ("no-message-id", "A mail without an id", "ink ribbons", 0),
        ("no-date", "A mail without a date", "calendars", 0),
        ("empty-subject", "", "There is no subject", 0),
        ("emoji-rtl", "🎁 הזמנה מתנה ל\u{200f}سلمى 👩\u{200d}🚀", "🌷", 0),
        ("lf-only", "Lines that end with LF alone", "return a kettle", 0),
        ("dkim-signed", "Signed on the way", "orders by mail", 0),
        ("pgp-signed", "Signed by hand", "this signed mail", 1),
        ("smime", "Enveloped", "", 1),
        (
            "calendar-invite",
            "Invitation: tasting of kettles",
            "invited to a tasting",
            1,
        ),
        ("broken-mime", "The end is missing", "repair toasters", 1),
        ("long-line", "All on one line", "My list: a kettle, a kettle,", 0),
        ("big-attachment", "The photo you asked for", "Here it is", 1),
    ] {
        let summary = summary(name);
        assert_eq!(summary.subject, subject, "{name}");
        assert!(summary.text.contains(text), "{name}: {:?}", summary.text);
        assert_eq!(
            summary.attachments.len(),
            attachments,
            "{name}: {:?}",
            summary.attachments
        );
    }
}

#[test]
fn names_ids_and_threads() {
    assert_eq!(
        summary("encoded-words").from.unwrap().name.as_deref(),
        Some("Müller, Mia")
    );
    assert_eq!(
        summary("raw-8bit-header").from.unwrap().name.as_deref(),
        Some("Jörg Krämer")
    );
    assert_eq!(
        summary("attachment-pdf").from.unwrap().name.as_deref(),
        Some("Fern & Gale, Accounts")
    );
    assert_eq!(
        summary("attachment-pdf").attachments[0].name.as_deref(),
        Some("Rechnung für Oktober 2026.pdf")
    );
    assert_eq!(
        summary("reply-to").reply_to[0].address,
        "sven.home@private.example"
    );
    assert_eq!(
        summary("no-message-id").message_id,
        mime::synthetic_message_id(SHA)
    );
    assert_eq!(summary("no-date").date, None);
    let (first, second, third) = (summary("thread-1"), summary("thread-2"), summary("thread-3"));
    assert_eq!(second.in_reply_to.as_ref(), Some(&first.message_id));
    assert_eq!(third.in_reply_to.as_ref(), Some(&second.message_id));
    assert_eq!(third.references, [first.message_id, second.message_id]);
    assert_eq!(summary("folded-headers").references.len(), 30);
    assert_eq!(summary("big-attachment").attachments[0].size, 2 * 1024 * 1024);
}

#[test]
fn the_duplicate_is_one_and_the_faults_fit() {
    let raw = |name: &str| corpus().into_iter().find(|mail| mail.name == name).unwrap().raw;
    assert_eq!(raw("plain"), raw("plain-again"));
    let faults: Vec<String> = faults().unwrap().iter().map(ToString::to_string).collect();
    assert!(faults[0].contains(&summary("refused-sender").from.unwrap().address));
    assert!(faults[1].contains(&summary("greylisted-sender").from.unwrap().address));
}

#[test]
fn the_load_is_distinct_and_ordinary() {
    let mails: Vec<DemoMail> = many(500).collect();
    let mut senders = HashSet::new();
    for mail in &mails {
        let summary = mime::parse(&mail.raw, SHA).unwrap();
        assert_eq!(summary.automatic, None);
        assert!(senders.insert((summary.from.unwrap().address, summary.message_id)));
    }
    assert_eq!(senders.len(), 500);
    assert_eq!(many(500).collect::<Vec<_>>(), mails);
}

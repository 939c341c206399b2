//! What the sender wrote, without what was answered to and without the signature. Pure.
//!
//! Rules, not certainty: the whole text stays in the event beside it. Lines that begin with `>` are quoted, and so is the
//! line above them that ends with a colon, whatever its language. Programs that quote without a mark begin with a line or a
//! block of fields of their own.

/// What such a line begins with, in lower case.
const BEGINS_QUOTE: [&str; 4] = [
    "-----original message-----",
    "-----ursprüngliche nachricht-----",
    "-----message d'origine-----",
    "---------- forwarded message",
];
/// The first field of the block that Outlook begins a quotation with; the second follows within two lines.
const FROM: [&str; 4] = ["from:", "von:", "de :", "de:"];
const SENT: [&str; 6] = ["sent:", "date:", "gesendet:", "datum:", "envoyé :", "enviado:"];
/// What telephones add by themselves.
const ADDED: [&str; 4] = [
    "sent from my ",
    "von meinem ",
    "envoyé de mon ",
    "get outlook for ",
];

/// The sender's own words; empty where there are none.
pub(super) fn without_quote(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end = (0..lines.len())
        .find(|&at| ends_here(&lines, at))
        .unwrap_or(lines.len());
    let mut kept: Vec<&str> = Vec::with_capacity(end);
    for line in &lines[..end] {
        match is_quoted(line) {
            true => drop_introduction(&mut kept),
            false => kept.push(line),
        }
    }
    // A quotation of which the end of the text has cut off all but its introduction is none: nothing is guessed.
    kept.join("\n").trim().to_owned()
}

fn is_quoted(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

/// Takes back the paragraph above a quotation when it is short and ends with a colon: "On Monday, Ada\n<ada@…> wrote:".
fn drop_introduction(kept: &mut Vec<&str>) {
    const LONGEST: usize = 3;
    let text_end = kept
        .iter()
        .rposition(|line| !line.trim().is_empty())
        .map_or(0, |at| at + 1);
    let begin = kept[..text_end]
        .iter()
        .rposition(|line| line.trim().is_empty())
        .map_or(0, |at| at + 1);
    let introduces = text_end > begin && kept[text_end - 1].trim_end().ends_with(':');
    let names_somebody = kept[begin..text_end]
        .iter()
        .any(|line| line.contains(['@', '<']) || has_date(line));
    if introduces && names_somebody && text_end - begin <= LONGEST {
        kept.truncate(begin);
    }
}

/// An introduction tells when: a year, or a time of day.
fn has_date(line: &str) -> bool {
    let bytes = line.as_bytes();
    let digits = |from: &[u8]| from.iter().all(u8::is_ascii_digit);
    bytes.windows(4).any(digits)
        || bytes
            .windows(4)
            .any(|four| four[1] == b':' && four[0].is_ascii_digit() && digits(&four[2..]))
}

fn ends_here(lines: &[&str], at: usize) -> bool {
    let line = lines[at];
    // RFC 3676 section 4.3; many programs lose the blank.
    if line == "-- " || line == "--" {
        return true;
    }
    let line = line.trim().to_lowercase();
    let is_last = lines[at + 1..]
        .iter()
        .all(|line| line.trim().is_empty() || is_quoted(line));
    if is_last && ADDED.iter().any(|added| line.starts_with(added)) {
        return true;
    }
    if BEGINS_QUOTE.iter().any(|begin| line.starts_with(begin)) {
        return true;
    }
    let next = lines[at + 1..]
        .iter()
        .take(2)
        .map(|line| line.trim().to_lowercase());
    FROM.iter().any(|from| line.starts_with(from))
        && next
            .into_iter()
            .any(|line| SENT.iter().any(|sent| line.starts_with(sent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_own_words_are_left() {
        let check = |text: &str, expect: &str| assert_eq!(without_quote(text), expect, "{text:?}");
        check("Hello\nWorld\n", "Hello\nWorld");
        check(
            "Yes\n\nOn Mon, 3 Nov 2026 at 10:00, Bob <b@x.org> wrote:\n> No?\n> Or?\n",
            "Yes",
        );
        check(
            "Yes\n\nOn Mon, 3 Nov 2026 at 10:00, Bob\n<b@x.org> wrote:\n\n> No?\n",
            "Yes",
        );
        check("Ja\n\nAm 03.11.2026 um 10:00 schrieb Bob:\n> Nein?\n", "Ja");
        check("Oui\n\nLe 3 nov. 2026 à 10:00, Bob a écrit :\n> Non ?\n", "Oui");
        check("> One?\nYes.\n> Two?\nNo.\n", "Yes.\nNo.");
        check("Thanks\n-- \nBob\nShop\n", "Thanks");
        check("Thanks\n--\nBob\n", "Thanks");
        check("Fine\n\nSent from my iPhone\n\n> quoted\n", "Fine");
        check("Fine\n\n-----Original Message-----\nFrom: x\n\nold", "Fine");
        check("Fine\n\nFrom: Bob\nSent: Monday\nTo: Ada\n\nold", "Fine");
        check("> only a quotation\n", "");
        check("", "");
    }

    #[test]
    fn what_only_looks_like_a_quotation_stays() {
        let check = |text: &str| assert_eq!(without_quote(text), text);
        check("I need:\n\n- a pen -- a blue one\n- paper");
        check("From: here to there\nit is far");
        check("Sent from my heart, this is a line\nand another");
        check("a --\nb");
        assert_eq!(
            without_quote("You ask this:\n> Why?\nBecause."),
            "You ask this:\nBecause."
        );
    }
}

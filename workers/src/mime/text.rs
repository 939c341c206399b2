//! Text for people: bounded, without control characters.

use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, PartType};

use super::MAX_TEXT_BYTES;

/// Longer than any subject that a client shows.
const MAX_LINE_CHARS: usize = 500;
/// Of the HTML that is made text of: styles and tables weigh several times what they hold.
const MAX_HTML_READ: usize = 8 * MAX_TEXT_BYTES;
/// Names come by the dozen.
const MAX_NAME_CHARS: usize = 200;

/// One line without control characters.
pub(super) fn line(text: &str) -> String {
    cleaned(text, MAX_LINE_CHARS)
}

/// The name of a person, a file or a type.
pub(super) fn name(text: &str) -> String {
    cleaned(text, MAX_NAME_CHARS)
}

fn cleaned(text: &str, limit: usize) -> String {
    let cleaned: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limit)
        .collect();
    cleaned.trim().to_owned()
}

/// A field's value on one line.
pub(super) fn unfold(value: &str) -> String {
    value
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n' | '\0'))
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The beginning of the first text of the mail (HTML is turned into text), and whether there is more.
pub(super) fn preview(message: &Message<'_>) -> (String, bool) {
    message
        .text_bodies()
        .filter_map(|part| match &part.body {
            PartType::Text(text) => Some(bounded(text)),
            PartType::Html(html) => Some(of_html(html)),
            _ => None,
        })
        .find(|(text, _)| !text.is_empty())
        .unwrap_or_default()
}

/// The beginning is enough, and all of it may take minutes: some of what it is made of costs the square of its length.
fn of_html(html: &str) -> (String, bool) {
    let (text, is_cut) = bounded(&html_beginning(html));
    (text, is_cut || html.len() > MAX_HTML_READ)
}

/// The text of the beginning of the HTML.
pub(super) fn html_beginning(html: &str) -> String {
    html_to_text(&html[..html.floor_char_boundary(MAX_HTML_READ)])
}

/// LF line ends; no NUL (SQL text and JSON columns refuse it) nor other controls but tab.
fn bounded(text: &str) -> (String, bool) {
    let mut kept = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    let mut chars = text.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        let c = match c {
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\r' => '\n',
            '\n' | '\t' => c,
            c if c.is_control() => continue,
            c => c,
        };
        if kept.len() + c.len_utf8() > MAX_TEXT_BYTES {
            return (kept, true);
        }
        kept.push(c);
    }
    (kept, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cleaned_and_bounded() {
        assert_eq!(line(" a\r\nb\0c "), "a  b c");
        assert_eq!(line(&"é".repeat(2000)).chars().count(), MAX_LINE_CHARS);
        assert_eq!(bounded("a\r\nb\rc\0\u{7f}d\n\n"), ("a\nb\ncd".to_owned(), false));
        let (text, more) = bounded(&"é".repeat(MAX_TEXT_BYTES));
        assert!(more);
        assert_eq!(text.len(), MAX_TEXT_BYTES);
    }
}

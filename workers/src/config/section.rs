//! Reading one table of settings key by key. Every mistake is noted and reading goes on, so that all are told at once.

use std::cell::RefCell;
use std::fmt::Display;
use std::str::FromStr;

use super::suggest::nearest;
use super::tree::{Node, Origin, Table, Value};

/// All that is wrong, in the order found: each a sentence that begins with its place.
pub(super) type Mistakes = RefCell<Vec<String>>;

pub(super) fn note(mistakes: &Mistakes, origin: &Origin, sentence: impl Display) {
    mistakes.borrow_mut().push(format!("{origin}: {sentence}"));
}

/// A value and where it was said.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

pub(super) struct Section<'m> {
    /// As a person writes it: `[[accounts]]`, `[accounts.imap]`.
    name: &'static str,
    origin: Option<Origin>,
    table: Table,
    known: Vec<&'static str>,
    mistakes: &'m Mistakes,
}

impl<'m> Section<'m> {
    pub(super) fn root(table: Table, mistakes: &'m Mistakes) -> Self {
        Self {
            name: "the top level",
            origin: None,
            table,
            known: Vec::new(),
            mistakes,
        }
    }

    pub(super) fn mistakes(&self) -> &'m Mistakes {
        self.mistakes
    }

    /// Whether the key was said at all, rightly or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes that something is wrong with the section as a whole.
    pub(super) fn wrong(&self, sentence: impl Display) {
        match &self.origin {
            Some(origin) => note(self.mistakes, origin, format_args!("{} {sentence}", self.name)),
            None => self.mistakes.borrow_mut().push(sentence.to_string()),
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Given<String>> {
        let Node { origin, value } = self.take(key)?;
        match value {
            Value::Text(value) => Some(Given { value, origin }),
            other => {
                note(
                    self.mistakes,
                    &origin,
                    format_args!("`{key}` is {}; write \"text in quotes\"", other.kind()),
                );
                None
            }
        }
    }

    /// A text that is to be read once more.
    pub(super) fn peek(&self, key: &str) -> Option<Given<String>> {
        match self.table.get(key) {
            Some(Node {
                origin,
                value: Value::Text(value),
            }) => Some(Given {
                value: value.clone(),
                origin: origin.clone(),
            }),
            _ => None,
        }
    }

    /// One text or a list of them; absent is empty.
    pub(super) fn text_or_texts(&mut self, key: &'static str) -> Vec<String> {
        let given = match self.table.get(key) {
            Some(Node {
                value: Value::Text(_),
                ..
            }) => self.text(key).into_iter().collect(),
            _ => self.texts(key),
        };
        given
            .into_iter()
            .map(|given: Given<String>| given.value)
            .collect()
    }

    /// Like [`Self::text`], and a mistake where it is missing.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Given<String>> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.wrong(format_args!("needs `{key}`, for example {key} = \"{example}\""));
            return None;
        }
        self.text(key)
    }

    /// A value with a text form; numbers may be written without quotes. `right` says what would be right.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, right: &str) -> Option<Given<T>> {
        self.parsed_by(key, right, |text| text.parse().ok())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let right = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(" or ");
        let find = |text: &str| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
        };
        Some(self.parsed_by(key, &format!("write {right}"), find)?.value)
    }

    pub(super) fn parsed_by<T>(
        &mut self,
        key: &'static str,
        right: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Given<T>> {
        let Node { origin, value } = self.take(key)?;
        let (Value::Text(text) | Value::Number(text)) = value else {
            note(
                self.mistakes,
                &origin,
                format_args!("`{key}` is {}; {right}", value.kind()),
            );
            return None;
        };
        let parsed = parse(&text);
        if parsed.is_none() {
            note(
                self.mistakes,
                &origin,
                format_args!("`{key}` is \"{text}\"; {right}"),
            );
        }
        Some(Given {
            value: parsed?,
            origin,
        })
    }

    /// A list of texts, absent is empty.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Given<String>> {
        let Some(Node { origin, value }) = self.take(key) else {
            return Vec::new();
        };
        let Value::List(items) = value else {
            note(
                self.mistakes,
                &origin,
                format_args!("`{key}` is {}; write [\"one\", \"two\"]", value.kind()),
            );
            return Vec::new();
        };
        let text = |item: Node| match item.value {
            Value::Text(value) => Some(Given {
                value,
                origin: item.origin,
            }),
            other => {
                let sentence =
                    format_args!("an item of `{key}` is {}; write \"text in quotes\"", other.kind());
                note(self.mistakes, &item.origin, sentence);
                None
            }
        };
        items.into_iter().filter_map(text).collect()
    }

    /// A table below this one. `name` is how a person writes it.
    pub(super) fn section(&mut self, key: &'static str, name: &'static str) -> Option<Self> {
        let node = self.take(key)?;
        self.below(key, name, node)
    }

    /// A list of tables below this one.
    pub(super) fn sections(&mut self, key: &'static str, name: &'static str) -> Vec<Self> {
        let Some(Node { origin, value }) = self.take(key) else {
            return Vec::new();
        };
        match value {
            Value::List(items) => items
                .into_iter()
                .filter_map(|item| self.below(key, name, item))
                .collect(),
            other => {
                note(
                    self.mistakes,
                    &origin,
                    format_args!("`{key}` is {}; write {name}", other.kind()),
                );
                Vec::new()
            }
        }
    }

    /// Whatever nobody asked for is a mistake: a key that is not known does not do what its writer hopes.
    pub(super) fn finish(self) {
        for (key, node) in &self.table {
            let hint = match nearest(key, &self.known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            note(
                self.mistakes,
                &node.origin,
                format_args!("`{key}` is no key of {}; {hint}", self.name),
            );
        }
    }

    fn below(&self, key: &str, name: &'static str, node: Node) -> Option<Self> {
        let Node { origin, value } = node;
        match value {
            Value::Table(table) => Some(Self {
                name,
                origin: Some(origin),
                table,
                known: Vec::new(),
                mistakes: self.mistakes,
            }),
            other => {
                note(
                    self.mistakes,
                    &origin,
                    format_args!("`{key}` is {}; write {name}", other.kind()),
                );
                None
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.table.remove(key)
    }
}

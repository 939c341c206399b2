//! Rules for automatic replies: the first that matches answers. Pure.
//!
//! ```
//! use postroom_workers::reply::{Rule, Rules};
//!
//! let rule = Rule { name: "hours".into(), subject: Some("opening hours".into()), text: "Dear {name}, nine to five.".into(), ..Rule::default() };
//! assert!(Rules::new(vec![rule]).is_ok());
//! ```

use serde::Deserialize;

use crate::messages::NewMail;

/// One rule. What is absent matches everything; what is given must be contained, whatever its case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub name: String,
    /// In the sender's name or address.
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub subject: Option<String>,
    /// In any address of To or Cc.
    #[serde(default)]
    pub to: Option<String>,
    /// The reply. `{name}`, `{from}`, `{subject}` and `{account}` stand for the mail's own; `{{` and `}}` for braces.
    pub text: String,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "rule {rule:?}: {{{placeholder}}} is not known; use {{name}}, {{from}}, {{subject}} or {{account}}"
    )]
    UnknownPlaceholder { rule: String, placeholder: String },
    #[error("rule {rule:?}: a brace stands alone; write it twice to mean itself")]
    LoneBrace { rule: String },
    #[error("rule {rule:?} has no text")]
    NoText { rule: String },
}

/// Rules in order, checked.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<(Rule, Template)>);

impl Rules {
    /// Checks every rule's text.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let checked = rules.into_iter().map(|rule| {
            let template = Template::parse(&rule.name, &rule.text)?;
            Ok((rule, template))
        });
        Ok(Self(checked.collect::<Result<_, RuleError>>()?))
    }

    /// The text with which the first matching rule answers, if any matches.
    pub fn answer(&self, mail: &NewMail) -> Option<String> {
        self.0
            .iter()
            .find(|(rule, _)| rule.matches(mail))
            .map(|(_, template)| template.fill(mail))
    }
}

impl Rule {
    fn matches(&self, mail: &NewMail) -> bool {
        let from = mail.from.iter().map(ToString::to_string);
        let to = mail.to.iter().chain(&mail.cc).map(|to| to.address.clone());
        contained(self.from.as_ref(), from)
            && contained(self.subject.as_ref(), [mail.subject.clone()])
            && contained(self.to.as_ref(), to)
    }
}

fn contained(wanted: Option<&String>, texts: impl IntoIterator<Item = String>) -> bool {
    let Some(wanted) = wanted.map(|wanted| wanted.to_lowercase()) else {
        return true;
    };
    texts
        .into_iter()
        .any(|text| text.to_lowercase().contains(&wanted))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name,
    From,
    Subject,
    Account,
}

impl Template {
    fn parse(rule: &str, text: &str) -> Result<Self, RuleError> {
        if text.trim().is_empty() {
            return Err(RuleError::NoText {
                rule: rule.to_owned(),
            });
        }
        let lone = || RuleError::LoneBrace {
            rule: rule.to_owned(),
        };
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.push_str(&brace[..1]);
                rest = after;
                continue;
            }
            let (placeholder, after) = brace
                .strip_prefix('{')
                .and_then(|b| b.split_once('}'))
                .ok_or_else(lone)?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(
                Piece::named(placeholder).ok_or_else(|| RuleError::UnknownPlaceholder {
                    rule: rule.to_owned(),
                    placeholder: placeholder.to_owned(),
                })?,
            );
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// The mail's words are put in as they are, never read as a template again.
    fn fill(&self, mail: &NewMail) -> String {
        let from = mail.from.as_ref();
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Name => from
                .map(|f| f.name.clone().unwrap_or_else(|| f.address.clone()))
                .unwrap_or_default(),
            Piece::From => from.map(|f| f.address.clone()).unwrap_or_default(),
            Piece::Subject => mail.subject.clone(),
            Piece::Account => mail.account.clone(),
        };
        self.0.iter().map(piece).collect()
    }
}

impl Piece {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "from" => Self::From,
            "subject" => Self::Subject,
            "account" => Self::Account,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Mailbox;
    use crate::reply::loops::tests::mail;

    fn rule(text: &str) -> Rule {
        Rule {
            name: "r".into(),
            text: text.into(),
            ..Rule::default()
        }
    }

    #[test]
    fn the_first_matching_rule_answers() {
        let rules = Rules::new(vec![
            Rule {
                subject: Some("INVOICE".into()),
                ..rule("to billing")
            },
            Rule {
                from: Some("@example.org".into()),
                to: Some("help@".into()),
                ..rule("hello {name}")
            },
            Rule {
                from: Some("nobody".into()),
                ..rule("never")
            },
        ])
        .unwrap();
        let check = |subject: &str, to: &str, expect: Option<&str>| {
            let mail = NewMail {
                subject: subject.into(),
                to: vec![Mailbox::bare(to)],
                ..mail()
            };
            assert_eq!(rules.answer(&mail).as_deref(), expect);
        };
        check("Your invoice", "x@y", Some("to billing"));
        check("Hi", "Help@example.test", Some("hello Ada {x}"));
        check("Hi", "sales@example.test", None);
    }

    #[test]
    fn templates_are_checked_when_they_are_read() {
        let check = |text: &str, expect: Result<&str, RuleError>| {
            let filled = Rules::new(vec![rule(text)]).map(|rules| rules.answer(&mail()).unwrap());
            assert_eq!(filled, expect.map(str::to_owned), "{text:?}");
        };
        check(
            "{from}: {subject} ({account})",
            Ok("ada@example.org: Hello (help)"),
        );
        check("{{name}} }} {{", Ok("{name} } {"));
        let rule = || "r".to_owned();
        check(
            "{nmae}",
            Err(RuleError::UnknownPlaceholder {
                rule: rule(),
                placeholder: "nmae".into(),
            }),
        );
        check("a { b", Err(RuleError::LoneBrace { rule: rule() }));
        check("a } b", Err(RuleError::LoneBrace { rule: rule() }));
        check("  ", Err(RuleError::NoText { rule: rule() }));
    }
}

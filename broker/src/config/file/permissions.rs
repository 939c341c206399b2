//! `permissions`: subjects to publish on and to subscribe to.

use super::Problem;
use super::directives::set;
use super::read::{self, Directive, apply, block, duration, flag, texts};
use super::syntax::Item;
use crate::config::{Permissions, Responses, Rule};
use crate::subject::Filter;

const PERMISSIONS: &[Directive<Permissions>] = &[
    ("publish", |permissions, item| {
        set(&mut permissions.publish, rule(item, false))
    }),
    ("pub", |permissions, item| {
        set(&mut permissions.publish, rule(item, false))
    }),
    ("import", |permissions, item| {
        set(&mut permissions.publish, rule(item, false))
    }),
    ("subscribe", |permissions, item| {
        set(&mut permissions.subscribe, rule(item, true))
    }),
    ("sub", |permissions, item| {
        set(&mut permissions.subscribe, rule(item, true))
    }),
    ("export", |permissions, item| {
        set(&mut permissions.subscribe, rule(item, true))
    }),
    ("allow_responses", |permissions, item| {
        put_some(&mut permissions.responses, responses(item))
    }),
    ("allow_response", |permissions, item| {
        put_some(&mut permissions.responses, responses(item))
    }),
];

fn put_some<T>(field: &mut Option<T>, read: Result<Option<T>, Problem>) -> Result<(), Problem> {
    *field = read?;
    Ok(())
}

pub fn permissions(item: &Item) -> Result<Permissions, Problem> {
    let mut permissions = Permissions::default();
    let mut problems = Vec::new();
    apply(block(item)?, PERMISSIONS, &mut permissions, &[], &mut problems);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(permissions),
    }
}

/// Subjects, or a block with `allow` and `deny`.
fn rule(item: &Item, with_queues: bool) -> Result<Rule, Problem> {
    let Ok(entries) = block(item) else {
        let allow = Some(subjects(item, with_queues)?);
        return Ok(Rule {
            allow,
            deny: Vec::new(),
        });
    };
    let mut rule = Rule::default();
    for entry in entries {
        let subjects = subjects(&entry.item, with_queues)?;
        match entry.key.to_ascii_lowercase().as_str() {
            "allow" => rule.allow = Some(subjects),
            "deny" => rule.deny = subjects,
            _ => {
                return Err(Problem::new(
                    &entry.at,
                    format!("unknown field `{}`; there are `allow` and `deny`", entry.key),
                ));
            }
        }
    }
    Ok(rule)
}

fn subjects(item: &Item, with_queues: bool) -> Result<Vec<String>, Problem> {
    let subjects = texts(item)?;
    for subject in &subjects {
        let words: Vec<&str> = subject.split_whitespace().collect();
        let is_valid = match words.as_slice() {
            [subject] => Filter::parse(subject.as_bytes()).is_some(),
            [subject, queue] => {
                with_queues
                    && [subject, queue]
                        .iter()
                        .all(|part| Filter::parse(part.as_bytes()).is_some())
            }
            _ => false,
        };
        if !is_valid {
            let expected = if with_queues {
                "a subject, or a subject and a queue"
            } else {
                "a subject"
            };
            return Err(Problem::new(&item.at, format!("{subject:?} is not {expected}")));
        }
    }
    Ok(subjects)
}

fn responses(item: &Item) -> Result<Option<Responses>, Problem> {
    if let Ok(wanted) = flag(item) {
        return Ok(wanted.then(Responses::default));
    }
    let mut responses = Responses::default();
    for entry in block(item)? {
        match entry.key.to_ascii_lowercase().as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                let max: i64 = read::number(&entry.item, "a number of answers, or -1 for no limit")?;
                responses.max = match max {
                    0 => responses.max,
                    max => u64::try_from(max).ok(),
                };
            }
            "expires" | "expiration" | "ttl" => {
                let after = duration(&entry.item)?;
                responses.expires = (!after.is_zero()).then_some(after).or(responses.expires);
            }
            _ => {
                return Err(Problem::new(
                    &entry.at,
                    format!("unknown field `{}`; there are `max` and `expires`", entry.key),
                ));
            }
        }
    }
    Ok(Some(responses))
}

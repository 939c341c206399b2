//! What a user may publish on and subscribe to. Pure; agrees with a brute-force reading of the rules, see the tests.
//!
//! A subscription is refused unless one allowed pattern covers all of it, and if one denied pattern does. A wildcard
//! that merely touches a denied pattern is accepted, and what the pattern matches is withheld from it.

use crate::config;
use crate::subject::Filter;

/// Rules made ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    publish: Patterns,
    subscribe: Patterns,
    pub responses: Option<config::Responses>,
}

#[derive(Debug, Clone, Default)]
struct Patterns {
    /// `None` allows everything.
    allow: Option<Vec<Pattern>>,
    deny: Vec<Pattern>,
}

/// `subject`, or `subject queue`, which is about members of that queue group only.
#[derive(Debug, Clone)]
struct Pattern {
    subject: Filter,
    queue: Option<Filter>,
}

impl Permissions {
    pub fn new(given: &config::Permissions) -> Permissions {
        let mut publish = Patterns::new(&given.publish);
        // Whoever may answer may do nothing else unless told so.
        if given.responses.is_some() && publish.allow.is_none() {
            publish.allow = Some(Vec::new());
        }
        Permissions {
            publish,
            subscribe: Patterns::new(&given.subscribe),
            responses: given.responses,
        }
    }

    pub fn may_publish(&self, subject: &[u8]) -> bool {
        let matches = |pattern: &Pattern| pattern.subject.matches(subject);
        let is_allowed = self
            .publish
            .allow
            .as_ref()
            .is_none_or(|allow| allow.iter().any(matches));
        is_allowed && !self.publish.deny.iter().any(matches)
    }

    /// The subjects to withhold from a subscription, or `None` if it is refused as a whole.
    pub fn subscribe(&self, filter: &Filter, queue: Option<&[u8]>) -> Option<Vec<Filter>> {
        let Patterns { allow, deny } = &self.subscribe;
        if allow
            .as_ref()
            .is_some_and(|allow| !is_allowed(allow, filter, queue))
        {
            return None;
        }
        let mut withheld = Vec::new();
        for pattern in deny.iter().filter(|pattern| pattern.is_about(queue)) {
            if pattern.subject.covers(filter) {
                return None;
            }
            if pattern.subject.overlaps(filter) {
                withheld.push(pattern.subject.clone());
            }
        }
        Some(withheld)
    }
}

/// Where patterns with queues cover the subject, a member of a queue group needs one that names its group.
fn is_allowed(allow: &[Pattern], filter: &Filter, queue: Option<&[u8]>) -> bool {
    let covering = || allow.iter().filter(|pattern| pattern.subject.covers(filter));
    match queue {
        Some(_) if covering().any(|pattern| pattern.queue.is_some()) => {
            covering().any(|pattern| pattern.queue.is_some() && pattern.is_about(queue))
        }
        _ => covering().any(|pattern| pattern.queue.is_none()),
    }
}

impl Patterns {
    fn new(rule: &config::Rule) -> Patterns {
        let parse = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text)).collect();
        Patterns {
            allow: rule.allow.as_deref().map(parse),
            deny: parse(&rule.deny),
        }
    }
}

impl Pattern {
    /// `None` for what is no subject, which then allows nothing; the configuration file has refused it before.
    fn parse(text: &str) -> Option<Pattern> {
        let mut words = text.split_whitespace();
        let subject = Filter::parse(words.next()?.as_bytes())?;
        let queue = match words.next() {
            Some(queue) => Some(Filter::parse(queue.as_bytes())?),
            None => None,
        };
        Some(Pattern { subject, queue })
    }

    fn is_about(&self, queue: Option<&[u8]>) -> bool {
        match (&self.queue, queue) {
            (None, _) => true,
            (Some(pattern), Some(queue)) => pattern.matches(queue),
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests;

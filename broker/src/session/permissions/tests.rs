//! The engine against a reading of the rules that enumerates subjects and knows no shortcuts.

use proptest::prelude::*;
use proptest::test_runner::{Config as Runner, TestRunner};

use super::*;
use crate::config::{Permissions as Given, Responses, Rule};

/// Many more by `POSTROOM_PERMISSION_CASES=1000000 cargo test -p postroom-broker --lib brute_force`.
const CASES: u32 = 3_000;

/// Every subject of up to four tokens; `z` stands for all names that no pattern has.
fn universe() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    let mut longest: Vec<Vec<&str>> = vec![Vec::new()];
    for _ in 0..4 {
        longest = longest
            .iter()
            .flat_map(|head| ["a", "b", "z"].map(|token| [head.as_slice(), &[token]].concat()))
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

fn oracle_matches(pattern: &str, subject: &[&str]) -> bool {
    let wanted: Vec<&str> = pattern.split('.').collect();
    if wanted.last() == Some(&">") {
        let head = wanted.len() - 1;
        return subject.len() > head
            && wanted[..head]
                .iter()
                .zip(subject)
                .all(|(w, s)| *w == "*" || w == s);
    }
    wanted.len() == subject.len() && wanted.iter().zip(subject).all(|(w, s)| *w == "*" || w == s)
}

fn split(pattern: &str) -> (&str, Option<&str>) {
    pattern
        .split_once(' ')
        .map_or((pattern, None), |(subject, queue)| (subject, Some(queue)))
}

fn oracle_is_about(queue_pattern: Option<&str>, queue: Option<&str>) -> bool {
    match (queue_pattern, queue) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(pattern), Some(queue)) => oracle_matches(pattern, &queue.split('.').collect::<Vec<_>>()),
    }
}

/// What a subscription receives, or `None` when it is refused.
fn oracle_subscribe(rule: &Rule, filter: &str, queue: Option<&str>, all: &[Vec<&str>]) -> Option<Vec<usize>> {
    let reached: Vec<usize> = (0..all.len())
        .filter(|at| oracle_matches(filter, &all[*at]))
        .collect();
    let covers = |pattern: &str| reached.iter().all(|at| oracle_matches(pattern, &all[*at]));
    if let Some(allow) = &rule.allow {
        let covering: Vec<_> = allow
            .iter()
            .map(|p| split(p))
            .filter(|(subject, _)| covers(subject))
            .collect();
        let for_queues: Vec<_> = covering.iter().filter(|(_, q)| q.is_some()).collect();
        let is_allowed = if queue.is_some() && !for_queues.is_empty() {
            for_queues
                .iter()
                .any(|(_, pattern)| oracle_is_about(*pattern, queue))
        } else {
            covering.iter().any(|(_, pattern)| pattern.is_none())
        };
        if !is_allowed {
            return None;
        }
    }
    let denied: Vec<&str> = rule
        .deny
        .iter()
        .map(|pattern| split(pattern))
        .filter(|(_, pattern)| oracle_is_about(*pattern, queue))
        .map(|(subject, _)| subject)
        .collect();
    if denied.iter().any(|pattern| covers(pattern)) {
        return None;
    }
    let passes = |at: &usize| !denied.iter().any(|pattern| oracle_matches(pattern, &all[*at]));
    Some(reached.into_iter().filter(passes).collect())
}

fn subject() -> BoxedStrategy<String> {
    "([ab*]\\.){0,2}[ab*>]".boxed()
}

fn pattern() -> BoxedStrategy<String> {
    (subject(), proptest::option::weighted(0.3, "[vw*](\\.[vw>])?"))
        .prop_map(|(subject, queue)| match queue {
            Some(queue) => format!("{subject} {queue}"),
            None => subject,
        })
        .boxed()
}

fn rule(pattern: BoxedStrategy<String>) -> impl Strategy<Value = Rule> {
    let allow = proptest::option::of(proptest::collection::vec(pattern.clone(), 0..4));
    (allow, proptest::collection::vec(pattern, 0..4)).prop_map(|(allow, deny)| Rule { allow, deny })
}

#[test]
fn agrees_with_brute_force() {
    let cases = std::env::var("POSTROOM_PERMISSION_CASES")
        .ok()
        .and_then(|count| count.parse().ok());
    let mut runner = TestRunner::new(Runner {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        ..Runner::default()
    });
    let all = universe();
    let publish_all: Vec<String> = all.iter().map(|tokens| tokens.join(".")).collect();
    let queue = proptest::option::of("[vw](\\.[vw])?");
    let case = (rule(pattern()), rule(subject()), subject(), queue);
    let outcome = runner.run(&case, |(subscribe, publish, filter, queue)| {
        let given = Given {
            publish: publish.clone(),
            subscribe: subscribe.clone(),
            responses: None,
        };
        let permissions = Permissions::new(&given);
        let parsed = Filter::parse(filter.as_bytes()).unwrap();
        let got = permissions
            .subscribe(&parsed, queue.as_deref().map(str::as_bytes))
            .map(|withheld| {
                let is_reached = |at: &usize| {
                    let subject = publish_all[*at].as_bytes();
                    parsed.matches(subject) && !withheld.iter().any(|filter| filter.matches(subject))
                };
                (0..all.len()).filter(is_reached).collect::<Vec<_>>()
            });
        prop_assert_eq!(got, oracle_subscribe(&subscribe, &filter, queue.as_deref(), &all));
        for (tokens, text) in all.iter().zip(&publish_all).step_by(7) {
            let matched =
                |patterns: &Vec<String>| patterns.iter().any(|pattern| oracle_matches(pattern, tokens));
            let expect = publish.allow.as_ref().is_none_or(matched) && !matched(&publish.deny);
            prop_assert_eq!(permissions.may_publish(text.as_bytes()), expect, "{}", text);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn who_may_answer_may_do_nothing_else() {
    let only_answers = Given {
        responses: Some(Responses::default()),
        ..Given::default()
    };
    assert!(!Permissions::new(&only_answers).may_publish(b"a"));
    assert!(Permissions::default().may_publish(b"a"));
}

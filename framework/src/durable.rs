//! Which durable consumer a handler works on, and whether stream and consumer let it keep its promises: asked at the
//! start, when a person is there to change a number.

use std::time::Duration;

use humantime::format_duration;

use crate::bus::{Bus, ConsumerFacts};
use crate::error::Error;
use crate::spec::Policy;
use crate::streams::KEEP;

/// What on the broker can't be squared with what a handler promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// A message could come back after its ledger row is forgotten.
    #[error(
        "handler `{handler}`: the stream {stream} keeps messages {}, and the ledger forgets after {}; a message whose ack \
         was lost could be handled twice: raise the handler's ttl, or set the stream's max_age to {} or less",
        lifetime(*max_age), format_duration(*ttl), format_duration((*ttl).max(KEEP))
    )]
    MaxAge {
        /// The handler.
        handler: &'static str,
        /// Its dedupe ttl.
        ttl: Duration,
        /// Its stream.
        stream: String,
        /// The stream's; zero: for ever.
        max_age: Duration,
    },
    /// The broker redelivers later than the ledger remembers.
    #[error(
        "handler `{handler}`: the consumer {consumer} has {field} = {}, which is no shorter than the handler's dedupe ttl of \
         {}: lower {field}, or raise the ttl",
        format_duration(*wait), format_duration(*ttl)
    )]
    Wait {
        /// The handler.
        handler: &'static str,
        /// Its consumer.
        consumer: &'static str,
        /// `ack_wait` or `backoff`.
        field: &'static str,
        /// What it holds.
        wait: Duration,
        /// The handler's dedupe ttl.
        ttl: Duration,
    },
    /// The broker would give up on a message before the handler does, and nobody would hear of it.
    #[error(
        "handler `{handler}`: the consumer {consumer} has max_deliver = {max_deliver}, so the broker would drop what is \
         delivered more often: set max_deliver to -1, attempts are counted in the ledger"
    )]
    MaxDeliver {
        /// The handler.
        handler: &'static str,
        /// Its consumer.
        consumer: &'static str,
        /// What it holds.
        max_deliver: i64,
    },
    /// There is a consumer of the id and one of an alias, and both have work.
    #[error(
        "handler `{handler}`: the stream has a consumer `{handler}`, and one of its alias `{alias}` with {backlog} messages \
         left: let a worker without the alias finish those, then delete the consumer `{alias}`"
    )]
    TwoConsumers {
        /// The handler.
        handler: &'static str,
        /// Its former id.
        alias: &'static str,
        /// What the consumer of that name has still to do.
        backlog: u64,
    },
}

fn lifetime(max_age: Duration) -> String {
    if max_age.is_zero() {
        "for ever".to_owned()
    } else {
        format!("for {}", format_duration(max_age))
    }
}

/// The durable that the handler works on: its own, or that of an alias which is there already.
pub(crate) async fn choose(bus: &Bus, stream: &str, policy: &Policy) -> Result<&'static str, Error> {
    check_stream(policy, stream, bus.max_age(stream).await?)?;
    let mut found = Vec::new();
    for name in policy.names() {
        if let Some(facts) = bus.consumer_facts(stream, name).await? {
            found.push((name, facts));
        }
    }
    let chosen = choose_of(policy, &found)?;
    if let Some((_, facts)) = found.iter().find(|(name, _)| *name == chosen) {
        check_consumer(policy, chosen, facts)?;
    }
    Ok(chosen)
}

fn choose_of(policy: &Policy, found: &[(&'static str, ConsumerFacts)]) -> Result<&'static str, DurableError> {
    let Some((first, _)) = found.first() else {
        return Ok(policy.id);
    };
    let handler = policy.id;
    // The first is the handler's own, if there is one. What else there is must have nothing left.
    match found[1..].iter().find(|(_, facts)| facts.backlog > 0) {
        Some((alias, facts)) => Err(DurableError::TwoConsumers {
            handler,
            alias,
            backlog: facts.backlog,
        }),
        None => Ok(first),
    }
}

/// The streams that postroom makes keep messages for [`KEEP`]; what comes back in that time and is no longer remembered is
/// recognised by its age, and becomes a dead letter.
fn check_stream(policy: &Policy, stream: &str, max_age: Duration) -> Result<(), DurableError> {
    if !max_age.is_zero() && max_age <= policy.ttl.max(KEEP) {
        return Ok(());
    }
    Err(DurableError::MaxAge {
        handler: policy.id,
        ttl: policy.ttl,
        stream: stream.to_owned(),
        max_age,
    })
}

fn check_consumer(
    policy: &Policy,
    consumer: &'static str,
    facts: &ConsumerFacts,
) -> Result<(), DurableError> {
    let handler = policy.id;
    if facts.max_deliver > 0 {
        return Err(DurableError::MaxDeliver {
            handler,
            consumer,
            max_deliver: facts.max_deliver,
        });
    }
    let longest = facts.backoff.iter().max().copied().unwrap_or_default();
    for (field, wait) in [("ack_wait", facts.ack_wait), ("backoff", longest)] {
        if wait >= policy.ttl {
            return Err(DurableError::Wait {
                handler,
                consumer,
                field,
                wait,
                ttl: policy.ttl,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Backoff;

    const DAY: Duration = Duration::from_secs(86_400);

    fn policy(ttl: Duration) -> Policy {
        Policy {
            id: "h",
            aliases: &["old"],
            ttl,
            retry: Backoff::DEFAULT,
            timeout: Duration::from_secs(30),
            concurrency: 1,
            per_key: None,
            rate: None,
            ambiguous: None,
            batch: None,
        }
    }

    fn facts(backlog: u64) -> ConsumerFacts {
        ConsumerFacts {
            backlog,
            ack_wait: Duration::from_secs(4),
            backoff: Vec::new(),
            max_deliver: -1,
        }
    }

    #[test]
    fn a_stream_that_outlives_the_ledger_is_refused_with_both_numbers() {
        let check = |ttl, max_age, right| {
            assert_eq!(
                check_stream(&policy(ttl), "S", max_age).is_ok(),
                right,
                "{ttl:?} {max_age:?}"
            );
        };
        check(DAY, KEEP, true);
        check(DAY, KEEP + Duration::from_secs(1), false);
        check(30 * DAY, 30 * DAY, true);
        check(30 * DAY, 31 * DAY, false);
        check(30 * DAY, Duration::ZERO, false);
        let error = check_stream(&policy(DAY), "ORDERS", Duration::ZERO).expect_err("for ever");
        let text = error.to_string();
        assert!(
            text.contains("ORDERS keeps messages for ever") && text.contains("forgets after 1day"),
            "{text}"
        );
    }

    #[test]
    fn a_consumer_that_waits_too_long_or_gives_up_is_refused_by_field() {
        let check = |facts: ConsumerFacts, words: &str| {
            let error = check_consumer(&policy(DAY), "h", &facts)
                .expect_err(words)
                .to_string();
            assert!(error.contains(words), "{error}");
        };
        assert_eq!(check_consumer(&policy(DAY), "h", &facts(0)), Ok(()));
        check(
            ConsumerFacts {
                ack_wait: DAY,
                ..facts(0)
            },
            "ack_wait = 1day",
        );
        check(
            ConsumerFacts {
                backoff: vec![Duration::from_secs(1), DAY],
                ..facts(0)
            },
            "backoff = 1day",
        );
        check(
            ConsumerFacts {
                max_deliver: 5,
                ..facts(0)
            },
            "max_deliver = 5",
        );
        let just = ConsumerFacts {
            ack_wait: DAY - Duration::from_nanos(1),
            ..facts(0)
        };
        assert_eq!(check_consumer(&policy(DAY), "h", &just), Ok(()));
    }

    #[test]
    fn an_aliass_consumer_is_taken_over_unless_two_have_work() {
        let check = |found: &[(&'static str, ConsumerFacts)], expect| {
            assert_eq!(choose_of(&policy(DAY), found).ok(), expect, "{found:?}");
        };
        check(&[], Some("h"));
        check(&[("h", facts(3))], Some("h"));
        check(&[("old", facts(3))], Some("old"));
        check(&[("h", facts(3)), ("old", facts(0))], Some("h"));
        check(&[("h", facts(0)), ("old", facts(1))], None);
    }
}

//! What came out: the messages that the streams hold.

use std::sync::Arc;

use super::Kit;
use crate::Message;

impl Kit {
    /// Every message of type `M` that a stream holds, in order: what the handlers downstream would get.
    ///
    /// # Panics
    /// When the broker does not answer, or what is on the subject is no `M`.
    #[must_use]
    pub fn published<M: Message>(&self) -> Vec<M> {
        let stage = Arc::clone(&self.stage);
        let held = self.block(async move {
            let held = stage.bus.held_on(M::SUBJECT).await;
            held.unwrap_or_else(|error| panic!("{error}"))
        });
        let decoded = held.iter().map(|(_, payload)| serde_json::from_slice(payload));
        let decoded: Result<Vec<M>, _> = decoded.collect();
        decoded.unwrap_or_else(|error| panic!("what is on {} is no {}: {error}", M::SUBJECT, M::ID))
    }

    /// How many messages were published that are as `wanted`, and how many of their type in all.
    #[doc(hidden)]
    #[must_use]
    pub fn count_published<M: Message>(&self, wanted: impl Fn(M) -> bool) -> (usize, usize) {
        let published = self.published::<M>();
        let all = published.len();
        (
            published
                .into_iter()
                .filter_map(|message| wanted(message).then_some(()))
                .count(),
            all,
        )
    }
}

/// Checks that exactly one message was published that matches a pattern; or, with a number before it, so many.
///
/// ```text
/// assert_published!(kit, Reply { text, .. } if text.contains("accounting"));
/// assert_published!(kit, 0, Bounced { .. });
/// ```
#[macro_export]
macro_rules! assert_published {
    ($kit:expr, $times:literal, $pattern:pat $(if $guard:expr)? $(,)?) => {{
        let (matching, all) = $kit.count_published(|message| match message {
            $pattern $(if $guard)? => true,
            #[allow(unreachable_patterns, reason = "some patterns match everything")]
            _ => false,
        });
        assert!(
            matching == $times,
            "{} messages match `{}`, not {}; {} of the type were published",
            matching,
            stringify!($pattern $(if $guard)?),
            $times,
            all,
        );
    }};
    ($kit:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        $crate::assert_published!($kit, 1, $pattern $(if $guard)?)
    };
}

//! The derives in the company of names that shadow everything they might reach for.

#![allow(
    dead_code,
    reason = "only that it compiles, and what the specs say, is of interest"
)]

use postroom::{HandlerError as _, Message as _, Verdict};
use serde::{Deserialize, Serialize};

/// Each of these is somebody's own.
mod shadowed {
    use serde::{Deserialize, Serialize};

    pub(crate) struct Result;
    pub(crate) struct String;
    pub(crate) struct Option;
    pub(crate) struct Duration;
    pub(crate) struct Spec;
    pub(crate) struct Key;
    pub(crate) mod core {}
    pub(crate) mod std {}

    #[derive(Debug, Serialize, Deserialize, postroom::Message)]
    #[message(subject = "orders.created", id = "orders.created.v1")]
    pub(crate) struct Order {
        pub(crate) r#type: ::std::string::String,
        #[message(incidental)]
        pub(crate) r#move: u32,
    }

    #[derive(postroom::Handler)]
    #[handler(on = Order, id = "confirm", idempotent(key = [r#type], ttl = "7d"), retry(max = 3, backoff = "1s..2s"), timeout = "3s", ambiguous = Hold)]
    pub(crate) struct Confirm<const N: usize>;

    impl<const N: usize> postroom::Handle<Order> for Confirm<N> {
        type Error = Failed<u8>;

        async fn handle(&self, _: Order, _: &mut postroom::Cx<'_>) -> ::std::result::Result<(), Failed<u8>> {
            ::std::result::Result::Ok(())
        }
    }

    #[derive(Debug, thiserror::Error, postroom::HandlerError)]
    pub(crate) enum Failed<T>
    where
        T: ::std::fmt::Debug + Send + Sync + 'static,
    {
        #[error("unit")]
        #[on(retry(after = "5m"))]
        Unit,
        #[error("tuple {0} {1:?}")]
        #[on(discard)]
        Tuple(u8, T),
        #[error("struct {verdict}")]
        #[on(snooze = "1m")]
        Struct { verdict: u8, inner: u8 },
        #[error(transparent)]
        #[on(inherit)]
        Wrapped { inner: postroom::CxError },
        #[error("raw")]
        #[on(dead_letter)]
        r#Raw,
        #[error("lost")]
        #[on(ambiguous)]
        Ok,
    }
}

#[derive(Debug, Serialize, Deserialize, postroom::Message)]
#[message(subject = "orders.paid", id = "orders.paid.v1")]
#[serde(rename_all = "camelCase", bound = "")]
enum Paid<T: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static> {
    InCash,
    By { card: T },
    Later(u32),
}

#[test]
fn the_derives_mean_what_they_say_whatever_is_shadowed() {
    use shadowed::{Confirm, Failed, Order};
    assert_eq!(Order::INCIDENTAL, ["move"]);
    assert!(<Confirm<3> as postroom::Handler>::spec().check().is_ok());
    let says = |error: Failed<u8>| (error.verdict(), error.class());
    let five = Verdict::Retry {
        after: Some(std::time::Duration::from_secs(300)),
    };
    assert_eq!(says(Failed::Unit), (five, "Unit"));
    assert_eq!(says(Failed::Tuple(1, 2)), (Verdict::Discard, "Tuple"));
    let minute = Verdict::Snooze(std::time::Duration::from_secs(60));
    assert_eq!(says(Failed::Struct { verdict: 1, inner: 2 }), (minute, "Struct"));
    let lost = postroom::CxError::LeaseLost;
    assert_eq!(
        says(Failed::Wrapped { inner: lost }),
        (Verdict::Retry { after: None }, "lease_lost")
    );
    assert_eq!(says(Failed::Raw), (Verdict::DeadLetter, "Raw"));
    assert_eq!(says(Failed::Ok), (Verdict::Ambiguous, "Ok"));
    assert_eq!(Paid::<u8>::SUBJECT, "orders.paid");
}

//! The derives in the company of names that shadow everything they might reach for, of serde's own, and of other names for
//! postroom itself.

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

/// Postroom by way of another crate, which nothing here calls `postroom`.
mod renamed {
    pub(crate) mod mail {
        pub(crate) use ::postroom as room;
    }
    use mail::room;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, room::Message)]
    #[message(subject = "orders.sent", id = "orders.sent.v1", crate = "room")]
    pub(crate) struct SentV1 {
        pub(crate) number: u32,
    }

    #[derive(Debug, Serialize, Deserialize, room::Message)]
    #[message(subject = "orders.sent", id = "orders.sent.v2", upcast_from = SentV1, crate = "mail::room")]
    #[serde(rename_all(serialize = "camelCase", deserialize = "kebab-case"))]
    pub(crate) struct Sent {
        #[serde(rename = "no")]
        pub(crate) number: u32,
        #[message(incidental)]
        pub(crate) sent_at: ::std::string::String,
        #[message(incidental)]
        #[serde(rename(serialize = "by"), alias = "sender", default)]
        pub(crate) sent_by: ::std::string::String,
    }

    impl From<SentV1> for Sent {
        fn from(old: SentV1) -> Self {
            let (sent_at, sent_by) = Default::default();
            let number = old.number;
            Self {
                number,
                sent_at,
                sent_by,
            }
        }
    }

    #[derive(room::Handler)]
    #[handler(
        on = Sent,
        id = "note",
        idempotent(key = [number], ttl = "7d"),
        retry(max = 3),
        per_key(number, 2),
        rate = "5/s",
        ambiguous = Hold,
        crate = "crate::renamed::mail::room"
    )]
    pub(crate) struct Note;

    impl room::Handle<Sent> for Note {
        type Error = Failed;

        async fn handle(&self, _: Sent, _: &mut room::Cx<'_>) -> Result<(), Failed> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error, room::HandlerError)]
    #[on(crate = "room")]
    pub(crate) enum Failed {
        #[error("lost")]
        #[on(ambiguous)]
        Lost,
        #[error(transparent)]
        #[on(inherit)]
        Wrapped(#[from] room::CxError),
    }
}

#[test]
fn fields_go_by_the_names_that_serde_gives_them() {
    use renamed::Sent;
    assert_eq!(Sent::INCIDENTAL, ["sent-at", "sentAt", "by", "sender", "sent-by"]);
    let sent = Sent {
        number: 1,
        sent_at: "now".to_owned(),
        sent_by: "us".to_owned(),
    };
    let written = serde_json::to_value(&sent).expect("JSON");
    assert_eq!(
        written,
        serde_json::json!({ "no": 1, "sentAt": "now", "by": "us" })
    );
    let read = r#"{ "no": 1, "sent-at": "now", "sender": "us" }"#;
    assert_eq!(serde_json::from_str::<Sent>(read).expect("read").number, 1);
}

#[test]
fn each_rule_of_serde_is_followed() {
    macro_rules! check {
        ($($rule:literal),+) => {$({
            #[derive(Serialize, Deserialize, postroom::Message)]
            #[message(subject = "orders.seen", id = "orders.seen.v1")]
            #[serde(rename_all = $rule)]
            struct Seen {
                #[message(incidental)]
                seen_at_2: u8,
            }
            let written = serde_json::to_value(Seen { seen_at_2: 1 }).expect("JSON");
            let name = written.as_object().and_then(|fields| fields.keys().next()).expect("a field");
            assert_eq!(Seen::INCIDENTAL, [name], $rule);
        })+};
    }
    check!(
        "lowercase",
        "UPPERCASE",
        "PascalCase",
        "camelCase",
        "snake_case",
        "SCREAMING_SNAKE_CASE"
    );
    check!("kebab-case", "SCREAMING-KEBAB-CASE");
}

#[test]
fn postroom_may_have_another_name() {
    use renamed::{Failed, Note, Sent};
    assert!(<Note as postroom::Handler>::spec().check().is_ok());
    assert_eq!(Sent::versions().len(), 2);
    assert_eq!(
        (Failed::Lost.verdict(), Failed::CAN_BE_AMBIGUOUS),
        (Verdict::Ambiguous, true)
    );
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

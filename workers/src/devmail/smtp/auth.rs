//! AUTH PLAIN and AUTH LOGIN (RFC 4954, RFC 4616), as steps without sockets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What the client has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this challenge (base64, may be empty) and feed the answer.
    Challenge(Exchange, &'static str),
    Done(Credentials),
    Malformed,
    Cancelled,
}

/// An exchange that waits for the client's next line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Plain,
    LoginName,
    LoginPassword { name: String },
}

#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) name: String,
    pub(super) password: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// base64 of `Username:` and `Password:`, which some clients insist on.
const ASK_NAME: &str = "VXNlcm5hbWU6";
const ASK_PASSWORD: &str = "UGFzc3dvcmQ6";

pub(super) fn start_plain(initial: &str) -> Step {
    if initial.is_empty() {
        Step::Challenge(Exchange::Plain, "")
    } else {
        Exchange::Plain.answer(initial.as_bytes())
    }
}

pub(super) fn start_login(initial: &str) -> Step {
    if initial.is_empty() {
        Step::Challenge(Exchange::LoginName, ASK_NAME)
    } else {
        Exchange::LoginName.answer(initial.as_bytes())
    }
}

impl Exchange {
    pub(super) fn answer(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Cancelled;
        }
        // RFC 4954 4: "=" is an empty initial response.
        let encoded = if line == b"=" { b"" } else { line };
        let Ok(decoded) = STANDARD.decode(encoded) else {
            return Step::Malformed;
        };
        match self {
            Self::Plain => plain(&decoded).map_or(Step::Malformed, Step::Done),
            Self::LoginName => match String::from_utf8(decoded) {
                Ok(name) => Step::Challenge(Self::LoginPassword { name }, ASK_PASSWORD),
                Err(_) => Step::Malformed,
            },
            Self::LoginPassword { name } => Step::Done(Credentials {
                name,
                password: decoded,
            }),
        }
    }
}

/// `[authzid] NUL authcid NUL password` (RFC 4616); acting for somebody else is not offered.
fn plain(message: &[u8]) -> Option<Credentials> {
    let mut fields = message.split(|byte| *byte == 0);
    let (authzid, name, password) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || !(authzid.is_empty() || authzid == name) {
        return None;
    }
    Some(Credentials {
        name: String::from_utf8(name.to_vec()).ok()?,
        password: password.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice(password: &str) -> Credentials {
        Credentials {
            name: "alice".into(),
            password: password.into(),
        }
    }

    #[test]
    fn plain_in_one_step_or_two() {
        let message = STANDARD.encode("\0alice\0s3cret");
        assert_eq!(start_plain(&message), Step::Done(alice("s3cret")));
        assert_eq!(start_plain(""), Step::Challenge(Exchange::Plain, ""));
        assert_eq!(
            Exchange::Plain.answer(message.as_bytes()),
            Step::Done(alice("s3cret"))
        );
    }

    #[test]
    fn login_asks_twice() {
        let Step::Challenge(exchange, "VXNlcm5hbWU6") = start_login("") else {
            panic!()
        };
        let Step::Challenge(exchange, "UGFzc3dvcmQ6") = exchange.answer(b"YWxpY2U=") else {
            panic!()
        };
        assert_eq!(exchange.answer(b"czNjcmV0"), Step::Done(alice("s3cret")));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for message in ["\0alice", "alice", "\0a\0b\0c", "bob\0alice\0s3cret", "\0\u{e9}"] {
            assert_eq!(
                start_plain(&STANDARD.encode(message)),
                Step::Malformed,
                "{message:?}"
            );
        }
        assert_eq!(start_plain("not base64!"), Step::Malformed);
        assert_eq!(Exchange::LoginName.answer(b"*"), Step::Cancelled);
    }

    #[test]
    fn the_password_is_not_in_debug_output() {
        assert!(!format!("{:?}", alice("s3cret")).contains("s3cret"));
    }
}

//! The SASL responses that carry a password or a token. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::Endpoint;

/// A mechanism that carries a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// What Google and Microsoft document, and the only one that both have had from the beginning.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

/// In the order of preference.
const BEARERS: [Bearer; 2] = [Bearer::XOAuth2, Bearer::OAuthBearer];

impl Bearer {
    /// The first that the server has.
    pub fn choose(has: impl Fn(&str) -> bool) -> Option<Self> {
        BEARERS.into_iter().find(|bearer| has(bearer.name()))
    }

    /// As servers list it.
    pub fn name(self) -> &'static str {
        match self {
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// The initial response, in base64.
    ///
    /// # Errors
    /// When user or token hold a character that would end their field.
    pub fn response(self, user: &str, token: &str, endpoint: &Endpoint) -> Result<String, Unspeakable> {
        let has_controls = |text: &str| text.chars().any(char::is_control);
        if has_controls(user) || has_controls(token) {
            return Err(Unspeakable);
        }
        let Endpoint { host, port, .. } = endpoint;
        Ok(STANDARD.encode(match self {
            Self::XOAuth2 => format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"),
            Self::OAuthBearer => {
                // RFC 5801 section 4: the user is a saslname.
                let user = user.replace('=', "=3D").replace(',', "=2C");
                format!("n,a={user},\u{1}host={host}\u{1}port={port}\u{1}auth=Bearer {token}\u{1}\u{1}")
            }
        }))
    }

    /// What answers the server's error report; the refusal follows it.
    pub fn acknowledgement(self) -> &'static str {
        match self {
            Self::XOAuth2 => "",
            // RFC 7628 section 3.2.3: a lone 0x01.
            Self::OAuthBearer => "AQ==",
        }
    }
}

/// The response of PLAIN (RFC 4616), in base64.
///
/// # Errors
/// When user or password hold NUL, which separates them.
pub fn plain(user: &str, password: &str) -> Result<String, Unspeakable> {
    if user.contains('\0') || password.contains('\0') {
        return Err(Unspeakable);
    }
    Ok(STANDARD.encode(format!("\0{user}\0{password}")))
}

/// A mechanism has no way to say this user, password or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("user, password or token contains a character that cannot be sent, such as NUL")]
pub struct Unspeakable;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Security;

    fn said(bearer: Bearer, user: &str) -> String {
        let endpoint = Endpoint {
            host: "imap.shop.example".into(),
            port: 993,
            security: Security::Tls,
        };
        let response = bearer.response(user, "t0ken", &endpoint).unwrap();
        String::from_utf8(STANDARD.decode(response).unwrap()).unwrap()
    }

    #[test]
    fn tokens_as_the_mechanisms_want_them() {
        assert_eq!(
            said(Bearer::XOAuth2, "ada@shop.example"),
            "user=ada@shop.example\u{1}auth=Bearer t0ken\u{1}\u{1}"
        );
        assert_eq!(
            said(Bearer::OAuthBearer, "a=b,c@shop.example"),
            "n,a=a=3Db=2Cc@shop.example,\u{1}host=imap.shop.example\u{1}port=993\u{1}auth=Bearer t0ken\u{1}\u{1}"
        );
    }

    #[test]
    fn nothing_ends_its_field_early() {
        let endpoint = Endpoint {
            host: "h".into(),
            port: 1,
            security: Security::Tls,
        };
        for (user, token) in [("a\u{1}b", "t"), ("a", "t\r\nX"), ("a\0", "t")] {
            assert_eq!(Bearer::XOAuth2.response(user, token, &endpoint), Err(Unspeakable));
        }
        assert_eq!(plain("a\0", "p"), Err(Unspeakable));
        assert_eq!(
            plain("ada", "s\"e\\c\r\nret").as_deref(),
            Ok("AGFkYQBzImVcYw0KcmV0")
        );
    }

    #[test]
    fn the_mechanism_that_the_server_has() {
        assert_eq!(Bearer::choose(|_| true), Some(Bearer::XOAuth2));
        assert_eq!(
            Bearer::choose(|name| name == "OAUTHBEARER"),
            Some(Bearer::OAuthBearer)
        );
        assert_eq!(Bearer::choose(|name| name == "PLAIN"), None);
    }
}

//! Where an account's tokens come from. Pure.

use std::net::IpAddr;
use std::str::FromStr;

use crate::config::Secret;
use crate::tls::{Endpoint, Security};

/// A token server that is known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Where tokens are given out.
    pub token_url: TokenUrl,
    /// Where a person is asked; without it there is no `postroom login`.
    pub sign_in_url: Option<String>,
    /// What the token is to allow.
    pub scope: Option<String>,
    /// Sent along when a person is asked, so that a refresh token comes back.
    pub sign_in_extras: &'static [(&'static str, &'static str)],
}

impl Provider {
    /// Gmail and Google Workspace.
    pub fn google() -> Self {
        Self {
            token_url: TokenUrl::https("oauth2.googleapis.com", "/token"),
            sign_in_url: Some("https://accounts.google.com/o/oauth2/v2/auth".to_owned()),
            scope: Some("https://mail.google.com/".to_owned()),
            sign_in_extras: &[("access_type", "offline"), ("prompt", "consent")],
        }
    }

    /// Microsoft 365 and Outlook.com. `tenant` is a directory's id or name, or `common`.
    pub fn microsoft(tenant: &str) -> Self {
        const HOST: &str = "login.microsoftonline.com";
        Self {
            token_url: TokenUrl::https(HOST, &format!("/{tenant}/oauth2/v2.0/token")),
            sign_in_url: Some(format!("https://{HOST}/{tenant}/oauth2/v2.0/authorize")),
            scope: Some(
                "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send \
                 offline_access"
                    .to_owned(),
            ),
            sign_in_extras: &[],
        }
    }

    /// Any other.
    pub fn other(token_url: TokenUrl) -> Self {
        Self {
            token_url,
            sign_in_url: None,
            scope: None,
            sign_in_extras: &[],
        }
    }
}

/// An account's OAuth settings.
#[derive(Debug, Clone)]
pub struct OAuth {
    pub provider: Provider,
    pub client_id: String,
    /// Public clients have none.
    pub client_secret: Option<Secret>,
    /// `None` where the account has signed in by `postroom login`.
    pub refresh_token: Option<Secret>,
}

/// The URL of a token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUrl {
    pub endpoint: Endpoint,
    /// With the query.
    pub path: String,
}

/// A text that is no URL of a token server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no https:// URL, nor one with http:// on this machine")]
pub struct BadTokenUrl;

impl TokenUrl {
    fn https(host: &str, path: &str) -> Self {
        Self {
            endpoint: Endpoint {
                host: host.to_owned(),
                port: 443,
                security: Security::Tls,
            },
            path: path.to_owned(),
        }
    }

    /// For the `Host` header, and for people.
    pub fn authority(&self) -> String {
        match (self.endpoint.security, self.endpoint.port) {
            (Security::Tls, 443) => self.endpoint.host.clone(),
            (_, port) => format!("{}:{port}", self.endpoint.host),
        }
    }
}

impl FromStr for TokenUrl {
    type Err = BadTokenUrl;

    /// A refresh token opens a mailbox for months, so it travels by https; unencrypted only within this machine.
    fn from_str(text: &str) -> Result<Self, BadTokenUrl> {
        let url: hyper::Uri = text.parse().map_err(|_| BadTokenUrl)?;
        let host = url.host().ok_or(BadTokenUrl)?.trim_matches(['[', ']']);
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let (security, default_port) = match url.scheme_str() {
            Some("https") => (Security::Tls, 443),
            Some("http") if is_local => (Security::None, 80),
            _ => return Err(BadTokenUrl),
        };
        if url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(BadTokenUrl);
        }
        Ok(Self {
            endpoint: Endpoint {
                host: host.to_owned(),
                port: url.port_u16().unwrap_or(default_port),
                security,
            },
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_encrypted() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let url = text.parse::<TokenUrl>().ok();
            let found = url.as_ref().map(|url| (url.authority(), url.path.clone()));
            let expect = expect.map(|(authority, path)| (authority.to_owned(), path.to_owned()));
            assert_eq!(found, expect, "{text}");
        };
        check("https://id.example/token", Some(("id.example", "/token")));
        check(
            "https://id.example:8443/t?x=1",
            Some(("id.example:8443", "/t?x=1")),
        );
        check("https://id.example", Some(("id.example", "/")));
        check("http://127.0.0.1:9/t", Some(("127.0.0.1:9", "/t")));
        check("http://localhost:9", Some(("localhost:9", "/")));
        check("http://id.example/token", None);
        check("ftp://id.example/token", None);
        check("https://user:pw@id.example/", None);
        check("/token", None);
        check("", None);
    }

    #[test]
    fn presets() {
        assert_eq!(Provider::google().token_url.authority(), "oauth2.googleapis.com");
        let microsoft = Provider::microsoft("contoso.example");
        assert_eq!(microsoft.token_url.path, "/contoso.example/oauth2/v2.0/token");
    }
}

//! Credentials: compared without telling by time how much of them was right.

use crate::config::Auth;
use crate::protocol::Connect;

pub fn is_required(auth: &Auth) -> bool {
    !matches!(auth, Auth::Open)
}

pub fn accepts(auth: &Auth, connect: &Connect) -> bool {
    let given = |field: &Option<String>| field.clone().unwrap_or_default();
    match auth {
        Auth::Open => true,
        Auth::User { user, password } => {
            // Both are always compared, so a wrong user takes as long as a wrong password.
            let user_matches = same(user.as_bytes(), given(&connect.user).as_bytes());
            let password_matches = same(password.as_bytes(), given(&connect.pass).as_bytes());
            user_matches & password_matches
        }
        Auth::Token(token) => same(token.as_bytes(), given(&connect.auth_token).as_bytes()),
    }
}

/// The time depends on the length of what was given only, which the peer knows anyway.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let want = expected.get(at).or(expected.first()).copied().unwrap_or(0);
        difference = std::hint::black_box(difference | (want ^ byte));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let connect = |user: &str, pass: &str, token: &str| Connect {
            user: Some(user.to_owned()),
            pass: Some(pass.to_owned()),
            auth_token: Some(token.to_owned()),
            ..Connect::default()
        };
        let user = Auth::User {
            user: "ann".into(),
            password: "s3cret".into(),
        };
        assert!(accepts(&user, &connect("ann", "s3cret", "")));
        for (name, pass) in [
            ("ann", "s3cre"),
            ("ann", "s3crets"),
            ("ann", ""),
            ("an", "s3cret"),
            ("", ""),
        ] {
            assert!(!accepts(&user, &connect(name, pass, "")), "{name}:{pass}");
        }
        assert!(!accepts(&user, &Connect::default()));
        let token = Auth::Token("t0ken".into());
        assert!(accepts(&token, &connect("", "", "t0ken")));
        assert!(!accepts(&token, &connect("", "", "t0keN")));
        assert!(!accepts(&token, &Connect::default()));
        assert!(accepts(&Auth::Open, &Connect::default()));
    }
}

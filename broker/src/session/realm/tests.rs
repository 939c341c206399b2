//! Credentials of every kind, right and wrong.

use super::*;
use crate::config::User;

fn realm(auth: &Auth) -> Realm {
    let account = Account {
        name: "$G".into(),
        router: Router::default(),
        jetstream: None,
        is_system: false,
    };
    Realm::new(auth, vec![Arc::new(account)], true)
}

async fn is_in(realm: &Realm, connect: &Connect) -> bool {
    let shown = Shown {
        connect,
        nonce: Some("nonce"),
        certificate: &[],
    };
    realm.log_in(shown).await.is_some()
}

fn connect(user: &str, pass: &str, token: &str) -> Connect {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Connect {
        user: some(user),
        pass: some(pass),
        auth_token: some(token),
        ..Connect::default()
    }
}

#[tokio::test]
async fn passwords_and_tokens() {
    let hash = bcrypt::hash("s3cret", 4).unwrap();
    let argon2 = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$";
    let argon2 = {
        use argon2::password_hash::{PasswordHasher, SaltString};
        assert!(is_hash(argon2));
        let salt = SaltString::from_b64("c29tZXNhbHQ").unwrap();
        argon2::Argon2::default()
            .hash_password(b"s3cret", &salt)
            .unwrap()
            .to_string()
    };
    for secret in ["s3cret", hash.as_str(), argon2.as_str()] {
        let user = realm(&Auth::user("ann", secret));
        assert!(is_in(&user, &connect("ann", "s3cret", "")).await, "{secret}");
        for (name, pass) in [
            ("ann", "s3cre"),
            ("ann", "s3crets"),
            ("ann", ""),
            ("an", "s3cret"),
            ("", ""),
        ] {
            assert!(
                !is_in(&user, &connect(name, pass, "")).await,
                "{secret}: {name}:{pass}"
            );
        }
        assert!(!is_in(&user, &connect("ann", &"x".repeat(PASSWORD_MAX + 1), "")).await);
        assert!(!is_in(&user, &Connect::default()).await);
        let knows_the_hash = is_in(&user, &connect("ann", secret, "")).await;
        assert_eq!(knows_the_hash, !is_hash(secret), "a hash is no password");
    }
    for secret in ["t0ken", bcrypt::hash("t0ken", 4).unwrap().as_str()] {
        let token = realm(&Auth::token(secret));
        assert!(is_in(&token, &connect("", "", "t0ken")).await);
        assert!(!is_in(&token, &connect("", "", "t0keN")).await);
        assert!(
            is_in(&token, &connect("ann", "any", "t0ken")).await,
            "a user that nobody asks for"
        );
        assert!(!is_in(&token, &connect("ann", "t0ken", "")).await);
        assert!(!is_in(&token, &Connect::default()).await);
    }
    assert!(is_in(&realm(&Auth::open()), &Connect::default()).await);
    assert!(is_in(&realm(&Auth::open()), &connect("any", "thing", "")).await);
}

#[tokio::test]
async fn nkeys_sign_the_nonce() {
    let pair = nkeys::KeyPair::new_user();
    let auth = Auth {
        users: vec![User::new(Credentials::Nkey(pair.public_key()))],
        ..Auth::default()
    };
    let realm = realm(&auth);
    assert!(realm.needs_nonce());
    let signed = |nonce: &str, key: &str| Connect {
        nkey: Some(key.to_owned()),
        sig: Some(URL_SAFE_NO_PAD.encode(pair.sign(nonce.as_bytes()).unwrap())),
        ..Connect::default()
    };
    assert!(is_in(&realm, &signed("nonce", &pair.public_key())).await);
    assert!(!is_in(&realm, &signed("another", &pair.public_key())).await);
    assert!(!is_in(&realm, &signed("nonce", &nkeys::KeyPair::new_user().public_key())).await);
    let unsigned = Connect {
        nkey: Some(pair.public_key()),
        ..Connect::default()
    };
    assert!(!is_in(&realm, &unsigned).await);
}

#[tokio::test]
async fn nobody_and_certificates() {
    let named = |user: &str| {
        let password = None;
        User::new(Credentials::Password {
            user: user.into(),
            password,
        })
    };
    let auth = Auth {
        users: vec![named("guest"), named("CN=ann,O=Shop")],
        no_auth_user: Some("guest".into()),
        ..Auth::default()
    };
    let realm = realm(&auth);
    let user = async |connect: &Connect, certificate: &[String]| {
        let login = realm
            .log_in(Shown {
                connect,
                nonce: None,
                certificate,
            })
            .await;
        login.map(|login| login.user.clone())
    };
    assert_eq!(user(&Connect::default(), &[]).await.as_deref(), Some("guest"));
    assert_eq!(user(&connect("guest", "", ""), &[]).await, None);
    let names = ["ann@shop.example".to_owned(), "O=Shop, CN=ann".to_owned()];
    assert_eq!(
        user(&Connect::default(), &names).await.as_deref(),
        Some("CN=ann,O=Shop")
    );
    assert_eq!(user(&Connect::default(), &["CN=eve".to_owned()]).await, None);
}

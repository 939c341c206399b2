//! `postroom login ACCOUNT`: signs an account in by OAuth, in the browser, once.

use std::io::{self, Write};

use postroom::Store;

use super::CliError;
use crate::config::{Config, Flags};
use crate::login::sign_in::{SignIn, SignInError};
use crate::store::sign_ins::{self, Origin};
use crate::tls::Dialer;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The account's name in the settings.
    account: String,
    /// The port of this machine that the browser comes back to; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    flags: Flags,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let config = Config::load(&args.flags).map_err(CliError::wrong)?;
    let account = config.account(&args.account).ok_or_else(|| {
        let names: Vec<&str> = config.accounts.iter().map(|account| &*account.name).collect();
        CliError::Wrong(format!(
            "no account is called `{}`; there are: {}",
            args.account,
            names.join(", ")
        ))
    })?;
    let Some(oauth) = &account.oauth else {
        let name = &account.name;
        return Err(CliError::Wrong(format!(
            "account `{name}` logs in by password; give it [accounts.oauth] with provider and client_id first"
        )));
    };
    if oauth.refresh_token.is_some() {
        let sentence = "the settings give this account a refresh token, which would go before the one of a sign-in; take \
                        refresh_token out of [accounts.oauth], then sign in";
        return Err(CliError::Wrong(sentence.to_owned()));
    }
    let dialer = Dialer::new(account.ca_file.as_deref()).map_err(CliError::wrong)?;
    // Before a person is asked: what is given then must have a place.
    let store = Store::open(&config.settings().database_url)
        .await
        .map_err(CliError::wrong)?;
    let sign_in = SignIn::begin(oauth, &account.imap.user, args.port)
        .await
        .map_err(CliError::wrong)?;
    say(&format!(
        "Open this address in a browser on this machine, and sign in as {}:\n\n{}\n\nWaiting; Ctrl-C gives up.",
        account.imap.user, sign_in.url
    ))?;
    let token = tokio::select! {
        done = sign_in.finish(oauth, &dialer) => done.map_err(|error| match error {
            SignInError::Exchange(ref cause) if !cause.is_refused() => CliError::failed(error),
            error => CliError::wrong(error),
        })?,
        () = postroom::stop_signal() => return Err(CliError::Failed("not signed in".to_owned())),
    };
    let kept = async {
        let mut tx = store.begin().await?;
        sign_ins::keep(&mut tx, &account.name, &Origin::of(None), &token).await?;
        tx.commit().await
    };
    kept.await.map_err(CliError::failed)?;
    store.close().await;
    say(&format!(
        "Account `{}` is signed in; its workers need no restart.",
        account.name
    ))
}

fn say(text: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "{text}").map_err(CliError::failed)
}

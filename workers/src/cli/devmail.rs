//! `postroom devmail`: runs the development mailbox until Ctrl-C, and takes orders from its console meanwhile.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::sync::mpsc;

use super::CliError;
use crate::devmail::{DevMail, DevMailConfig, Fault, User};

/// For those who name no user of their own.
const DEFAULT_USER: &str = "hello:hello:hello@example.test";

/// Orders typed faster than they are carried out wait here.
const CONSOLE_QUEUE: usize = 16;

const HELP: &str = "\
A line of its own is a fault:
  rcpt ADDRESS 4xx|5xx TEXT[, N times]      refuse the recipient (ADDRESS may be *@domain or *)
  data ADDRESS 4xx|5xx TEXT[, N times]      refuse the message after its final dot
  drop-after-dot ADDRESS accepted|lost[, N times]
  login USER[, N times]                     refuse the right password
  imap-no COMMAND TEXT[, N times]           answer NO
  imap-drop N                               end the connection at every n-th command
or one of
  faults                                    list the faults and how often each has struck
  clear                                     disarm them all
  drop                                      end all IMAP connections now
  uidvalidity USER FOLDER NUMBER            change a folder's UIDVALIDITY, count its UIDs from 1
  deliver USER FILE                         put a message into an INBOX
  sent                                      list what SMTP took
  help                                      this text
";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen for IMAP; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1143")]
    imap: SocketAddr,
    /// Where to listen for SMTP; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1025")]
    smtp: SocketAddr,
    /// Where everything is kept. A second start on it goes on where the first ended.
    #[arg(long, value_name = "DIR", default_value = "postroom-devmail")]
    dir: PathBuf,
    /// A mailbox owner, may be given several times.
    #[arg(long = "user", value_name = "NAME:PASSWORD:ADDRESS", default_value = DEFAULT_USER)]
    users: Vec<UserArg>,
    /// What goes wrong on demand, may be given several times; `help` on the console lists all kinds.
    /// Example: --fault 'rcpt busy@example.test 451 4.7.1 try again, 2 times'
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
}

/// `NAME:PASSWORD:ADDRESS`. The password may hold colons.
#[derive(Debug, Clone)]
struct UserArg(User);

impl FromStr for UserArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let halves = text
            .split_once(':')
            .and_then(|(name, rest)| Some((name, rest.rsplit_once(':')?)));
        match halves {
            Some((name, (password, address))) if ![name, password, address].contains(&"") => Ok(Self(User {
                name: name.to_owned(),
                password: password.to_owned(),
                address: address.to_owned(),
            })),
            _ => Err("write name:password:address, for example alice:secret:alice@example.test"),
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let users: Vec<User> = args.users.into_iter().map(|user| user.0).collect();
    let greeting = users
        .iter()
        .map(|user| format!("user   {}, {}\n", user.name, user.address))
        .collect::<String>();
    let dir = args.dir.clone();
    let config = DevMailConfig {
        imap: args.imap,
        smtp: args.smtp,
        dir: args.dir,
        users,
        faults: args.faults,
    };
    let devmail = DevMail::start(config).await.map_err(CliError::wrong)?;
    say(&format!(
        "IMAP   {} (no TLS)\nSMTP   {} (no TLS)\n{greeting}files  {}\nType a fault, or help. Ctrl-C ends it.\n",
        devmail.imap_addr(),
        devmail.smtp_addr(),
        dir.display(),
    ));
    let mut console = console();
    let stop = postroom::stop_signal();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(line) = console.recv() => {
                let answer = order(&devmail, &line).await.unwrap_or_else(|error| format!("{error}\n"));
                say(&answer);
            }
        }
    }
    devmail.shutdown().await;
    say("stopped; everything is kept\n");
    Ok(())
}

/// Lines from standard input. The thread cannot be joined, since a read from a terminal cannot be cancelled; it holds
/// nothing and ends with the process.
fn console() -> mpsc::Receiver<String> {
    let (lines, console) = mpsc::channel(CONSOLE_QUEUE);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    console
}

/// Carries out one line of the console; the answer is what to show.
async fn order(devmail: &DevMail, line: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] => Ok(String::new()),
        ["help"] => Ok(HELP.to_owned()),
        ["faults"] => {
            let line = |(fault, struck): (Fault, u32)| format!("struck {struck:>4}  {fault}\n");
            Ok(devmail.faults().into_iter().map(line).collect())
        }
        ["clear"] => {
            devmail.disarm_all().await?;
            Ok("all faults are disarmed\n".to_owned())
        }
        ["drop"] => {
            devmail.drop_imap_connections();
            Ok("all IMAP connections are dropped\n".to_owned())
        }
        ["uidvalidity", user, folder, number] => {
            let value = number
                .parse()
                .map_err(|_| format!("UIDVALIDITY {number:?} must be between 1 and 4294967295"))?;
            devmail.set_uid_validity(user, folder, value).await?;
            Ok(format!("{folder} of {user} has UIDVALIDITY {value}\n"))
        }
        ["deliver", user, file] => {
            let raw = tokio::fs::read(file)
                .await
                .map_err(|error| format!("cannot read {file}: {error}"))?;
            Ok(format!(
                "delivered as UID {}\n",
                devmail.deliver(user, raw).await?
            ))
        }
        ["sent"] => {
            let sent = devmail.sent().await;
            let line = |mail: &crate::devmail::SentMail| {
                format!("{} {} to {}\n", mail.number, mail.received, mail.to.join(", "))
            };
            Ok(sent.iter().map(line).collect())
        }
        _ => {
            let fault: Fault = line.parse()?;
            let armed = format!("armed: {fault}\n");
            devmail.arm(fault).await?;
            Ok(armed)
        }
    }
}

/// To standard output, for people. Nobody may be listening, which is no failure of the mailbox.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read() {
        let UserArg(user) = "alice:pass:word:alice@example.test".parse().unwrap();
        assert_eq!(
            (&*user.name, &*user.password, &*user.address),
            ("alice", "pass:word", "alice@example.test")
        );
        for text in [
            "alice",
            "alice:secret",
            ":secret:a@b",
            "alice::a@b",
            "alice:secret:",
        ] {
            assert!(text.parse::<UserArg>().is_err(), "{text}");
        }
    }
}

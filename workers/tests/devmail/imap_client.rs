//! async-imap, which the workers use, against the mailbox.

use async_imap::Session;
use async_imap::extensions::idle::IdleResponse;
use futures_util::TryStreamExt;
use postroom_workers::demo::corpus::corpus;
use tokio::net::TcpStream;

use super::{DevMail, mail, start};

pub(super) async fn login(devmail: &DevMail) -> Session<TcpStream> {
    let socket = TcpStream::connect(devmail.imap_addr()).await.unwrap();
    let mut client = async_imap::Client::new(socket);
    client.read_response().await.unwrap().unwrap();
    client
        .login("alice", "s3cret")
        .await
        .map_err(|(error, _)| error)
        .unwrap()
}

async fn subjects(session: &mut Session<TcpStream>) -> Vec<(u32, String)> {
    let fetches = session
        .uid_fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        .await
        .unwrap();
    let fetches: Vec<_> = fetches.try_collect().await.unwrap();
    let subject = |fetch: &async_imap::types::Fetch| {
        let header = String::from_utf8(fetch.header().unwrap().to_vec()).unwrap();
        header.trim().strip_prefix("Subject: ").unwrap().to_owned()
    };
    fetches
        .iter()
        .map(|fetch| (fetch.uid.unwrap(), subject(fetch)))
        .collect()
}

#[tokio::test]
async fn read_search_and_mark() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    for subject in ["one", "two", "three"] {
        devmail.deliver("alice", mail(subject)).await.unwrap();
    }
    let mut session = login(&devmail).await;
    let inbox = session.select("INBOX").await.unwrap();
    assert_eq!((inbox.exists, inbox.uid_next), (3, Some(4)));
    assert!(inbox.uid_validity.is_some());

    let fetch: Vec<_> = session
        .uid_fetch("2", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(fetch[0].body().unwrap(), mail("two"));
    assert_eq!(fetch[0].size, Some(u32::try_from(mail("two").len()).unwrap()));
    assert!(fetch[0].internal_date().is_some());
    assert_eq!(fetch[0].flags().count(), 0);

    let part: Vec<_> = session
        .uid_fetch("2", "(UID BODY.PEEK[]<6.5>)")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(part[0].body().unwrap(), b"carol");

    let found = session
        .uid_search("HEADER Message-ID <three@elsewhere.test>")
        .await
        .unwrap();
    assert_eq!(found, [3].into());
    let store: Vec<_> = session
        .uid_store("1,3", "+FLAGS (\\Seen $Filed)")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(store.len(), 2);
    assert_eq!(session.uid_search("UNSEEN").await.unwrap(), [2].into());
    assert_eq!(session.uid_search("KEYWORD $Filed").await.unwrap(), [1, 3].into());
    session.logout().await.unwrap();
    devmail.shutdown().await;
}

#[tokio::test]
async fn move_copy_append_and_expunge() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    for subject in ["one", "two", "three"] {
        devmail.deliver("alice", mail(subject)).await.unwrap();
    }
    let mut session = login(&devmail).await;
    session.select("INBOX").await.unwrap();
    session.uid_mv("1", "Processed").await.unwrap();
    session.uid_copy("3", "Processed").await.unwrap();
    session
        .append("Processed", Some("(\\Seen)"), None, mail("four"))
        .await
        .unwrap();
    let stored: Vec<_> = session
        .uid_store("2:3", "+FLAGS (\\Deleted)")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(stored.len(), 2);
    let gone: Vec<_> = session
        .uid_expunge("3")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(gone, [2]);
    assert_eq!(subjects(&mut session).await, [(2, "two".to_owned())]);

    let status = session
        .status("Processed", "(MESSAGES UIDNEXT UNSEEN)")
        .await
        .unwrap();
    assert_eq!(
        (status.exists, status.uid_next, status.unseen),
        (3, Some(4), Some(2))
    );
    session.select("Processed").await.unwrap();
    let names = ["one", "three", "four"].map(str::to_owned);
    assert_eq!(
        subjects(&mut session).await,
        [1, 2, 3].into_iter().zip(names).collect::<Vec<_>>()
    );
    assert!(matches!(
        session.uid_mv("1", "Nowhere").await,
        Err(async_imap::error::Error::No(_))
    ));
    session.create("Nowhere").await.unwrap();
    session.uid_mv("1", "Nowhere").await.unwrap();
    let folders: Vec<_> = session
        .list(None, Some("*"))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let names: Vec<&str> = folders.iter().map(|folder| folder.name()).collect();
    assert_eq!(names, ["INBOX", "Nowhere", "Processed", "Sent"]);
    devmail.shutdown().await;
}

#[tokio::test]
async fn idle_hears_of_new_mail() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let mut session = login(&devmail).await;
    session.select("INBOX").await.unwrap();
    let mut idle = session.idle();
    idle.init().await.unwrap();
    let (news, _stop) = idle.wait();
    let (news, delivered) = tokio::join!(news, devmail.deliver("alice", mail("one")));
    delivered.unwrap();
    assert!(matches!(news.unwrap(), IdleResponse::NewData(_)));
    let mut session = idle.done().await.unwrap();
    assert_eq!(subjects(&mut session).await, [(1, "one".to_owned())]);
    devmail.shutdown().await;
}

#[tokio::test]
async fn the_whole_corpus_goes_through_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let devmail = start(dir.path(), &[]).await;
    let corpus = corpus();
    for mail in &corpus {
        devmail.deliver("alice", mail.raw.to_vec()).await.unwrap();
    }
    let mut session = login(&devmail).await;
    session.select("INBOX").await.unwrap();
    let asked = "(UID RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])";
    let fetches: Vec<_> = session
        .uid_fetch("1:*", asked)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(fetches.len(), corpus.len());
    for (fetch, mail) in fetches.iter().zip(&corpus) {
        assert!(fetch.body().unwrap_or_default() == &mail.raw[..], "{}", mail.name);
        assert_eq!(fetch.size, u32::try_from(mail.raw.len()).ok(), "{}", mail.name);
        assert!(
            fetch.envelope().is_some() && fetch.bodystructure().is_some(),
            "{}",
            mail.name
        );
    }
    devmail.shutdown().await;
}

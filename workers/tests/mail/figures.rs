//! The metrics add up: whatever was seen has become something, after faults and crashes as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use postroom::Running;
use postroom_workers::ingest::{Policies, Reparse};
use postroom_workers::mime::MAX_NESTING;
use postroom_workers::tls::Security;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ingest::{doveadm, mail, save, user};
use crate::servers::free_ports;
use crate::world::{On, World, eventually, everywhere};
use crate::{DOVECOT, endpoint};

everywhere!(what_was_seen_is_accounted_for_in_the_metrics);

type Figures = BTreeMap<String, u64>;

/// A process with `/metrics` on this port, whose account is named like its user.
async fn watching(world: &World, user: &str, port: u16) -> Running {
    let mut settings = world.settings.clone();
    settings.http = Some(([127, 0, 0, 1], port).into());
    let app = world.app_with(settings).await;
    let app = app.handler(Reparse::new(world.blobs.clone(), Policies::new()));
    let mut watched = world.watched(user, endpoint(DOVECOT.imap, Security::None));
    user.split('@').next().unwrap().clone_into(&mut watched.account);
    let ingest = world.ingest_of(&app, watched);
    app.service(|stop| ingest.run(stop)).start().await.unwrap()
}

/// The samples of a metric of this account, by state.
async fn figures(port: u16, user: &str, metric: &str) -> Figures {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let account = format!("account=\"{}\"", user.split('@').next().unwrap());
    let ours = text
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&account));
    let sample = |line: &str| {
        let state = line.split("state=\"").nth(1);
        let state = state.map_or("", |rest| rest.split('"').next().unwrap());
        (
            state.to_owned(),
            line.rsplit(' ').next().unwrap().parse().unwrap(),
        )
    };
    ours.map(sample).filter(|(_, mails)| *mails > 0).collect()
}

async fn mails_until(port: u16, user: &str, done: impl Fn(&Figures) -> bool) -> Figures {
    eventually("the figures", async || {
        let mails = figures(port, user, "postroom_ingest_mails").await;
        (done(&mails) && !mails.contains_key("discovered")).then_some(mails)
    })
    .await
}

fn sum(figures: &Figures) -> u64 {
    figures.values().sum()
}

async fn what_was_seen_is_accounted_for_in_the_metrics(on: On) {
    let (world, user) = (Arc::new(World::new(on).await), user("figures", on));
    let [port, second] = free_ports();
    let bomb = "Content-Type: message/rfc822\r\n\r\n".repeat(MAX_NESTING + 10) + "Subject: x\r\n\r\nx\r\n";
    save(&user, (0..20).map(mail).chain([bomb.into_bytes()]).collect()).await;
    let running = watching(&world, &user, port).await;
    let first = Figures::from([("published".to_owned(), 20), ("dead".to_owned(), 1)]);
    mails_until(port, &user, |mails| *mails == first).await;
    // Connections are cut while mails come, and then the UIDs begin anew.
    let name = user.clone();
    doveadm(move |dovecot| {
        for n in 20..30 {
            dovecot.save(&name, &mail(n));
            dovecot.kick(&name);
        }
        dovecot.set_uidvalidity(&name, 1_999_999_997);
        dovecot.save(&name, &mail(30));
        dovecot.kick(&name);
    })
    .await;
    let is_over = |mails: &Figures| mails.get("published") == Some(&31) && mails.contains_key("carried");
    let mails = mails_until(port, &user, is_over).await;
    let seen = figures(port, &user, "postroom_ingest_seen_total").await;
    let settled = figures(port, &user, "postroom_ingest_settled_total").await;
    assert_eq!(sum(&seen), sum(&settled), "seen {seen:?}, settled {settled:?}");
    assert_eq!(settled, mails, "what was settled is what is in the table");
    running.drain().await;

    // A process that dies in the middle takes its counters with it; what the next one tells adds up again.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    save(&user, (31..91).map(mail).collect()).await;
    let (there, name) = (Arc::clone(&world), user.clone());
    let dying = runtime.spawn(async move { watching(&there, &name, port).await });
    let dying = dying.await.unwrap();
    eventually("some progress", async || {
        (world.states().await.get("published").copied().unwrap_or(0) > 40).then_some(())
    })
    .await;
    drop(dying);
    runtime.shutdown_background();
    let running = watching(&world, &user, second).await;
    let mut expect = mails;
    *expect.get_mut("published").unwrap() += 60;
    mails_until(second, &user, |mails| *mails == expect).await;
    running.drain().await;
}

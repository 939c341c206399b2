//! When mails go out: at their time, at their account's rate, so many a day; and what they ask of the relay.

use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use postroom::Rate;
use postroom_workers::messages::{Mailbox, Send};
use postroom_workers::send::Outbound;
use postroom_workers::send::pace::{Pace, WarmUp};

use crate::POSTFIX;
use crate::pipeline::{mailbox, send, takes_content, then, waiting};
use crate::servers::Script::{Close, Hear, Say};
use crate::servers::Scripted;
use crate::world::{On, World, eventually, everywhere, outbound};

everywhere!(
    a_mail_for_later_goes_out_once_and_at_its_time,
    an_account_sends_no_faster_than_its_rate,
    an_account_that_warms_up_sends_so_many_a_day,
    a_greylisting_server_is_asked_again_when_it_says,
);

async fn a_mail_for_later_goes_out_once_and_at_its_time(on: On) {
    let world = World::new(on).await;
    let to = format!("later-{}@example.test", on.name());
    let running = world.sending(outbound(POSTFIX.smtp)).await;
    let at = Timestamp::now() + 2.seconds();
    let mail = Send {
        send_at: Some(at),
        ..send("later", &to)
    };
    // Whoever changes his mind has one mail all the same, at the earlier time.
    let again = Send {
        send_at: Some(at + 1.second()),
        ..mail.clone()
    };
    world.publish(&again).await;
    world.publish(&mail).await;
    // What is wrong with a mail is told today.
    let wrong = Send {
        subject: "a\nb".into(),
        send_at: Some(at + 1.hour()),
        ..send("wrong", &to)
    };
    world.publish(&wrong).await;
    let letters = world.dead_letters_until(|letters| letters.len() == 1).await;
    assert!(
        letters[0].error.contains("subject contains a line end"),
        "{}",
        letters[0].error
    );
    assert!(Timestamp::now() < at || world.seen.now().sent.len() == 1);
    world.seen.until(|seen| !seen.sent.is_empty()).await;
    assert!(Timestamp::now() >= at);
    eventually("both to be settled", async || {
        let done = Timestamp::now() > at + 1.second() && running.is_idle().await.unwrap();
        done.then_some(())
    })
    .await;
    running.drain().await;
    let arrived = mailbox(&to, 1).await;
    assert_eq!((arrived.len(), world.seen.now().sent.len()), (1, 1));
    let date = at.strftime("Date: %a, %d %b %Y %H:%M:%S +0000").to_string();
    assert!(arrived[0].contains(&date), "{date} is not in\n{}", arrived[0]);
}

async fn an_account_sends_no_faster_than_its_rate(on: On) {
    let world = World::new(on).await;
    let to = format!("paced-{}@example.test", on.name());
    let pace = Some(Pace::new(Rate::new(1, Duration::from_millis(300))));
    let running = world
        .sending(Outbound {
            pace,
            ..outbound(POSTFIX.smtp)
        })
        .await;
    let begun = Instant::now();
    for n in 0..4 {
        world.publish(&send(&format!("paced-{n}"), &to)).await;
    }
    let sent = world.seen.until(|seen| seen.sent.len() == 4).await.sent;
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        sent.iter().all(|sent| sent.attempts == 1),
        "waiting is no attempt: {sent:?}"
    );
    running.drain().await;
}

async fn an_account_that_warms_up_sends_so_many_a_day(on: On) {
    let world = World::new(on).await;
    let to = format!("warm-{}@example.test", on.name());
    let warm_up = || {
        let (begins, per_day) = ("2026-11-24".parse().unwrap(), "2".parse().unwrap());
        // Its first day is today, whenever that is.
        let begins = Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date()
            .max(begins);
        Some(WarmUp { begins, per_day })
    };
    let relay = || Outbound {
        warm_up: warm_up(),
        ..outbound(POSTFIX.smtp)
    };
    let running = world.sending(relay()).await;
    world.publish(&send("refused", "gone@example.test")).await;
    world.seen.until(|seen| !seen.failed.is_empty()).await;
    world.publish(&send("warm-1", &to)).await;
    world.seen.until(|seen| seen.sent.len() == 1).await;
    running.drain().await;
    // Another process knows what the first has sent.
    let running = world.sending(relay()).await;
    world.publish(&send("warm-2", &to)).await;
    world.seen.until(|seen| seen.sent.len() == 2).await;
    world.publish(&send("warm-3", &to)).await;
    let attempts = eventually("the third mail to wait", async || waiting(&world).await.pop()).await;
    assert_eq!(attempts, 0, "nothing is wrong with the mail");
    running.drain().await;
    assert_eq!(world.seen.now().sent.len(), 2);
}

async fn a_greylisting_server_is_asked_again_when_it_says(on: On) {
    let world = World::new(on).await;
    let greylisted = "450 4.2.0 Greylisted, try again in 2 seconds\r\n";
    let refusing = then(takes_content()[..6].to_vec(), &[Say(greylisted), Close]);
    let taken = then(
        takes_content(),
        &[Say("250 2.0.0 queued\r\n"), Hear("QUIT"), Say("221 bye\r\n")],
    );
    let relay = Scripted::start(vec![refusing, taken]).await;
    let running = world.sending(outbound(relay.port)).await;
    let begun = Instant::now();
    world.publish(&send("greylisted", "a@example.org")).await;
    let sent = world
        .seen
        .until(|seen| !seen.sent.is_empty())
        .await
        .sent
        .remove(0);
    // The handler's own backoff would have had it there within 100 ms.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(sent.attempts, 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_that_was_asked_for_names_the_mail_and_brings_no_more_than_its_header() {
    let world = World::new(On {
        postgres: false,
        nats_server: false,
    })
    .await;
    let running = world.sending(outbound(POSTFIX.smtp)).await;
    let asked = Send {
        from: Mailbox::bare("asked@example.test"),
        text: "nothing of this comes back".into(),
        ..send("asked", "somebody@nosuch.test")
    };
    world.publish(&asked).await;
    let report = mailbox("asked@example.test", 1).await.remove(0);
    running.drain().await;
    assert!(
        report.contains("Original-Envelope-Id: asked@example.test"),
        "{report}"
    );
    assert!(
        report.contains("text/rfc822-headers") && !report.contains("nothing of this"),
        "{report}"
    );
}

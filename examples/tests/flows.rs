//! The flows do what they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its set-up too")]

use postroom_examples::flows::{auto_reply, digest, helpdesk, newsletter, webhook};

fn has(told: &[String], words: &[&str]) -> usize {
    told.iter()
        .filter(|one| words.iter().all(|word| one.contains(word)))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_answer_people_and_no_list() {
    let told = auto_reply::play().await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        has(
            &told,
            &["To: Ada", "Subject: Re: Opening hours?", "Dear Ada, we are open"]
        ),
        1,
        "{told:?}"
    );
    assert_eq!(
        has(&told, &["To: Bob", "Dear Bob, thank you for your message about"]),
        1,
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thread_has_one_ticket() {
    let told = helpdesk::play().await.unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        has(
            &told,
            &[
                "To: Ada",
                "Subject: [#1] My order",
                "In-Reply-To: <1@mail.example>"
            ]
        ),
        1,
        "{told:?}"
    );
    assert_eq!(has(&told, &["To: Bob", "Subject: [#2] A lamp"]), 1, "{told:?}");
    assert_eq!(told[2], "mails of each ticket: [2, 1]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_gets_no_second_edition() {
    let told = newsletter::play().await.unwrap();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(
        has(&told, &["List-Unsubscribe-Post: List-Unsubscribe=One-Click"]),
        3,
        "{told:?}"
    );
    assert_eq!(
        has(&told, &["To: ada@mail.example", "Subject: News 2"]),
        1,
        "{told:?}"
    );
    assert_eq!(has(&told, &["Subject: News 2"]), 1, "{told:?}");
    assert_eq!(told[3], "suppressed: gone@mail.example, moved@mail.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_out_of_order_is_called_again() {
    let told = webhook::play().await.unwrap();
    assert_eq!(told, ["503 Service Unavailable: My order", "200 OK: My order"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mail_is_in_one_digest() {
    let told = digest::play().await.unwrap();
    for line in [
        "My order (ada@mail.example)",
        "A lamp (ada@mail.example)",
        "Opening hours (ada@mail.example)",
    ] {
        assert_eq!(has(&told, &[line, "To: boss@mail.example"]), 1, "{told:?}");
    }
}

//! The same bytes to nats-server and to us, and the answers compared.
//!
//! What is not the same stands in a table of docs/protocol.md, each with its reason; a line of it that is no longer true
//! fails here, too. `POSTROOM_DIALOGUES=100000` draws as many, and each failure prints the dialogue and its seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dialogues;
mod suite;

use dialogues::accepted::Accepted;
use dialogues::{Cut, Pair, grammar, recorded, requests, say};
use suite::server::{Server, ours};
use tempfile::TempDir;

const DIALOGUES: u64 = 400;
const BYTE_BY_BYTE: u64 = 200;

#[test]
fn recorded_dialogues() {
    let mut accepted = Accepted::read("dialogue");
    for setup in recorded::SETUPS {
        let pair = Pair::start(setup.config);
        for (name, text) in setup.dialogues {
            let text = text.replace("\n", "\r\n").replace("\\n\r\n", "\n");
            let said = pair.say(text.as_bytes(), Cut::AtRandom(1));
            accepted.compare(name, &format!("{text:?}"), &said.ours, &said.theirs);
        }
    }
    accepted.finish();
}

#[test]
fn generated_dialogues() {
    let count = std::env::var("POSTROOM_DIALOGUES").ok();
    let count = count.map_or(DIALOGUES, |count| count.parse().unwrap());
    let pair = Pair::start("");
    let mut different = Vec::new();
    for seed in 0..count {
        let text = grammar::dialogue(seed);
        let said = pair.say(text.as_bytes(), Cut::AtRandom(seed));
        if said.ours != said.theirs {
            different.push(format!(
                "seed {seed}: {text:?}\n  ours   {:?}\n  theirs {:?}",
                said.ours, said.theirs
            ));
        }
    }
    let shown = &different[..different.len().min(10)];
    assert!(
        different.is_empty(),
        "{} of {count} differ:\n{}",
        different.len(),
        shown.join("\n")
    );
}

#[test]
fn byte_by_byte_is_as_in_one_piece() {
    let store = TempDir::new().unwrap();
    let server = Server::start(&ours(), store.path(), None);
    for seed in 0..BYTE_BY_BYTE {
        let text = grammar::dialogue(seed);
        let [whole, bytes] =
            [Cut::Nowhere, Cut::AfterEachByte].map(|cut| say(server.address, text.as_bytes(), cut));
        assert_eq!(whole, bytes, "seed {seed}: {text:?}");
    }
}

#[test]
fn requests_to_jetstream() {
    let mut accepted = Accepted::read("request");
    let pair = Pair::start("");
    let [mut ours, mut theirs] = [pair.ours(), pair.theirs()].map(requests::Asker::new);
    for (name, request) in requests::ALL {
        let [left, right] = [ours.ask(*request), theirs.ask(*request)];
        accepted.compare(name, &format!("{request:?}"), &left, &right);
    }
    accepted.finish();
}

//! A write fails: publishers are told, nothing is acknowledged on a guess, and what was acknowledged stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use suite::server::{Server, ours};
use tempfile::TempDir;

/// The disk is tried again four times a second.
const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// Runs our binary with files limited to 256 KiB; the signal that goes with the limit is ignored, so writes fail.
fn limited(store: &TempDir) -> Server {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"trap '' XFSZ; ulimit -f 512; exec "$0" -js -a 127.0.0.1 -p -1 -sd "$1""#,
    ]);
    command.arg(ours()).arg(store.path());
    Server::spawn(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_told_and_loses_nothing() {
    let store = TempDir::new().unwrap();
    let server = limited(&store);
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config = stream::Config {
        name: "S".into(),
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let publish = async || {
        context
            .publish("S", vec![b'x'; 10_000].into())
            .await
            .unwrap()
            .await
    };
    let mut acknowledged = 0;
    let error = loop {
        match publish().await {
            Ok(ack) => acknowledged = ack.sequence,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit is not in force");
    };
    assert!(acknowledged > 5, "{acknowledged}");
    assert!(error.to_string().contains("write"), "{error}");
    // What is there is still served.
    assert_eq!(
        stream.get_raw_message(acknowledged).await.unwrap().payload.len(),
        10_000
    );
    // The limit is for each file: the next one has room, and nobody has to restart anything for it.
    let deadline = tokio::time::Instant::now() + HEALED_WITHIN;
    let healed = loop {
        match publish().await {
            Ok(ack) => break ack.sequence,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
    };
    assert!(healed > acknowledged, "{healed}");
    let kept = stream.get_raw_message(acknowledged).await.unwrap();
    assert_eq!(kept.payload.len(), 10_000);
    server.kill();

    let server = Server::start(&ours(), store.path(), None);
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut stream = context.get_stream("S").await.unwrap();
    let state = &stream.info().await.unwrap().state;
    assert_eq!((state.messages, state.last_sequence), (acknowledged + 1, healed));
    let ack = context.publish("S", "again".into()).await.unwrap().await.unwrap();
    assert_eq!(ack.sequence, healed + 1);
    assert!(server.terminate());
}

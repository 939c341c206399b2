//! A write fails: publishers are told, nothing is acknowledged on a guess, and what was acknowledged stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::process::Command;

use async_nats::jetstream::{self, stream};
use suite::server::{Server, ours};
use tempfile::TempDir;

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
    publish().await.unwrap_err();
    // What is there is still served.
    assert_eq!(
        stream.get_raw_message(acknowledged).await.unwrap().payload.len(),
        10_000
    );
    server.kill();

    let server = Server::start(&ours(), store.path(), None);
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut stream = context.get_stream("S").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.last_sequence, acknowledged);
    let ack = context.publish("S", "again".into()).await.unwrap().await.unwrap();
    assert_eq!(ack.sequence, acknowledged + 1);
    assert!(server.terminate());
}

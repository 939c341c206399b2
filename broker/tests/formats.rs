//! Stores written in each format there ever was: every version of the server reads them all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::fs;
use std::path::Path;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::PullConsumer};
use suite::server::{Server, ours};
use tempfile::TempDir;

/// Twenty messages were published, every fourth with an id; 1 and 2 purged, 7 deleted; of four that a consumer was
/// given, it acknowledged the first two.
async fn check(format: &str) {
    let store = TempDir::new().unwrap();
    let stream = store.path().join("streams/1");
    fs::create_dir_all(&stream).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(format);
    for entry in fs::read_dir(fixture).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), stream.join(entry.file_name())).unwrap();
    }
    fs::write(store.path().join("format.json"), r#"{"format":1}"#).unwrap();

    // The second start reads what the first one made of it.
    for (start, stored) in [(0, 17), (1, 18)] {
        let server = Server::start(&ours(), store.path(), None);
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        let mut stream = context.get_stream("ORDERS").await.unwrap();
        let state = stream.info().await.unwrap().state.clone();
        let expect = (stored, 3, 20 + start);
        assert_eq!(
            (state.messages, state.first_sequence, state.last_sequence),
            expect,
            "{format}"
        );
        for seq in (3..=20).filter(|&seq| seq != 7) {
            let message = stream.get_raw_message(seq).await.unwrap();
            assert_eq!(message.payload, format!("payload {seq}"), "{format}");
            assert_eq!(message.subject, format!("orders.{}", seq % 3).into(), "{format}");
        }
        let mut consumer: PullConsumer = stream.get_consumer("worker").await.unwrap();
        let info = consumer.info().await.unwrap();
        assert_eq!(
            (info.delivered.stream_sequence, info.ack_floor.stream_sequence),
            (4, 2),
            "{format}"
        );
        assert_eq!(info.num_ack_pending, 2, "{format}");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "id-8");
        let again = context
            .publish_with_headers("orders.x", headers, "".into())
            .await
            .unwrap();
        let again = again.await.unwrap();
        assert!(again.duplicate && again.sequence == 8, "{format}: {again:?}");
        let new = context.publish("orders.0", format!("payload {}", 21 + start).into());
        assert_eq!(new.await.unwrap().await.unwrap().sequence, 21 + start, "{format}");
        assert!(server.terminate());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn format_1() {
    check("format-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn format_2() {
    check("format-2").await;
}

/// Here 9 to 12 were published as a batch.
#[tokio::test(flavor = "multi_thread")]
async fn format_3() {
    check("format-3").await;
}

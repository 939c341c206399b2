//! One suite, asked of our binary and of the server it follows: where they differ, one of the two runs fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use suite::server::{Server, ours, reference};
use tempfile::TempDir;

async fn check(program: &str) {
    let store = TempDir::new().unwrap();
    let server = Server::start(program, store.path(), None);
    suite::core::check(&server.url()).await;
    suite::jetstream::check(&server.url()).await;
    suite::limits::check(&server.url()).await;
    suite::api::check(server.address);
    suite::protocol::check(server.address);
    suite::consumers::check(server.address);
    suite::direct::check(server.address);
    suite::retention::check(server.address);
    suite::streams::check(server.address);
    suite::ttl::check(server.address);
    suite::batches::check(server.address);
    suite::schedules::check(server.address);
    suite::origins::check(server.address);
    assert!(server.terminate());
    suite::restart::check(program, store.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_binary() {
    check(&ours()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_server() {
    check(&reference()).await;
}

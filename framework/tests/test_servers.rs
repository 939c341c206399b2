//! The test servers keep their own promises: what was committed is there after a crash, a database asked for is
//! empty, and nothing listens once a server is dropped.

mod servers;

use std::net::TcpStream;

use servers::{Nats, Postgres};
use sqlx::Connection;

#[tokio::test]
async fn postgres_keeps_a_commit_through_a_crash() {
    let mut postgres = Postgres::start();
    let url = postgres.fresh_database();
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create table kept (n integer); insert into kept values (7)")
        .execute(&mut connection)
        .await
        .unwrap();

    postgres.kill();
    assert!(
        sqlx::PgConnection::connect(&url).await.is_err(),
        "a killed server must not answer"
    );
    postgres.restart();

    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let kept: i32 = sqlx::query_scalar("select n from kept")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 7);

    let mut other = sqlx::PgConnection::connect(&postgres.fresh_database())
        .await
        .unwrap();
    assert!(
        sqlx::query("select n from kept")
            .execute(&mut other)
            .await
            .is_err(),
        "a fresh database is empty"
    );
}

#[tokio::test]
async fn nats_keeps_an_acknowledged_message_through_a_kill() {
    let mut nats = Nats::start();
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let config = async_nats::jetstream::stream::Config {
        name: "KEPT".into(),
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    context.publish("KEPT", "7".into()).await.unwrap().await.unwrap();

    nats.kill();
    nats.restart();

    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("KEPT").await.unwrap();
    assert_eq!(stream.get_raw_message(1).await.unwrap().payload.as_ref(), b"7");
}

#[test]
fn a_dropped_server_listens_no_more() {
    let (nats, postgres) = (Nats::start(), Postgres::start());
    let addresses = [&nats.url(), &postgres.url()].map(|url| {
        let (_, rest) = url.rsplit_once("127.0.0.1:").unwrap();
        (
            "127.0.0.1",
            rest.trim_end_matches("/postgres").parse::<u16>().unwrap(),
        )
    });
    assert!(
        addresses
            .iter()
            .all(|address| TcpStream::connect(address).is_ok())
    );
    drop((nats, postgres));
    assert!(
        addresses
            .iter()
            .all(|address| TcpStream::connect(address).is_err())
    );
}

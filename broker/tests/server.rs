//! A broker as a whole: starting and refusing to, credentials, limits, monitoring, ending.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod suite;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use postroom_broker::{Auth, Broker, Config, Limits, StartError};
use suite::raw::Raw;
use suite::server::{Server, ours};
use tempfile::TempDir;

const QUIET: &str = r#"{"verbose":false}"#;

fn config() -> Config {
    Config::new().listen(([127, 0, 0, 1], 0).into())
}

async fn with_limits(limits: Limits) -> Broker {
    Broker::start(config().limits(limits)).await.unwrap()
}

/// Raw clients block, so they get a thread of their own.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn get(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_in_one_process() {
    let directories: Vec<TempDir> = (0..10).map(|_| TempDir::new().unwrap()).collect();
    let mut brokers = Vec::new();
    for directory in &directories {
        brokers.push(Broker::start(config().store_dir(directory.path())).await.unwrap());
    }
    let mut urls: Vec<String> = brokers.iter().map(Broker::client_url).collect();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 10);
    for (at, broker) in brokers.iter().enumerate() {
        let client = async_nats::connect(broker.client_url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let config = async_nats::jetstream::stream::Config {
            name: format!("S{at}"),
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
        assert_eq!(
            context
                .publish(format!("S{at}"), "".into())
                .await
                .unwrap()
                .await
                .unwrap()
                .sequence,
            1
        );
    }
    for broker in brokers {
        broker.shutdown().await;
    }
}

#[tokio::test]
async fn refusals_to_start_say_what_to_do() {
    let directory = TempDir::new().unwrap();
    let first = Broker::start(config().store_dir(directory.path())).await.unwrap();
    let address = first.client_address();
    let error = Broker::start(config().listen(address)).await.unwrap_err();
    assert!(
        matches!(&error, StartError::PortInUse { address: told } if *told == address),
        "{error}"
    );
    assert!(error.to_string().contains(&address.to_string()));

    let error = Broker::start(config().store_dir(directory.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::StoreLocked { .. }), "{error}");
    first.shutdown().await;
    Broker::start(config().store_dir(directory.path()))
        .await
        .unwrap()
        .shutdown()
        .await;

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Broker::start(config().store_dir(file.join("below")))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::StoreNotWritable { .. }), "{error}");

    fs::write(directory.path().join("format.json"), r#"{"format":99}"#).unwrap();
    let error = Broker::start(config().store_dir(directory.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StartError::StoreNewer { found: 99, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_for_the_owner_only_and_names_are_no_paths() {
    let directory = TempDir::new().unwrap();
    let store = directory.path().join("store");
    let broker = Broker::start(config().store_dir(&store)).await.unwrap();
    let client = async_nats::connect(broker.client_url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "NAMED".into(),
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let mut open = vec![store];
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(
            mode,
            if metadata.is_dir() { 0o700 } else { 0o600 },
            "{}",
            path.display()
        );
        assert!(!path.to_string_lossy().contains("NAMED"));
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn credentials() {
    let auth = Auth::user("ann", "s3cret");
    let limits = Limits {
        auth_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let broker = Broker::start(config().auth(auth).limits(limits)).await.unwrap();
    let address = broker.client_address();
    blocking(move || {
        let mut right = Raw::ready(address, r#"{"verbose":false,"user":"ann","pass":"s3cret"}"#);
        right.send(b"PING\r\n");
        right.expect("PONG\r\n");
        let mut wrong = Raw::ready(address, r#"{"user":"ann","pass":"guess"}"#);
        wrong.expect("-ERR 'Authorization Violation'\r\n");
        wrong.expect_close();
        for first in ["SUB a 1\r\n", "PUB a 1000000\r\n", "PING\r\n"] {
            let mut hasty = Raw::connect(address);
            assert!(hasty.expect_start("INFO {").contains(r#""auth_required":true"#));
            hasty.send(first.as_bytes());
            hasty.expect("-ERR 'Authorization Violation'\r\n");
            hasty.expect_close();
        }
        let mut silent = Raw::connect(address);
        silent.expect_start("INFO {");
        silent.expect("-ERR 'Authentication Timeout'\r\n");
        silent.expect_close();
    })
    .await;
    broker.shutdown().await;
}

#[tokio::test]
async fn connection_limit_and_stale_connections() {
    let limits = Limits {
        max_connections: 1,
        ping_interval: Duration::from_millis(50),
        ping_max: 2,
        ..Limits::default()
    };
    let broker = with_limits(limits).await;
    let address = broker.client_address();
    blocking(move || {
        let mut first = Raw::ready(address, QUIET);
        let mut second = Raw::connect(address);
        second.expect("-ERR 'maximum connections exceeded'\r\n");
        second.expect_close();
        first.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
        first.expect_close();
    })
    .await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_is_cut_off_and_the_others_are_not() {
    let limits = Limits {
        max_pending: 1024 * 1024,
        ..Limits::default()
    };
    let broker = with_limits(limits).await;
    let address = broker.client_address();
    blocking(move || {
        let mut slow = Raw::ready(address, QUIET);
        slow.send(b"SUB flood 1\r\nPING\r\n");
        slow.expect("PONG\r\n");
        let mut publisher = Raw::ready(address, QUIET);
        let message = [b"PUB flood 65536\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
        for _ in 0..400 {
            publisher.send(&message);
        }
        publisher.send(b"PING\r\n");
        publisher.expect("PONG\r\n");
        let mut healthy = Raw::ready(address, QUIET);
        healthy.send(b"SUB ok 1\r\nPUB ok 2\r\nhi\r\n");
        healthy.expect("MSG ok 1 2\r\nhi\r\n");
        assert!(
            slow.drain() < 400 * 65536,
            "the connection was closed before everything was sent"
        );
    })
    .await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let broker = with_limits(Limits::default()).await;
    let address = broker.client_address();
    let stalled = tokio::task::spawn_blocking(move || {
        let mut stalled = Raw::ready(address, QUIET);
        stalled.send(b"SUB flood 1\r\nPING\r\n");
        stalled.expect("PONG\r\n");
        let mut publisher = Raw::ready(address, QUIET);
        for _ in 0..32 {
            publisher.send(&[b"PUB flood 1048576\r\n".as_slice(), &[b'x'; 1_048_576], b"\r\n"].concat());
        }
        publisher.send(b"PING\r\n");
        publisher.expect("PONG\r\n");
        stalled
    })
    .await
    .unwrap();
    tokio::time::timeout(Duration::from_secs(5), broker.shutdown())
        .await
        .unwrap();
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_the_rest_is_served() {
    let store = TempDir::new().unwrap();
    let broker = Broker::start(config().store_dir(store.path())).await.unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(broker.client_url()).await.unwrap());
    let stream = async_nats::jetstream::stream::Config {
        name: "S".into(),
        ..Default::default()
    };
    context.create_stream(stream).await.unwrap();
    for n in 1..=4 {
        context
            .publish("S", format!("payload {n}").into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    broker.shutdown().await;
    let segment = store.path().join("streams/1/0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes
        .windows(9)
        .position(|window| window == b"payload 2")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let broker = Broker::start(config().store_dir(store.path())).await.unwrap();
    let address = broker.client_address();
    blocking(move || {
        let mut raw = Raw::ready(address, QUIET);
        raw.send(b"SUB _INBOX.> 1\r\n");
        let info: serde_json::Value =
            serde_json::from_str(&raw.request("$JS.API.STREAM.INFO.S", "")).unwrap();
        assert_eq!(info["state"]["lost"]["msgs"], serde_json::json!([2]));
        assert_eq!(
            (&info["state"]["messages"], &info["state"]["last_seq"]),
            (&3.into(), &4.into())
        );
        assert!(
            raw.request("$JS.API.STREAM.MSG.GET.S", r#"{"seq":3}"#)
                .contains(r#""seq":3"#)
        );
        assert!(
            raw.request("$JS.API.STREAM.MSG.GET.S", r#"{"seq":2}"#)
                .contains("no message found")
        );
        assert_eq!(raw.request("S", "next"), r#"{"stream":"S","seq":5}"#);
    })
    .await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring() {
    let directory = TempDir::new().unwrap();
    let config = config()
        .store_dir(directory.path())
        .monitoring(([127, 0, 0, 1], 0).into())
        .server_name("mon");
    let broker = Broker::start(config).await.unwrap();
    assert!(broker.monitoring_url().unwrap().starts_with("http://127.0.0.1:"));
    let client = async_nats::ConnectOptions::new()
        .name("me")
        .connect(broker.client_url())
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "S".into(),
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    context.publish("S", "12345".into()).await.unwrap().await.unwrap();
    let address = broker.monitoring_address().unwrap();
    blocking(move || {
        assert_eq!(
            get(address, "/healthz"),
            (200, serde_json::json!({"status": "ok"}))
        );
        let (_, varz) = get(address, "/varz");
        assert_eq!(
            (&varz["server_name"], &varz["connections"]),
            (&"mon".into(), &1.into())
        );
        let (_, connz) = get(address, "/connz");
        assert_eq!(connz["connections"][0]["name"], "me");
        let (_, jsz) = get(address, "/jsz?streams=true");
        assert_eq!((&jsz["streams"], &jsz["messages"]), (&1.into(), &1.into()));
        assert_eq!(
            jsz["account_details"][0]["stream_detail"][0]["state"]["last_seq"],
            1
        );
    })
    .await;
    broker.shutdown().await;
}

#[test]
fn the_binary_and_its_flags() {
    let run = |arguments: &[&str]| Command::new(ours()).args(arguments).output().unwrap();
    let unknown = run(&["--bogus"]);
    assert_eq!(unknown.status.code(), Some(2));
    let told = String::from_utf8_lossy(&unknown.stderr);
    assert!(told.contains("--bogus") && told.contains("Usage:"), "{told}");
    let missing = run(&["-c", "x.conf"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("can not read x.conf"));
    let version = run(&["-v"]);
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("nats-server: v2."));

    let store = TempDir::new().unwrap();
    let pid_file = store.path().join("pid");
    let mut command = Command::new(ours());
    command.args([
        "--jetstream",
        "-p=-1",
        "--addr",
        "127.0.0.1",
        "-m",
        "-1",
        "-n",
        "named",
    ]);
    command.arg("-sd").arg(store.path()).arg("-P").arg(&pid_file);
    let server = Server::spawn(command);
    let mut raw = Raw::connect(server.address);
    assert!(raw.expect_start("INFO {").contains(r#""server_name":"named""#));
    assert!(fs::read_to_string(&pid_file).is_ok());
    let second = Command::new(ours())
        .args(["-js", "-p", "-1", "-a", "127.0.0.1", "-sd"])
        .arg(store.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another server"));
    assert!(server.terminate(), "SIGTERM ends it well");
}

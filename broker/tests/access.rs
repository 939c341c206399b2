//! Who gets in and what they may do then, over real connections: users, permissions, accounts, TLS, WebSocket, reload.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the suite serves other test binaries, too")]

mod suite;

use std::fs;
use std::process::Command;
use std::time::Duration;

use async_nats::ConnectOptions;
use futures_util::StreamExt;
use postroom_broker::{
    Auth, Broker, Config, ConfigFile, HandshakeFirst, Limits, ReloadError, StartError, Tls, Unsupported,
    WebSocket,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use suite::raw::Raw;
use suite::server::{Server, ours, reference};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// Permissions of every kind; read by our server and by nats-server.
const ACCESS: &str = r#"
listen: "127.0.0.1:-1"
authorization {
  timeout: 5
  users: [
    {user: ann, password: "$2a$04$PLACEHOLDER", permissions: {
      publish: {allow: ["a.>", "_INBOX.>"], deny: "a.secret"}
      subscribe: {allow: ["a.>", "_INBOX.>", "jobs workers.*"], deny: ["a.secret", "a.q bad"]}}}
    {user: bob, password: b, permissions: {subscribe: "req", allow_responses: true}}
    {user: all, password: x}
  ]
}
"#;

fn access() -> String {
    ACCESS.replace("$2a$04$PLACEHOLDER", &bcrypt::hash("pw", 4).unwrap())
}

fn config() -> Config {
    Config::new().listen(([127, 0, 0, 1], 0).into())
}

fn parsed(text: &str) -> Config {
    ConfigFile::parse(text, "test.conf", Unsupported::Refuse)
        .unwrap()
        .config
}

fn configured(program: &str, text: &str) -> (Server, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.conf");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(&path);
    (Server::spawn(command), folder)
}

fn user(name: &str, password: &str) -> String {
    format!(r#"{{"verbose":false,"pedantic":false,"headers":true,"user":"{name}","pass":"{password}"}}"#)
}

/// What a server says to `lines`, up to the answer to a PING after them.
fn said(server: &Server, options: &str, lines: &str) -> Vec<String> {
    let mut raw = Raw::ready(server.address, options);
    raw.send(lines.as_bytes());
    raw.send(b"PING\r\n");
    let mut said = Vec::new();
    loop {
        match raw.line() {
            line if line == "PONG" => return said,
            line if line == "PING" || line.starts_with("INFO ") => {}
            line => said.push(line),
        }
    }
}

#[test]
fn permissions_as_in_nats_server() {
    let servers = [
        configured(&ours(), &access()),
        configured(&reference(), &access()),
    ];
    let cases = [
        ("ann", "pw", "PUB a.b 0\r\n\r\n"),
        ("ann", "pw", "PUB b 0\r\n\r\n"),
        ("ann", "pw", "PUB a.secret 0\r\n\r\n"),
        ("ann", "pw", "SUB a.* 1\r\nPUB a.b 1\r\nx\r\n"),
        ("ann", "pw", "SUB b 1\r\n"),
        ("ann", "pw", "SUB > 1\r\n"),
        ("ann", "pw", "SUB a.secret 1\r\n"),
        ("ann", "pw", "SUB b q 1\r\n"),
        ("ann", "pw", "SUB jobs 1\r\n"),
        ("ann", "pw", "SUB jobs workers.1 1\r\n"),
        ("ann", "pw", "SUB jobs idlers 1\r\n"),
        ("ann", "pw", "SUB a.q bad 1\r\n"),
        ("ann", "pw", "SUB a.q good 1\r\n"),
        ("bob", "b", "PUB x 0\r\n\r\n"),
        ("bob", "b", "SUB req 1\r\nSUB other 2\r\n"),
        ("all", "x", "PUB a $JS.ACK.S.C.1.1.1.1.1 0\r\n\r\n"),
        ("all", "x", "PUB a _R_.x 0\r\n\r\n"),
        ("all", "x", "SUB > 1\r\nPUB a.secret 1\r\nx\r\n"),
    ];
    for (name, password, lines) in cases {
        let [ours, theirs] = [0, 1].map(|at| said(&servers[at].0, &user(name, password), lines));
        assert_eq!(ours, theirs, "{name}: {lines:?}");
    }
}

#[test]
fn what_is_denied_is_withheld_from_a_wildcard() {
    for program in [ours(), reference()] {
        let (server, _folder) = configured(&program, &access());
        let mut ann = Raw::ready(server.address, &user("ann", "pw"));
        ann.send(b"SUB a.> 1\r\nPING\r\n");
        ann.expect("PONG\r\n");
        let said = said(
            &server,
            &user("all", "x"),
            "PUB a.secret 2\r\nno\r\nPUB a.open 3\r\nyes\r\n",
        );
        assert_eq!(said, [""; 0]);
        ann.expect("MSG a.open 1 3\r\nyes\r\n");
    }
}

#[test]
fn a_request_may_be_answered_once() {
    for program in [ours(), reference()] {
        let (server, _folder) = configured(&program, &access());
        let mut bob = Raw::ready(server.address, &user("bob", "b"));
        bob.send(b"SUB req 1\r\nPING\r\n");
        bob.expect("PONG\r\n");
        let mut all = Raw::ready(server.address, &user("all", "x"));
        all.send(b"SUB answers 1\r\nPUB req answers 2\r\nhi\r\n");
        bob.expect("MSG req 1 answers 2\r\nhi\r\n");
        bob.send(b"PUB answers 1\r\n1\r\nPUB answers 1\r\n2\r\n");
        bob.expect("-ERR 'Permissions Violation for Publish to \"answers\"'\r\n");
        all.expect("MSG answers 1 1\r\n1\r\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed() {
    let broker = Broker::start(config().auth(Auth::user("ann", "pw")))
        .await
        .unwrap();
    let address = broker.client_address();
    let took = tokio::task::spawn_blocking(move || {
        let started = std::time::Instant::now();
        for _ in 0..6 {
            let mut raw = Raw::ready(address, &user("ann", "guess"));
            raw.expect("-ERR 'Authorization Violation'\r\n");
        }
        let took = started.elapsed();
        let mut raw = Raw::ready(address, &user("ann", "pw"));
        raw.send(b"PING\r\n");
        raw.expect("PONG\r\n");
        took
    })
    .await
    .unwrap();
    assert!(took >= Duration::from_millis(50 + 100 + 200), "{took:?}");
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nkeys_by_async_nats() {
    let pair = nkeys::KeyPair::new_user();
    let text = format!(
        "port: -1\nhost: 127.0.0.1\nauthorization {{ users: [{{nkey: {}}}] }}",
        pair.public_key()
    );
    let broker = Broker::start(parsed(&text)).await.unwrap();
    let right = ConnectOptions::with_nkey(pair.seed().unwrap());
    right
        .connect(broker.client_url())
        .await
        .unwrap()
        .flush()
        .await
        .unwrap();
    let wrong = ConnectOptions::with_nkey(nkeys::KeyPair::new_user().seed().unwrap());
    assert!(wrong.connect(broker.client_url()).await.is_err());
    broker.shutdown().await;
}

async fn api(client: &async_nats::Client, subject: &str, body: &str) -> serde_json::Value {
    let request = client.request(subject.to_owned(), body.to_owned().into());
    serde_json::from_slice(&request.await.unwrap().payload).unwrap()
}

/// The system account may ask about everything, the others about themselves.
async fn the_server_is_asked(a: &async_nats::Client, system: &async_nats::Client) {
    let varz = api(system, "$SYS.REQ.SERVER.PING.VARZ", "").await;
    assert_eq!(varz["data"]["connections"], 3, "{varz}");
    let me = api(a, "$SYS.REQ.USER.INFO", "").await;
    assert_eq!(
        (&me["data"]["user"], &me["data"]["account"]),
        (&"a".into(), &"A".into())
    );
    assert!(
        a.request("$SYS.REQ.SERVER.PING.VARZ", "".into()).await.is_err(),
        "only for the system account"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_share_nothing_and_keep_to_their_limits() {
    let store = TempDir::new().unwrap();
    let text = format!(
        "port: -1, host: 127.0.0.1, http: '127.0.0.1:-1', jetstream {{ store_dir: {:?} }}\n\
         accounts {{ A {{ users [{{user: a, password: pa}}], jetstream {{max_streams: 1, max_consumers: 1, max_file: 100}} }}\n\
         B {{ users [{{user: b, password: pb}}], jetstream: enabled }}\n SYS {{ users [{{user: s, password: ps}}] }} }}\n\
         system_account: SYS",
        store.path()
    );
    let broker = Broker::start(parsed(&text)).await.unwrap();
    let connect = async |user: &str, password: &str| {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
        options.connect(broker.client_url()).await.unwrap()
    };
    let (a, b) = (connect("a", "pa").await, connect("b", "pb").await);
    let mut heard = b.subscribe(">").await.unwrap();
    b.flush().await.unwrap();
    a.publish("x", "from a".into()).await.unwrap();
    a.flush().await.unwrap();
    b.publish("x", "from b".into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, heard.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.payload, "from b");

    for client in [&a, &b] {
        let made = api(
            client,
            "$JS.API.STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s"]}"#,
        )
        .await;
        assert_eq!(made["did_create"], true, "{made}");
    }
    let second = api(&a, "$JS.API.STREAM.CREATE.T", r#"{"name":"T"}"#).await;
    assert_eq!(second["error"]["err_code"], 10027, "{second}");
    let consumer = |name: &str| {
        format!(r#"{{"stream_name":"S","config":{{"durable_name":"{name}","ack_policy":"explicit"}}}}"#)
    };
    let first = api(&a, "$JS.API.CONSUMER.DURABLE.CREATE.S.one", &consumer("one")).await;
    assert_eq!(first["name"], "one", "{first}");
    let again = api(&a, "$JS.API.CONSUMER.DURABLE.CREATE.S.one", &consumer("one")).await;
    assert_eq!(again["name"], "one", "{again}");
    let two = api(&a, "$JS.API.CONSUMER.DURABLE.CREATE.S.two", &consumer("two")).await;
    assert_eq!(two["error"]["err_code"], 10026, "{two}");
    assert_eq!(api(&a, "s", &"x".repeat(200)).await["seq"], 1);
    // Limits count what a stream held at the end of its last turn: the answer to this is of a later one.
    api(&a, "$JS.API.STREAM.INFO.S", "").await;
    let full = api(&a, "s", "more").await;
    assert_eq!(
        (&full["error"]["err_code"], &full["stream"]),
        (&10002.into(), &"S".into()),
        "{full}"
    );
    assert_eq!(api(&b, "s", "more").await["seq"], 1);

    the_server_is_asked(&a, &connect("s", "ps").await).await;
    broker.shutdown().await;
}

/// An authority, and certificates that it has signed, as files.
struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let certificates = Certificates { folder, authority };
        certificates.issue("server", "server");
        certificates.issue("client", "ann");
        certificates
    }

    fn issue(&self, file: &str, name: &str) {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn tls(&self) -> Tls {
        Tls::new(self.path("server.pem"), self.path("server.key"))
    }

    fn trusting(&self) -> ConnectOptions {
        ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(self.path("ca.pem"))
    }

    fn showing(&self) -> ConnectOptions {
        self.trusting()
            .add_client_certificate(self.path("client.pem"), self.path("client.key"))
    }
}

async fn echoes(options: ConnectOptions, broker: &Broker) -> bool {
    let Ok(client) = options.connect(broker.client_url()).await else {
        return false;
    };
    let mut heard = client.subscribe("x").await.unwrap();
    client.publish("x", vec![b'x'; 200_000].into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, heard.next()).await.unwrap();
    message.is_some_and(|message| message.payload.len() == 200_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_in_all_orders_of_greeting() {
    let certificates = Certificates::new();
    let auto = HandshakeFirst::Within(Duration::from_millis(100));
    for (order, client_first, expect) in [
        (HandshakeFirst::No, false, true),
        (HandshakeFirst::Yes, true, true),
        (auto, true, true),
        (auto, false, true),
    ] {
        let mut tls = certificates.tls();
        tls.handshake_first = order;
        let broker = Broker::start(config().tls(tls)).await.unwrap();
        assert!(broker.client_url().starts_with("tls://"));
        let mut options = certificates.trusting();
        if client_first {
            options = options.tls_first();
        }
        assert_eq!(echoes(options, &broker).await, expect, "{order:?} {client_first}");
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_clients() {
    let certificates = Certificates::new();
    let broker = Broker::start(config().tls(certificates.tls().verify(certificates.path("ca.pem"))))
        .await
        .unwrap();
    assert!(echoes(certificates.showing(), &broker).await);
    assert!(
        !echoes(certificates.trusting(), &broker).await,
        "without a certificate"
    );
    broker.shutdown().await;

    let mut tls = certificates.tls();
    tls.ca_file = Some(certificates.path("ca.pem"));
    tls.verify_and_map = true;
    let users = |name: &str| parsed(&format!("authorization {{ users: [{{user: {name:?}}}] }}")).auth;
    for (name, expect) in [("CN=ann", true), ("localhost", true), ("CN=eve", false)] {
        let broker = Broker::start(config().auth(users(name)).tls(tls.clone()))
            .await
            .unwrap();
        assert_eq!(echoes(certificates.showing(), &broker).await, expect, "{name}");
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_reloaded_without_a_drop() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let with_tls = || config().tls(old.tls());
    let broker = Broker::start(with_tls()).await.unwrap();
    let client = old.trusting().connect(broker.client_url()).await.unwrap();
    fs::copy(new.path("server.pem"), old.path("server.pem")).unwrap();
    assert!(
        matches!(broker.reload(with_tls()), Err(ReloadError::Tls(_))),
        "certificate and key do not belong together"
    );
    fs::copy(new.path("server.key"), old.path("server.key")).unwrap();
    broker.reload(with_tls()).unwrap();
    client.flush().await.unwrap();
    assert!(echoes(new.trusting(), &broker).await);
    assert!(
        !echoes(old.trusting(), &broker).await,
        "the old authority has not signed the new certificate"
    );
    client.flush().await.unwrap();
    broker.shutdown().await;
}

/// Frames are cut where nobody would cut them, and joined as nats.js joins them.
#[tokio::test(flavor = "multi_thread")]
async fn websocket_frames_may_be_cut_anywhere() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;

    let listen = ([127, 0, 0, 1], 0).into();
    let websocket = WebSocket {
        listen,
        tls: None,
        allowed_origins: Some(Vec::new()),
        same_origin: false,
    };
    let broker = Broker::start(config().websocket(websocket)).await.unwrap();
    let plain = async_nats::connect(broker.client_url()).await.unwrap();
    let mut heard = plain.subscribe("x").await.unwrap();
    plain.flush().await.unwrap();
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(broker.websocket_address().unwrap())
            .await
            .unwrap();
        tokio_tungstenite::client_async(broker.websocket_url().unwrap(), stream)
            .await
            .unwrap()
            .0
    };
    let mut socket = connect().await;
    let text = "CONNECT {\"verbose\":false}\r\nSUB y 1\r\nPUB x 5\r\nhello\r\nPING\r\n";
    for byte in text.as_bytes() {
        socket.send(Message::Binary(vec![*byte].into())).await.unwrap();
    }
    let message = tokio::time::timeout(PATIENCE, heard.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.payload, "hello");
    plain.publish("y", vec![b'y'; 100_000].into()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(&[b"y".as_slice(), b"\r\n"].concat()) {
        let frame = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        got.extend_from_slice(&frame.into_data());
    }
    let got = String::from_utf8(got).unwrap();
    assert!(got.starts_with("INFO {") && got.contains("PONG\r\n") && got.contains("MSG y 1 100000\r\nyyy"));
    let stream = tokio::net::TcpStream::connect(broker.websocket_address().unwrap())
        .await
        .unwrap();
    let mut request = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
        broker.websocket_url().unwrap(),
    )
    .unwrap();
    request
        .headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    assert!(
        tokio_tungstenite::client_async(request, stream).await.is_err(),
        "a page from elsewhere"
    );
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_cuts_off_who_has_no_place_any_more() {
    let with = |users: &str| {
        parsed(&format!(
            "port: -1, host: 127.0.0.1, authorization {{ users: [{users}] }}"
        ))
    };
    let (ann, bob) = ("{user: ann, password: a}", "{user: bob, password: b}");
    let broker = Broker::start(with(&format!("{ann}, {bob}"))).await.unwrap();
    let address = broker.client_address();
    let ready = move |name: &'static str, password: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut raw = Raw::ready(address, &user(name, password));
            raw.send(b"SUB a.1 1\r\nSUB b.1 2\r\nPING\r\n");
            raw.expect("PONG\r\n");
            raw
        })
    };
    let (mut first, mut second) = (ready("ann", "a").await.unwrap(), ready("bob", "b").await.unwrap());
    broker
        .reload(with("{user: ann, password: a, permissions: {subscribe: 'a.>'}}"))
        .unwrap();
    tokio::task::spawn_blocking(move || {
        second.expect("-ERR 'Authorization Violation'\r\n");
        second.expect_close();
        first.expect("-ERR 'Permissions Violation for Subscription to \"b.1\" (sid \"2\")'\r\n");
        first.send(b"PUB b.1 0\r\n\r\nPUB a.1 0\r\n\r\n");
        first.expect("MSG a.1 1 0\r\n\r\n");
    })
    .await
    .unwrap();
    let mut elsewhere = with(ann);
    elsewhere.store_dir = Some("elsewhere".into());
    let error = broker.reload(elsewhere).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`store_dir` can not change while the server runs; restart it"
    );
    broker.shutdown().await;
}

#[tokio::test]
async fn nobody_is_let_in_by_mistake() {
    let everywhere = || Config::new().listen(([0, 0, 0, 0], 0).into());
    let error = Broker::start(everywhere()).await.unwrap_err();
    assert!(matches!(error, StartError::OpenToAnyone { .. }));
    assert!(error.to_string().contains("--allow-anyone"), "{error}");
    Broker::start(everywhere().allow_anyone())
        .await
        .unwrap()
        .shutdown()
        .await;
    Broker::start(everywhere().auth(Auth::token("t")))
        .await
        .unwrap()
        .shutdown()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_says_so_and_ends_everybody() {
    let limits = Limits {
        lame_duck: Duration::from_millis(300),
        lame_duck_grace: Duration::from_millis(50),
        ..Limits::default()
    };
    let broker = Broker::start(config().limits(limits)).await.unwrap();
    let address = broker.client_address();
    let client = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::ready(address, r#"{"verbose":false,"protocol":1}"#);
        raw.send(b"PING\r\n");
        raw.expect("PONG\r\n");
        raw.expect_start("INFO {");
        raw
    });
    let mut raw = client.await.unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        assert!(raw.expect_start("INFO {").contains(r#""ldm":true"#));
        raw.expect_close();
    });
    tokio::time::timeout(PATIENCE, broker.lame_duck()).await.unwrap();
    reading.await.unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn the_binary_reads_reloads_and_obeys() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.conf");
    let write = |text: &str| fs::write(&path, text).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(ours())
            .args(arguments)
            .arg("-c")
            .arg(&path)
            .output()
            .unwrap()
    };
    write("prot: 1");
    let wrong = run(&["-t"]);
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        told.contains(":1:1: unknown field `prot`; did you mean `port`?"),
        "{told}"
    );
    write("leafnodes {}\nport: -1");
    assert_eq!(run(&["-t"]).status.code(), Some(1));
    assert_eq!(run(&["-t", "--ignore-unsupported"]).status.code(), Some(0));

    let pid = folder.path().join("pid");
    let with = |user: &str| {
        let (folder, pid) = (folder.path().display(), pid.display());
        write(&format!(
            "listen: '127.0.0.1:-1', ports_file_dir: {folder}, pid_file: {pid}\nauthorization {{user: {user}, password: p}}\nlame_duck_duration: 1s, lame_duck_grace_period: 10ms"
        ));
    };
    with("ann");
    let mut command = Command::new(ours());
    command.arg("-c").arg(&path);
    let mut server = Server::spawn(command);
    let is_in = |name: &str, address| {
        let mut raw = Raw::ready(address, &user(name, "p"));
        raw.send(b"PING\r\n");
        raw.line() == "PONG"
    };
    assert!(is_in("ann", server.address) && !is_in("bob", server.address));
    let number = fs::read_to_string(&pid).unwrap();
    let ports = fs::read_to_string(folder.path().join(format!("nats-server_{number}.ports"))).unwrap();
    let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
    assert_eq!(ports["nats"][0], server.url());
    with("bob");
    let signal = |word: &str| {
        Command::new(ours())
            .args(["-sl", &format!("{word}={}", pid.display())])
            .status()
            .unwrap()
    };
    assert!(signal("reload").success());
    server.wait_for("Reloaded server configuration");
    assert!(is_in("bob", server.address) && !is_in("ann", server.address));
    write("prot: 1");
    assert!(signal("reload").success());
    assert!(
        server
            .wait_for("Failed to reload server configuration")
            .contains("did you mean")
    );
    assert!(is_in("bob", server.address));
    assert!(signal("ldm").success());
    server.wait_for("Entering lame duck mode");
    server.wait_for("Server Exiting");
}

//! The client protocol, byte by byte.

use std::net::SocketAddr;

use super::raw::Raw;

const QUIET: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#;

pub(crate) fn check(address: SocketAddr) {
    greeting(address);
    verbose_is_the_default(address);
    publish_and_subscribe(address);
    split_at_every_byte(address);
    unsubscribe(address);
    echo(address);
    headers(address);
    no_responders(address);
    errors_that_close(address);
    errors_that_do_not(address);
    limits(address);
}

fn quiet(address: SocketAddr) -> Raw {
    Raw::ready(address, QUIET)
}

/// Everything sent so far has been taken in.
fn settle(raw: &mut Raw) {
    raw.send(b"PING\r\n");
    raw.expect("PONG\r\n");
    raw.expect_start("INFO {");
}

fn greeting(address: SocketAddr) {
    let mut raw = Raw::connect(address);
    let info = raw.expect_start("INFO {\"server_id\":\"N");
    for field in [
        r#""proto":1"#,
        r#""headers":true"#,
        r#""max_payload":1048576"#,
        r#""client_ip":"127.0.0.1""#,
    ] {
        assert!(info.contains(field), "{field} in {info}");
    }
    raw.send(b"CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\nPING\r\n");
    raw.expect("PONG\r\n");
    let again = raw.expect_start("INFO {");
    assert!(
        again.contains(r#""connect_info":true"#) && again.contains(r#""remote_account":"$G""#),
        "{again}"
    );
    raw.expect("PONG\r\n");
    let mut old = Raw::ready(address, r#"{"verbose":false}"#);
    old.send(b"PING\r\nPING\r\n");
    old.expect("PONG\r\nPONG\r\n");
}

fn verbose_is_the_default(address: SocketAddr) {
    let mut raw = Raw::ready(address, "{}");
    raw.expect("+OK\r\n");
    raw.send(b"SUB a 1\r\nPUB a 1\r\nx\r\nUNSUB 1\r\n");
    raw.expect("+OK\r\n");
    let rest = raw.take("+OK\r\nMSG a 1 1\r\nx\r\n+OK\r\n".len());
    assert!(
        rest == "+OK\r\nMSG a 1 1\r\nx\r\n+OK\r\n" || rest == "MSG a 1 1\r\nx\r\n+OK\r\n+OK\r\n",
        "{rest:?}"
    );
    // Operations before CONNECT are taken when no credentials are needed.
    let mut early = Raw::connect(address);
    early.expect_start("INFO {");
    early.send(b"SUB a 1\r\n");
    early.expect("+OK\r\n");
}

fn publish_and_subscribe(address: SocketAddr) {
    let mut raw = quiet(address);
    raw.send(b"sub foo.* 1\r\nSUB foo.> q 2\r\nSUB > 3\r\nUNSUB 3\r\nPUB foo.bar re.ply 5\r\nhello\r\n");
    let mut got = [raw.line() + "|" + &raw.line(), raw.line() + "|" + &raw.line()];
    got.sort();
    assert_eq!(
        got,
        ["MSG foo.bar 1 re.ply 5|hello", "MSG foo.bar 2 re.ply 5|hello"]
    );
    // A wildcard that is published is a token like any other; an empty token leads nowhere.
    raw.send(b"PUB foo.* 1\r\nx\r\nPUB foo..x 1\r\nx\r\n");
    let mut got = [raw.line() + "|" + &raw.line(), raw.line() + "|" + &raw.line()];
    got.sort();
    assert_eq!(got, ["MSG foo.* 1 1|x", "MSG foo.* 2 1|x"]);
    settle(&mut raw);
}

fn split_at_every_byte(address: SocketAddr) {
    let text = "SUB s 1\r\nHPUB s r 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nabc\r\nPUB s 2\r\nhi\r\n";
    let mut raw = quiet(address);
    settle(&mut raw);
    for byte in text.as_bytes() {
        raw.send(&[*byte]);
    }
    raw.expect("HMSG s 1 r 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nabc\r\nMSG s 1 2\r\nhi\r\n");
}

fn unsubscribe(address: SocketAddr) {
    let mut raw = quiet(address);
    raw.send(b"SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n");
    raw.expect("MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n");
    // Deliveries made before UNSUB count; a sid in use keeps its first subscription.
    raw.send(b"SUB b 2\r\nSUB c 2\r\nPUB c 0\r\n\r\nPUB b 1\r\n1\r\nUNSUB 2 1\r\nPUB b 1\r\n2\r\n");
    raw.expect("MSG b 2 1\r\n1\r\n");
    settle(&mut raw);
}

fn echo(address: SocketAddr) {
    let mut muted = Raw::ready(address, r#"{"verbose":false,"echo":false}"#);
    muted.send(b"SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n");
    muted.expect("PONG\r\n");
    let mut other = quiet(address);
    other.send(b"PUB a 1\r\ny\r\n");
    muted.expect("MSG a 1 1\r\ny\r\n");
}

fn headers(address: SocketAddr) {
    let mut plain = Raw::ready(address, r#"{"verbose":false}"#);
    plain.send(b"SUB h 1\r\nPING\r\n");
    plain.expect("PONG\r\n");
    let mut raw = quiet(address);
    raw.send(b"SUB h 9\r\nHPUB h 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    raw.expect("HMSG h 9 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    plain.expect("MSG h 1 2\r\nhi\r\n");
    plain.send(b"HPUB h 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    plain.expect_close();
}

fn no_responders(address: SocketAddr) {
    let mut raw = quiet(address);
    raw.send(b"SUB in.* 1\r\nPUB nobody.here in.1 1\r\nx\r\n");
    let status = "NATS/1.0 503\r\nNats-Subject: nobody.here\r\n\r\n";
    raw.expect(&format!("HMSG in.1 1 {0} {0}\r\n{status}\r\n", status.len()));
    // Without a subscription of its own to the reply subject a publisher is told nothing.
    let mut deaf = quiet(address);
    deaf.send(b"PUB nobody.here in.1 1\r\nx\r\n");
    settle(&mut deaf);
    settle(&mut raw);
    let mut incapable = Raw::ready(address, r#"{"verbose":false,"headers":true}"#);
    incapable.send(b"SUB in.* 1\r\nPUB nobody.here in.1 1\r\nx\r\nPING\r\n");
    incapable.expect("PONG\r\n");
}

fn errors_that_close(address: SocketAddr) {
    for text in ["NOSUCH x\r\n", "\r\n", "PUB a 1\r\nxyz"] {
        let mut raw = quiet(address);
        raw.send(text.as_bytes());
        raw.expect("-ERR 'Unknown Protocol Operation'\r\n");
        raw.expect_close();
    }
    for text in [
        "PUB a\r\n",
        "PUB a b c 1\r\n",
        "PUB a x\r\n",
        "SUB a\r\n",
        "HPUB a 9 4\r\n",
        "CONNECT {bad\r\n",
    ] {
        let mut raw = quiet(address);
        raw.send(text.as_bytes());
        raw.expect_close();
    }
}

fn errors_that_do_not(address: SocketAddr) {
    let mut raw = quiet(address);
    for subject in ["foo..bar", ".a", "a.>.b", "a."] {
        raw.send(format!("SUB {subject} 1\r\n").as_bytes());
        raw.expect("-ERR 'Invalid Subject'\r\n");
    }
    settle(&mut raw);
    let mut pedantic = Raw::ready(address, r#"{"verbose":false,"pedantic":true}"#);
    pedantic.send(b"PUB foo.* 1\r\nx\r\nPING\r\n");
    pedantic.expect("-ERR 'Invalid Publish Subject'\r\nPONG\r\n");
}

fn limits(address: SocketAddr) {
    let mut raw = quiet(address);
    raw.send(b"SUB big 1\r\nPUB big 1048576\r\n");
    raw.send(&vec![b'x'; 1_048_576]);
    raw.send(b"\r\n");
    raw.expect("MSG big 1 1048576\r\n");
    assert_eq!(raw.take(1_048_578).len(), 1_048_578);
    raw.send(b"PUB big 1048577\r\n");
    raw.expect("-ERR 'Maximum Payload Violation'\r\n");
    raw.expect_close();
    let line = |len: usize| format!("SUB {} 1\r\n", "a".repeat(len - 2));
    let mut raw = quiet(address);
    raw.send(line(4096).as_bytes());
    settle(&mut raw);
    raw.send(line(4097).as_bytes());
    raw.expect("-ERR 'maximum control line exceeded'\r\n");
    raw.expect_close();
}

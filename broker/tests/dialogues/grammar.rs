//! Dialogues drawn at random from a grammar that is mostly right.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CONNECTS: [&str; 6] = [
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#,
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#,
    r#"CONNECT {"verbose":true,"pedantic":true}"#,
    r#"CONNECT {"verbose":false,"pedantic":true,"headers":true,"echo":false}"#,
    r#"connect {"verbose":false,"pedantic":false,"unheard_of":[1]}"#,
    "CONNECT {}",
];
const SUBJECTS: [&str; 14] = [
    "a", "a.b", "a.*", "a.>", "*", ">", "b.c", "a*", "x.y.z", "a..b", ".a", "a.>.b", "a.b.", "$SYS.x",
];
const HEADS: [&str; 3] = [
    "NATS/1.0\r\nA: b\r\n\r\n",
    "NATS/1.0\r\n\r\n",
    "NATS/1.0 404\r\n\r\n",
];
const MISTAKES: [&str; 16] = [
    "NOPE\r\n",
    "\r\n",
    "PUB a\r\n",
    "PUB a -1\r\n\r\n",
    "SUB a\r\n",
    "SUB a b c d\r\n",
    "PUB a 1\r\nxy\r\n",
    "UNSUB\r\n",
    "PUB a x\r\n\r\n",
    "CONNECT {\r\n",
    "HPUB a 3 2\r\nabc\r\n",
    "HPUB a 3\r\nabc\r\n",
    "PUB\r\n",
    "UNSUB 1 2 3\r\n",
    "UNSUB 1 x\r\n",
    "PUB a b c 1\r\nx\r\n",
];

fn one_of<'a>(random: &mut StdRng, all: &[&'a str]) -> &'a str {
    all[random.random_range(0..all.len())]
}

/// One line, or a message; wrong in some way about once in ten.
///
/// Members of queue groups have sids of their own, which no UNSUB names: whom it would hit is up to chance.
fn operation(random: &mut StdRng) -> String {
    let subject = one_of(random, &SUBJECTS);
    let reply = one_of(random, &["", "", "r.1", "a.b", "nobody"]);
    let sid = random.random_range(1..5);
    let payload = "p".repeat(random.random_range(0..9));
    let size = payload.len();
    match random.random_range(0..19) {
        0..6 => format!("PUB {subject} {reply} {size}\r\n{payload}\r\n"),
        6..9 => format!("SUB {subject} {sid}\r\n"),
        9..11 => format!("SUB {subject} q {}\r\n", random.random_range(7..10)),
        11 => format!("UNSUB {sid}\r\n"),
        12 => format!("UNSUB {sid} {}\r\n", random.random_range(0..4)),
        13 => {
            let head = one_of(random, &HEADS);
            format!(
                "HPUB {subject} {reply} {} {}\r\n{head}{payload}\r\n",
                head.len(),
                head.len() + size
            )
        }
        14 => one_of(random, &["PING\r\n", "ping\r\n", "PONG\r\n", "PING \r\n"]).to_owned(),
        15 => format!("sub\t{subject}  {sid}\r\n"),
        16 => format!("pub {subject} {size}\n{payload}\r\n"),
        _ => one_of(random, &MISTAKES).to_owned(),
    }
}

/// Begins with CONNECT, which stands nowhere else (see `connect-twice`), and ends with PING, so that its end can be seen.
pub(crate) fn dialogue(seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::new();
    for _ in 0..random.random_range(1..3) {
        text.push_str(one_of(&mut random, &CONNECTS));
        text.push_str("\r\n");
    }
    for _ in 0..random.random_range(1..12) {
        text.push_str(&operation(&mut random));
    }
    text + "PING\r\n"
}

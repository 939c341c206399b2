//! Dialogues written down one by one: what clients say that is odd, at its limit, one past it, or forbidden.
//!
//! Each `\n` is sent as CRLF; a line that is to end in LF alone ends in `\\n`.

/// Dialogues with a server that is set up for them.
pub(crate) struct Setup {
    pub(crate) config: &'static str,
    /// Each with its name in the table of differences.
    pub(crate) dialogues: &'static [(&'static str, &'static str)],
}

pub(crate) const SETUPS: [Setup; 5] = [
    Setup {
        config: "",
        dialogues: CONNECT,
    },
    Setup {
        config: "",
        dialogues: VERBS,
    },
    Setup {
        config: "",
        dialogues: MESSAGES,
    },
    Setup {
        config: "max_payload: 64, max_control_line: 128, max_subscriptions: 2",
        dialogues: LIMITS,
    },
    Setup {
        config: USERS,
        dialogues: PERMISSIONS,
    },
];

const CONNECT: &[(&str, &str)] = &[
    ("connect-empty-object", "CONNECT {}\nPING\n"),
    ("connect-nothing", "CONNECT \nPING\n"),
    ("connect-nothing-at-all", "CONNECT\nPING\n"),
    ("connect-null", "CONNECT null\nPING\n"),
    ("connect-list", "CONNECT []\nPING\n"),
    ("connect-text", "CONNECT \"x\"\nPING\n"),
    ("connect-unfinished", "CONNECT {\nPING\n"),
    ("connect-more-after-it", "CONNECT {} x\nPING\n"),
    ("connect-blanks-around", "CONNECT \t {}  \t\nPING\n"),
    ("connect-lower-case", "connect {\"verbose\":false}\nPING\n"),
    ("connect-keys-in-capitals", "CONNECT {\"VERBOSE\":false}\nPING\n"),
    (
        "connect-key-twice",
        "CONNECT {\"verbose\":true,\"verbose\":false}\nPING\n",
    ),
    ("connect-wrong-type", "CONNECT {\"verbose\":\"yes\"}\nPING\n"),
    ("connect-null-value", "CONNECT {\"verbose\":null}\nPING\n"),
    ("connect-number-for-a-name", "CONNECT {\"name\":1}\nPING\n"),
    ("connect-number-for-a-user", "CONNECT {\"user\":1}\nPING\n"),
    (
        "connect-unknown-keys",
        "CONNECT {\"verbose\":false,\"a\":{\"b\":[1,2]}}\nPING\n",
    ),
    (
        "connect-protocol-1",
        "CONNECT {\"verbose\":false,\"protocol\":1}\nPING\nPING\n",
    ),
    (
        "connect-protocol-2",
        "CONNECT {\"verbose\":false,\"protocol\":2}\nPING\n",
    ),
    (
        "connect-protocol-negative",
        "CONNECT {\"verbose\":false,\"protocol\":-1}\nPING\n",
    ),
    (
        "connect-protocol-fraction",
        "CONNECT {\"verbose\":false,\"protocol\":1.0}\nPING\n",
    ),
    (
        "connect-no-responders-without-headers",
        "CONNECT {\"verbose\":false,\"no_responders\":true}\nPING\n",
    ),
    (
        "connect-account",
        "CONNECT {\"verbose\":false,\"account\":\"A\"}\nPING\n",
    ),
    (
        "connect-unneeded-credentials",
        "CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"b\"}\nPING\n",
    ),
    (
        "connect-unneeded-token",
        "CONNECT {\"verbose\":false,\"auth_token\":\"a\"}\nPING\n",
    ),
    (
        "connect-unneeded-jwt",
        "CONNECT {\"verbose\":false,\"jwt\":\"a\",\"sig\":\"b\"}\nPING\n",
    ),
    (
        "connect-unneeded-nkey",
        "CONNECT {\"verbose\":false,\"nkey\":\"a\",\"sig\":\"b\"}\nPING\n",
    ),
    (
        "connect-tls-required",
        "CONNECT {\"verbose\":false,\"tls_required\":true}\nPING\n",
    ),
    (
        "connect-twice",
        "CONNECT {\"verbose\":false}\nSUB a 1\nCONNECT {\"verbose\":true}\nPUB a 1\nx\nPING\n",
    ),
    (
        "connect-twice-keeps-what-it-does-not-name",
        "CONNECT {\"verbose\":false,\"echo\":false}\nCONNECT {\"pedantic\":false}\nSUB a 1\nPUB a 1\nx\nPING\n",
    ),
    ("connect-not-first", "SUB a 1\nPUB a 1\nx\nPING\n"),
    (
        "connect-after-ping",
        "PING\nCONNECT {\"verbose\":false,\"protocol\":1}\nPING\nPING\n",
    ),
    (
        "connect-quietly-pedantic",
        "CONNECT {\"verbose\":false}\nPUB a..b 1\nx\nPUB a.* 1\nx\nPING\n",
    ),
    (
        "connect-escapes",
        "CONNECT {\"verbose\":false,\"name\":\"\\u0061\\n\\ud83d\\ude00\"}\nPING\n",
    ),
    (
        "connect-half-a-surrogate",
        "CONNECT {\"verbose\":false,\"name\":\"\\ud83d\"}\nPING\n",
    ),
    (
        "connect-line-ends-in-lf",
        "CONNECT {\"verbose\":false}\\n\nPING\\n\nPING\n",
    ),
];

/// Begins every dialogue in which nothing about CONNECT is asked.
macro_rules! quiet {
    ($rest:literal) => {
        concat!(
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\n",
            $rest,
            "PING\n"
        )
    };
}

const VERBS: &[(&str, &str)] = &[
    (
        "verbs-in-any-case",
        quiet!("sUb a 1\npUb a 1\nx\nHpub a 12 13\nNATS/1.0\n\nx\nuNsUb 1\npInG\npOnG\n"),
    ),
    ("verb-unknown", quiet!("NOPE\n")),
    ("verb-empty-line", quiet!("\n")),
    ("verb-lf-alone", quiet!("\\n\n")),
    ("verb-with-a-letter-more", quiet!("PINGX\n")),
    ("verb-ping-with-words", quiet!("PING x y\n")),
    ("verb-blank-before", quiet!(" PING\n")),
    ("verb-pub-letter-more", quiet!("PUBX a 1\nx\n")),
    ("verb-of-the-server-ok", quiet!("+OK\n")),
    ("verb-of-the-server-err", quiet!("-ERR 'x'\n")),
    ("verb-of-the-server-info", quiet!("INFO {}\n")),
    ("verb-of-the-server-msg", quiet!("MSG a 1 1\nx\n")),
    ("verb-of-a-route", quiet!("RS+ $G a\n")),
    ("verb-of-a-leaf-node", quiet!("LS+ a\n")),
    ("sub-tabs", quiet!("SUB\ta\t\t1\nPUB\ta\t1\nx\n")),
    ("sub-blanks", quiet!("SUB   a   1  \nPUB   a   1  \nx\n")),
    ("sub-no-sid", quiet!("SUB a\n")),
    ("sub-nothing", quiet!("SUB \n")),
    ("sub-verb-alone", quiet!("SUB\n")),
    ("sub-too-much", quiet!("SUB a b c d\n")),
    (
        "sub-empty-token",
        quiet!("SUB a..b 1\nSUB .a 1\nSUB a. 1\nSUB a.>.b 1\nSUB . 1\n"),
    ),
    (
        "sub-odd-wildcards",
        quiet!("SUB a* 1\nSUB a.b> 2\nPUB a* 1\nx\nPUB ab 1\nx\nPUB a.b> 1\nx\n"),
    ),
    ("sub-sid-is-text", quiet!("SUB a one-and:two\nPUB a 1\nx\n")),
    (
        "sub-sid-twice",
        quiet!("SUB a 1\nSUB b 1\nPUB a 1\nx\nPUB b 1\ny\n"),
    ),
    (
        "sub-sid-twice-bad-subject",
        quiet!("SUB a 1\nSUB b..c 1\nPUB a 1\nx\n"),
    ),
    ("sub-unicode", quiet!("SUB grüße.* 1\nPUB grüße.a 1\nx\n")),
    (
        "sub-control-characters",
        quiet!("SUB a\u{1}b 1\nPUB a\u{1}b 1\nx\n"),
    ),
    ("sub-carriage-return-inside", quiet!("SUB a\rb 1\nPUB a 1\nx\n")),
    (
        "sub-system-subjects",
        quiet!("SUB $SYS.> 1\nSUB $JS.> 2\nPUB $SYS.x 1\nx\n"),
    ),
    ("unsub-no-sid", quiet!("UNSUB \n")),
    ("unsub-verb-alone", quiet!("UNSUB\n")),
    ("unsub-unknown", quiet!("UNSUB 9\nUNSUB 9 3\n")),
    ("unsub-too-much", quiet!("SUB a 1\nUNSUB 1 2 3\n")),
    ("unsub-max-is-text", quiet!("SUB a 1\nUNSUB 1 x\nPUB a 1\nx\n")),
    ("unsub-max-negative", quiet!("SUB a 1\nUNSUB 1 -1\nPUB a 1\nx\n")),
    ("unsub-max-zero", quiet!("SUB a 1\nUNSUB 1 0\nPUB a 1\nx\n")),
    (
        "unsub-max-huge",
        quiet!("SUB a 1\nUNSUB 1 99999999999999999999\nPUB a 1\nx\n"),
    ),
    (
        "unsub-max-counts-what-was",
        quiet!("SUB a 1\nPUB a 1\n1\nPUB a 1\n2\nUNSUB 1 3\nPUB a 1\n3\nPUB a 1\n4\n"),
    ),
    (
        "unsub-max-reached-already",
        quiet!("SUB a 1\nPUB a 1\n1\nPUB a 1\n2\nUNSUB 1 1\nPUB a 1\n3\n"),
    ),
    (
        "unsub-max-raised",
        quiet!("SUB a 1\nUNSUB 1 1\nUNSUB 1 3\nPUB a 1\n1\nPUB a 1\n2\nPUB a 1\n3\nPUB a 1\n4\n"),
    ),
    (
        "unsub-then-again",
        quiet!("SUB a 1\nUNSUB 1 1\nPUB a 1\n1\nSUB a 1\nPUB a 1\n2\nPUB a 1\n3\n"),
    ),
    (
        "unsub-verbose",
        "CONNECT {}\nSUB a 1\nUNSUB 1 1\nPUB a 1\n1\nUNSUB 1\nPING\n",
    ),
];

const MESSAGES: &[(&str, &str)] = &[
    ("pub-no-size", quiet!("PUB a\n")),
    ("pub-verb-alone", quiet!("PUB\n")),
    ("pub-nothing", quiet!("PUB \n")),
    ("pub-too-much", quiet!("PUB a b c 1\nx\n")),
    ("pub-size-negative", quiet!("PUB a -1\nx\n")),
    ("pub-size-with-plus", quiet!("PUB a +1\nx\n")),
    ("pub-size-with-zeros", quiet!("SUB a 1\nPUB a 0000000001\nx\n")),
    ("pub-size-text", quiet!("PUB a one\nx\n")),
    ("pub-size-overflows", quiet!("PUB a 99999999999999999999\nx\n")),
    ("pub-size-of-nine-digits", quiet!("PUB a 999999999\nx\n")),
    ("pub-size-of-ten-digits", quiet!("PUB a 9999999999\nx\n")),
    ("pub-empty", quiet!("SUB a 1\nPUB a 0\n\n")),
    ("pub-crlf-inside", quiet!("SUB a 1\nPUB a 6\na\n\nb\n")),
    ("pub-longer-than-said", quiet!("PUB a 1\nxy\n")),
    ("pub-shorter-than-said", quiet!("PUB a 3\nx\n")),
    ("pub-ends-in-lf", quiet!("SUB a 1\nPUB a 1\nx\\n\n")),
    ("pub-line-ends-in-lf", quiet!("SUB a 1\nPUB a 1\\n\nx\n")),
    ("pub-many-carriage-returns", quiet!("SUB a 1\nPUB a 1\r\r\nx\n")),
    (
        "pub-empty-token",
        quiet!("SUB > 1\nPUB a..b 1\nx\nPUB .a 1\nx\nPUB a. 1\nx\n"),
    ),
    (
        "pub-wildcards",
        quiet!("SUB a.* 1\nSUB a.> 2\nPUB a.* 1\nx\nPUB a.> 1\nx\nPUB > 1\nx\n"),
    ),
    (
        "pub-wildcards-pedantic",
        "CONNECT {\"verbose\":true,\"pedantic\":true}\nSUB a.> 1\nPUB a.* 1\nx\nPUB a.b.> 1\nx\nPING\n",
    ),
    (
        "pub-reply-is-odd",
        quiet!("SUB a 1\nPUB a r..s 1\nx\nPUB a r.* 1\nx\nPUB a .r 1\nx\n"),
    ),
    (
        "pub-reply-of-an-ack",
        quiet!("SUB a 1\nPUB a $JS.ACK.S.C.1.1.1.1.1 1\nx\n"),
    ),
    ("pub-verbose", "CONNECT {}\nPUB a 1\nx\nPUB b 0\n\nPING\n"),
    (
        "echo-off",
        "CONNECT {\"verbose\":false,\"echo\":false}\nSUB a 1\nSUB a q 2\nPUB a 1\nx\nPING\n",
    ),
    ("header", quiet!("SUB a 1\nHPUB a 18 19\nNATS/1.0\nA: b\n\nx\n")),
    (
        "header-with-reply",
        quiet!("SUB a 1\nHPUB a r 18 19\nNATS/1.0\nA: b\n\nx\n"),
    ),
    ("header-empty-block", quiet!("SUB a 1\nHPUB a 0 1\nx\n")),
    ("header-only", quiet!("SUB a 1\nHPUB a 12 12\nNATS/1.0\n\n\n")),
    ("header-that-is-none", quiet!("SUB a 1\nHPUB a 3 4\nabcd\n")),
    (
        "header-not-closed",
        quiet!("SUB a 1\nHPUB a 10 11\nNATS/1.0\nx\n"),
    ),
    ("header-longer-than-all", quiet!("HPUB a 5 4\nabcd\n")),
    ("header-size-text", quiet!("HPUB a x 4\nabcd\n")),
    ("header-one-size", quiet!("HPUB a 4\nabcd\n")),
    ("header-too-much", quiet!("HPUB a b c 1 1\nx\n")),
    (
        "header-unsupported",
        "CONNECT {\"verbose\":false,\"headers\":false}\nHPUB a 12 12\nNATS/1.0\n\n\nPING\n",
    ),
    (
        "header-status-line",
        quiet!("SUB a 1\nHPUB a 29 29\nNATS/1.0 503 Not Now\nA:b\n\n\n"),
    ),
    (
        "queue-one-member-each",
        quiet!("SUB a q 1\nSUB a r 2\nSUB a 3\nPUB a 1\nx\nPUB a 1\ny\n"),
    ),
    (
        "queue-many-members",
        quiet!("SUB a q 1\nSUB a.> q 2\nSUB a q 3\nSUB * q 4\nPUB a 1\nx\nPUB a.b 1\ny\n"),
    ),
    ("queue-with-wildcards", quiet!("SUB a q.* 1\nPUB a 1\nx\n")),
    ("queue-with-empty-token", quiet!("SUB a q..r 1\nPUB a 1\nx\n")),
    ("queue-unsubscribed", quiet!("SUB a q 1\nUNSUB 1\nPUB a 1\nx\n")),
    (
        "queue-to-its-end",
        quiet!("SUB a q 1\nUNSUB 1 1\nPUB a 1\nx\nPUB a 1\ny\n"),
    ),
    ("no-responders", quiet!("SUB r 1\nPUB a r 1\nx\n")),
    ("no-responders-by-wildcard", quiet!("SUB r.* 1\nPUB a r.1 1\nx\n")),
    ("no-responders-queue", quiet!("SUB r q 1\nPUB a r 1\nx\n")),
    ("no-responders-nobody-listens", quiet!("PUB a r 1\nx\n")),
    ("no-responders-no-reply", quiet!("SUB r 1\nPUB a 1\nx\n")),
    (
        "no-responders-somebody-is-there",
        quiet!("SUB r 1\nSUB a 2\nPUB a r 1\nx\n"),
    ),
    ("no-responders-only-itself", quiet!("SUB a 1\nPUB a a 1\nx\n")),
    (
        "no-responders-not-asked-for",
        "CONNECT {\"verbose\":false,\"headers\":true}\nSUB r 1\nPUB a r 1\nx\nPING\n",
    ),
    (
        "no-responders-verbose",
        "CONNECT {\"headers\":true,\"no_responders\":true}\nSUB r 1\nPUB a r 1\nx\nPING\n",
    ),
    (
        "no-responders-echo-off",
        "CONNECT {\"verbose\":false,\"echo\":false,\"headers\":true,\"no_responders\":true}\nSUB r 1\nSUB a 2\nPUB a r 1\nx\nPING\n",
    ),
    (
        "no-responders-twice-subscribed",
        quiet!("SUB r 1\nSUB r 2\nPUB a r 1\nx\nUNSUB 1\n"),
    ),
    (
        "no-responders-to-its-end",
        quiet!("SUB r 1\nUNSUB 1 1\nPUB a r 1\nx\nPUB a r 1\nx\n"),
    ),
    (
        "no-responders-wildcard-subject",
        quiet!("SUB r 1\nPUB a.* r 1\nx\nPUB a..b r 1\nx\n"),
    ),
    (
        "no-responders-ack",
        quiet!("SUB r 1\nPUB $JS.ACK.S.C.1.1.1.1.1 r 1\nx\n"),
    ),
    (
        "no-responders-next",
        quiet!("SUB r 1\nPUB $JS.API.CONSUMER.MSG.NEXT.S.C r 1\n1\n"),
    ),
    (
        "no-responders-direct",
        quiet!("SUB r 1\nPUB $JS.API.DIRECT.GET.S r 1\n1\n"),
    ),
];

const LIMITS: &[(&str, &str)] = &[
    (
        "payload-at-the-limit",
        "CONNECT {\"verbose\":false}\nSUB a 1\nPUB a 64\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nPING\n",
    ),
    (
        "payload-one-past",
        "CONNECT {\"verbose\":false}\nSUB a 1\nPUB a 65\n",
    ),
    (
        "payload-one-past-with-headers",
        "CONNECT {\"verbose\":false,\"headers\":true}\nSUB a 1\nHPUB a 12 65\n",
    ),
    ("payload-one-past-verbose", "CONNECT {}\nPUB a 65\n"),
    (
        "line-at-the-limit",
        "CONNECT {\"verbose\":false}\nSUB 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567890123 1\nPING\n",
    ),
    (
        "line-one-past",
        "CONNECT {\"verbose\":false}\nSUB 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789012345 1\nPING\n",
    ),
    (
        "line-pub-past",
        "CONNECT {\"verbose\":false}\nPUB 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789012345 1\nx\nPING\n",
    ),
    (
        "line-unsub-past",
        "CONNECT {\"verbose\":false}\nUNSUB 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789012345678\nPING\n",
    ),
    (
        "line-connect-past",
        "CONNECT {\"verbose\":false,\"name\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789012345\"}\nPING\n",
    ),
    (
        "subscriptions-at-the-limit",
        "CONNECT {\"verbose\":false}\nSUB a 1\nSUB b 2\nPUB a 1\nx\nPUB b 1\nx\nPING\n",
    ),
    (
        "subscriptions-one-past",
        "CONNECT {\"verbose\":false}\nSUB a 1\nSUB b 2\nSUB c 3\nPUB a 1\nx\nPUB c 1\nx\nPING\n",
    ),
    (
        "subscriptions-one-past-verbose",
        "CONNECT {}\nSUB a 1\nSUB b 2\nSUB c 3\nPING\n",
    ),
    (
        "subscriptions-one-past-again",
        "CONNECT {\"verbose\":false}\nSUB a 1\nSUB b 2\nSUB b 2\nUNSUB 1\nSUB c 3\nPUB c 1\nx\nPING\n",
    ),
];

const USERS: &str = r#"authorization {
  users: [
    {user: ann, password: a, permissions: {
      publish: {allow: ["a.>", "_INBOX.>"], deny: "a.secret"}
      subscribe: {allow: ["a.>", "_INBOX.>", "jobs workers.*"], deny: ["a.secret", "a.q bad"]}}}
    {user: bob, password: b, permissions: {subscribe: ["req", "_INBOX.>"], allow_responses: true}}
    {user: all, password: x}
    {user: api, password: j, permissions: {publish: {deny: "$JS.API.STREAM.>"}}}
  ]
}
"#;

/// As `$user` with `$password`, without `+OK`.
macro_rules! as_user {
    ($user:literal, $password:literal, $rest:literal) => {
        concat!(
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"user\":\"", $user,
            "\",\"pass\":\"", $password, "\"}\n", $rest, "PING\n"
        )
    };
}

const PERMISSIONS: &[(&str, &str)] = &[
    (
        "login-wrong-password",
        "CONNECT {\"user\":\"ann\",\"pass\":\"guess\"}\nPING\n",
    ),
    ("login-nobody", "CONNECT {}\nPING\n"),
    ("login-token", "CONNECT {\"auth_token\":\"a\"}\nPING\n"),
    ("login-ping-first", "PING\n"),
    ("login-sub-first", "SUB a 1\n"),
    ("login-pub-first", "PUB a 1\nx\n"),
    (
        "login-verbose",
        "CONNECT {\"user\":\"ann\",\"pass\":\"a\"}\nPUB b 1\nx\nSUB b 1\nPUB a.b 1\nx\nSUB a.b 1\nPING\n",
    ),
    (
        "login-pedantic",
        "CONNECT {\"user\":\"ann\",\"pass\":\"a\"}\nPUB a.* 1\nx\nPUB b.* 1\nx\nSUB a..b 1\nPING\n",
    ),
    (
        "login-again-as-another",
        "CONNECT {\"verbose\":false,\"user\":\"ann\",\"pass\":\"a\"}\nCONNECT {\"user\":\"all\",\"pass\":\"x\"}\nSUB b 1\nPUB b 1\nx\nPING\n",
    ),
    (
        "pub-denied",
        as_user!("ann", "a", "PUB b 1\nx\nPUB a.secret 1\nx\n"),
    ),
    (
        "pub-denied-with-reply",
        as_user!("ann", "a", "SUB _INBOX.1 1\nPUB b _INBOX.1 1\nx\n"),
    ),
    (
        "pub-denied-header",
        as_user!("ann", "a", "HPUB b 12 12\nNATS/1.0\n\n\n"),
    ),
    (
        "pub-allowed-nobody-there",
        as_user!("ann", "a", "SUB _INBOX.1 1\nPUB a.x _INBOX.1 1\nx\n"),
    ),
    (
        "sub-denied",
        as_user!("ann", "a", "SUB b 1\nSUB a.secret 2\nSUB > 3\n"),
    ),
    (
        "sub-denied-queue",
        as_user!("ann", "a", "SUB b q 1\nSUB a.q bad 2\nSUB a.q good 3\n"),
    ),
    (
        "sub-queue-only",
        as_user!(
            "ann",
            "a",
            "SUB jobs 1\nSUB jobs workers.1 2\nSUB jobs idlers 3\n"
        ),
    ),
    ("sub-denied-empty-token", as_user!("ann", "a", "SUB b..c 1\n")),
    (
        "sub-withheld",
        as_user!("all", "x", "SUB > 1\nPUB a.secret 1\nx\n"),
    ),
    (
        "reply-forged-ack",
        as_user!("all", "x", "PUB a $JS.ACK.S.C.1.1.1.1.1 0\n\n"),
    ),
    (
        "reply-reserved",
        as_user!("all", "x", "PUB a _R_.x 0\n\nPUB a _GR_.x 0\n\nPUB a $GR.x 0\n\n"),
    ),
    ("answer-unasked", as_user!("bob", "b", "SUB req 1\nPUB x 1\nx\n")),
    (
        "answer-verbose",
        "CONNECT {\"user\":\"bob\",\"pass\":\"b\"}\nSUB req 1\nPUB req _INBOX.1 1\nx\nPING\n",
    ),
    (
        "api-denied",
        as_user!(
            "api",
            "j",
            "SUB _INBOX.1 1\nPUB $JS.API.STREAM.NAMES _INBOX.1 0\n\n"
        ),
    ),
];

//! Bytes to [`ClientOp`]: one operation at a time, borrowed, with every size checked before it is trusted.
//!
//! ```text
//! PUB <subject> [reply] <#payload>\r\n<payload>\r\n
//! HPUB <subject> [reply] <#headers> <#total>\r\n<headers><payload>\r\n
//! SUB <subject> [queue] <sid>\r\n      UNSUB <sid> [max]\r\n
//! CONNECT <json>\r\n   PING\r\n   PONG\r\n
//! ```
//!
//! Verbs are case-insensitive, arguments are separated by runs of spaces or tabs, a line may end in `\n` alone.

use super::{ClientError, ClientOp, Publish};

/// What a line and a message may measure.
#[derive(Debug, Clone, Copy)]
pub struct ParseLimits {
    pub max_control_line: usize,
    pub max_payload: usize,
}

/// The longest verb and its separator, allowed on top of `max_control_line`, which counts arguments only.
const VERB_ALLOWANCE: usize = 16;

/// No operation takes more arguments than HPUB with a reply; one more tells "too many" apart.
const ARGS_MAX: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Ping,
    Pong,
    Pub,
    Hpub,
    Sub,
    Unsub,
}

const VERBS: [(&[u8], Verb); 7] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
];

/// The first operation in `input` and the bytes it takes; `Ok(None)` when more bytes are needed to tell.
pub fn parse(input: &[u8], limits: ParseLimits) -> Result<Option<(ClientOp<'_>, usize)>, ClientError> {
    let Some((verb, verb_len)) = parse_verb(input)? else {
        return Ok(None);
    };
    let rest = &input[verb_len..];
    let window = &rest[..rest.len().min(limits.max_control_line + VERB_ALLOWANCE)];
    let Some(newline) = window.iter().position(|&byte| byte == b'\n') else {
        if window.len() == limits.max_control_line + VERB_ALLOWANCE {
            return Err(ClientError::MaxControlLine);
        }
        return Ok(None);
    };
    let line = trim(&rest[..newline]);
    let line_end = verb_len + newline + 1;
    if line.len() > limits.max_control_line {
        return Err(ClientError::MaxControlLine);
    }
    let op = match verb {
        Verb::Ping => ClientOp::Ping,
        Verb::Pong => ClientOp::Pong,
        Verb::Connect => ClientOp::Connect(line),
        Verb::Sub => parse_sub(line)?,
        Verb::Unsub => parse_unsub(line)?,
        Verb::Pub | Verb::Hpub => return parse_publish(verb, line, input, line_end, limits.max_payload),
    };
    Ok(Some((op, line_end)))
}

/// Fails on the first byte that no verb has at that place, as nats-server does.
fn parse_verb(input: &[u8]) -> Result<Option<(Verb, usize)>, ClientError> {
    let mut undecided = false;
    for (name, verb) in VERBS {
        let seen = input.len().min(name.len());
        if !input[..seen].eq_ignore_ascii_case(&name[..seen]) {
            continue;
        }
        if seen < name.len() {
            undecided = true;
            continue;
        }
        return match (verb, input.get(name.len())) {
            (_, None) => Ok(None),
            (Verb::Ping | Verb::Pong | Verb::Connect, Some(_)) | (_, Some(b' ' | b'\t')) => {
                Ok(Some((verb, name.len())))
            }
            _ => Err(ClientError::UnknownOperation),
        };
    }
    if undecided {
        Ok(None)
    } else {
        Err(ClientError::UnknownOperation)
    }
}

fn parse_sub(line: &[u8]) -> Result<ClientOp<'_>, ClientError> {
    match arguments(line)? {
        ([subject, sid, ..], 2) => Ok(ClientOp::Sub {
            subject,
            queue: None,
            sid,
        }),
        ([subject, queue, sid, ..], 3) => Ok(ClientOp::Sub {
            subject,
            queue: Some(queue),
            sid,
        }),
        _ => Err(ClientError::Malformed),
    }
}

fn parse_unsub(line: &[u8]) -> Result<ClientOp<'_>, ClientError> {
    match arguments(line)? {
        ([sid, ..], 1) => Ok(ClientOp::Unsub { sid, max: None }),
        // What is no number ends the subscription at once, as with nats-server.
        ([sid, max, ..], 2) => Ok(ClientOp::Unsub {
            sid,
            max: parse_size(max).filter(|max| *max > 0).map(|max| max as u64),
        }),
        _ => Err(ClientError::Malformed),
    }
}

fn parse_publish<'a>(
    verb: Verb,
    line: &'a [u8],
    input: &'a [u8],
    line_end: usize,
    max_payload: usize,
) -> Result<Option<(ClientOp<'a>, usize)>, ClientError> {
    let is_hpub = verb == Verb::Hpub;
    let none: &[u8] = b"";
    let (subject, reply, header_len, total) = match (is_hpub, arguments(line)?) {
        (false, ([subject, total, ..], 2)) => (subject, none, none, total),
        (false, ([subject, reply, total, ..], 3)) => (subject, reply, none, total),
        (true, ([subject, header_len, total, ..], 3)) => (subject, none, header_len, total),
        (true, ([subject, reply, header_len, total, ..], 4)) => (subject, reply, header_len, total),
        _ => return Err(ClientError::Malformed),
    };
    let total = parse_size(total).ok_or(ClientError::Malformed)?;
    let header_len = if is_hpub {
        parse_size(header_len).ok_or(ClientError::Malformed)?
    } else {
        0
    };
    if header_len > total {
        return Err(ClientError::Malformed);
    }
    if total > max_payload {
        return Err(ClientError::MaxPayload);
    }
    let body_end = line_end + total;
    match (input.get(body_end), input.get(body_end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (None, _) | (Some(b'\r'), None) => return Ok(None),
        _ => return Err(ClientError::UnknownOperation),
    }
    let body = &input[line_end..body_end];
    let publish = Publish {
        subject,
        reply,
        is_hpub,
        header_len,
        body,
    };
    Ok(Some((ClientOp::Pub(publish), body_end + 2)))
}

fn arguments(line: &[u8]) -> Result<([&[u8]; ARGS_MAX], usize), ClientError> {
    let mut found: [&[u8]; ARGS_MAX] = [b""; ARGS_MAX];
    let mut count = 0;
    for part in line.split(|&byte| is_blank(byte)).filter(|part| !part.is_empty()) {
        *found.get_mut(count).ok_or(ClientError::Malformed)? = part;
        count += 1;
    }
    Ok((found, count))
}

/// Decimal digits only, and few enough that no sum of two sizes can overflow.
fn parse_size(digits: &[u8]) -> Option<usize> {
    const DIGITS_MAX: usize = 9;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0usize, |sum, &digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + usize::from(digit - b'0'))
    })
}

fn trim(mut line: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = line
        && is_blank(*first)
    {
        line = rest;
    }
    while let [rest @ .., last] = line
        && is_blank(*last)
    {
        line = rest;
    }
    line
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ParseLimits = ParseLimits {
        max_control_line: 64,
        max_payload: 32,
    };

    fn check(input: &[u8], expect: ClientOp<'_>) {
        for cut in 0..input.len() {
            assert_eq!(parse(&input[..cut], LIMITS), Ok(None), "cut at {cut}");
        }
        assert_eq!(parse(input, LIMITS), Ok(Some((expect, input.len()))));
        let mut more = input.to_vec();
        more.extend_from_slice(b"PING\r\n");
        assert!(matches!(parse(&more, LIMITS), Ok(Some((_, len))) if len == input.len()));
    }

    fn publish<'a>(subject: &'a [u8], reply: &'a [u8], header_len: usize, body: &'a [u8]) -> ClientOp<'a> {
        ClientOp::Pub(Publish {
            subject,
            reply,
            is_hpub: header_len > 0,
            header_len,
            body,
        })
    }

    #[test]
    fn every_operation_at_every_cut() {
        check(b"PING\r\n", ClientOp::Ping);
        check(b"pOnG\r\n", ClientOp::Pong);
        check(b"CONNECT {\"a\":1}\r\n", ClientOp::Connect(b"{\"a\":1}"));
        check(b"PUB a 0\r\n\r\n", publish(b"a", b"", 0, b""));
        check(
            b"pub a.b r.s 5\r\nhello\r\n",
            publish(b"a.b", b"r.s", 0, b"hello"),
        );
        check(b"PUB\ta \t r   2\r\nhi\r\n", publish(b"a", b"r", 0, b"hi"));
        check(
            b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            publish(b"a", b"", 12, b"NATS/1.0\r\n\r\nhi"),
        );
        check(
            b"HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            publish(b"a", b"r", 12, b"NATS/1.0\r\n\r\n"),
        );
        check(
            b"SUB a 1\r\n",
            ClientOp::Sub {
                subject: b"a",
                queue: None,
                sid: b"1",
            },
        );
        check(
            b"SUB a q 1\r\n",
            ClientOp::Sub {
                subject: b"a",
                queue: Some(b"q"),
                sid: b"1",
            },
        );
        check(b"UNSUB 1\r\n", ClientOp::Unsub { sid: b"1", max: None });
        check(
            b"UNSUB 1 5\r\n",
            ClientOp::Unsub {
                sid: b"1",
                max: Some(5),
            },
        );
    }

    #[test]
    fn refusals() {
        let fails = |input: &[u8], expect: ClientError| assert_eq!(parse(input, LIMITS), Err(expect));
        fails(b"X", ClientError::UnknownOperation);
        fails(b"\r\n", ClientError::UnknownOperation);
        fails(b"PUBX a 1\r\n", ClientError::UnknownOperation);
        fails(b"PUB a 2\r\nhixx", ClientError::UnknownOperation);
        fails(b"PUB a\r\n", ClientError::Malformed);
        fails(b"PUB a b c 1\r\n", ClientError::Malformed);
        fails(b"PUB a -1\r\n", ClientError::Malformed);
        fails(b"PUB a 99999999999999999999\r\n", ClientError::Malformed);
        fails(b"HPUB a 5 4\r\n", ClientError::Malformed);
        fails(b"SUB a\r\n", ClientError::Malformed);
        fails(b"SUB a b c d\r\n", ClientError::Malformed);
        fails(b"UNSUB\r\n", ClientError::UnknownOperation);
        fails(b"PUB a 33\r\n", ClientError::MaxPayload);
        assert_eq!(parse(b"PUB a 32\r\n", LIMITS), Ok(None));
    }

    #[test]
    fn control_line_limit_counts_arguments() {
        let line = |len: usize| [b"SUB ".as_slice(), &vec![b'a'; len - 2], b" 1\r\n"].concat();
        assert!(parse(&line(64), LIMITS).unwrap().is_some());
        assert_eq!(parse(&line(65), LIMITS), Err(ClientError::MaxControlLine));
        assert_eq!(
            parse(&[b"SUB ".as_slice(), &[b'a'; 200]].concat(), LIMITS),
            Err(ClientError::MaxControlLine)
        );
    }

    /// What is heard when `text` arrives in pieces that end at `cuts`, and the error that ended it.
    fn heard(text: &[u8], cuts: &[usize]) -> (Vec<String>, Option<ClientError>) {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(text.len());
        let (mut said, mut at) = (Vec::new(), 0);
        for end in ends {
            loop {
                match parse(&text[at..end], LIMITS) {
                    Ok(Some((op, len))) => {
                        said.push(format!("{op:?}"));
                        at += len;
                    }
                    Ok(None) => break,
                    Err(error) => return (said, Some(error)),
                }
            }
        }
        (said, None)
    }

    /// Mostly right; the last of them are not, each in a way of its own.
    const WORDS: [&str; 22] = [
        "PING\r\n",
        "pong\r\n",
        "CONNECT {\"a\":1}\r\n",
        "PUB a 2\r\nhi\r\n",
        "PUB a r 0\r\n\r\n",
        "pub\ta 4\n\r\nx\r\r\n",
        "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        "hpub a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        "SUB a 1\r\n",
        "sub  a.>\tq  2 \r\n",
        "UNSUB 1\r\n",
        "UNSUB 1 3\r\n",
        "PUB a 32\r\n01234567890123456789012345678901\r\n",
        "PING \r\n",
        "UNSUB 1 x\r\n",
        "PUB a 33\r\n",
        "PUB a\r\n",
        "PUB a 1\r\nxy\r\n",
        "NOPE\r\n",
        "\r\n",
        "SUB a b c d\r\n",
        "SUB 0123456789012345678901234567890123456789012345678901234567890123456789 1\r\n",
    ];

    proptest! {
        #[test]
        fn pieces_say_what_the_whole_says(
            words in proptest::collection::vec(0..WORDS.len(), 1..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let text = words.iter().map(|at| WORDS[*at]).collect::<String>();
            let whole = heard(text.as_bytes(), &[]);
            prop_assert_eq!(&heard(text.as_bytes(), &cuts), &whole);
            let each_byte: Vec<usize> = (0..text.len()).collect();
            prop_assert_eq!(&heard(text.as_bytes(), &each_byte), &whole);
        }

        #[test]
        fn no_input_panics(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&input, LIMITS);
        }
    }
}

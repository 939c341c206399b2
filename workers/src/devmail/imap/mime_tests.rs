//! Part numbers as RFC 3501 6.4.5 gives them in its example.

use std::num::NonZeroU32;

use super::*;

const RAW: &str = "From: a@b.test\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n\
    preamble\r\n--o\r\nContent-Type: text/plain\r\n\r\nfirst\r\n\
    --o\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\
    --o\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n\
    --i\r\nContent-Type: text/plain\r\n\r\ninner text\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>x\r\n--i--\r\n\
    --o\r\nContent-Type: message/rfc822\r\n\r\nSubject: flat\r\n\r\nflat text\r\n--o--\r\n";

fn part(numbers: &[u32]) -> Part {
    Part(
        Vec1::try_from(
            numbers
                .iter()
                .map(|n| NonZeroU32::new(*n).unwrap())
                .collect::<Vec<_>>(),
        )
        .unwrap(),
    )
}

fn body(raw: &str, numbers: &[u32]) -> Option<String> {
    let masked = masked(raw.as_bytes());
    let mime = Mime::parse(raw.as_bytes(), &masked);
    mime.body(&part(numbers))
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn parts_have_their_numbers() {
    for (numbers, expect) in [
        (&[1][..], Some("first")),
        (&[2], Some("AAAA")),
        (&[3, 1], Some("inner text")),
        (&[3, 2], Some("<p>x")),
        (&[4, 1], Some("flat text")),
        (&[4], Some("Subject: flat\r\n\r\nflat text")),
        (&[5], None),
        (&[1, 1], None),
        (&[3, 3], None),
        (&[4, 2], None),
    ] {
        assert_eq!(body(RAW, numbers).as_deref(), expect, "{numbers:?}");
    }
    assert_eq!(
        body("Subject: x\r\n\r\nall of it\r\n", &[1]).as_deref(),
        Some("all of it\r\n")
    );
    assert_eq!(body("Subject: x\r\n\r\nall of it\r\n", &[2]), None);
}

#[test]
fn mime_headers_and_nested_messages() {
    let mime = Mime::parse(RAW.as_bytes(), RAW.as_bytes());
    assert_eq!(
        mime.header(&part(&[1])).unwrap(),
        b"Content-Type: text/plain\r\n\r\n"
    );
    assert!(
        mime.nested_message(&part(&[3]))
            .unwrap()
            .starts_with(b"Subject: inner\r\n")
    );
    assert_eq!(mime.nested_message(&part(&[1])), None);
}

#[test]
fn the_structure_names_every_part() {
    let BodyStructure::Multi { bodies, subtype, .. } =
        Mime::parse(RAW.as_bytes(), RAW.as_bytes()).structure()
    else {
        panic!()
    };
    assert_eq!(subtype.as_ref(), b"mixed");
    assert_eq!(bodies.as_ref().len(), 4);
    let BodyStructure::Single { body, .. } = &bodies.as_ref()[2] else {
        panic!()
    };
    let SpecificFields::Message { envelope, .. } = &body.specific else {
        panic!()
    };
    assert_eq!(envelope.subject, NString::try_from("inner").unwrap());
}

#[test]
fn hostile_nesting_has_an_end() {
    for (levels, expect) in [(900, MAX_DEPTH), (2_000, 0)] {
        let level = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
        let raw: String = (0..levels).map(level).collect();
        let mut depth = 0;
        let mut next = &Mime::parse(raw.as_bytes(), raw.as_bytes()).structure();
        while let BodyStructure::Multi { bodies, .. } = next {
            (next, depth) = (&bodies.as_ref()[0], depth + 1);
        }
        assert_eq!(depth, expect);
    }
    for levels in [900, 100_000] {
        let raw = "Content-Type: message/rfc822\r\n\r\n".repeat(levels);
        Mime::parse(raw.as_bytes(), raw.as_bytes()).structure();
    }
    for raw in [
        "",
        "\r\n",
        "Content-Type: multipart/mixed\r\n\r\n",
        "Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n",
    ] {
        Mime::parse(raw.as_bytes(), raw.as_bytes()).structure();
    }
}

//! What the server says, appended to a buffer.

use bytes::{BufMut, BytesMut};

use super::{ClientError, Info, Violation};

pub const PING: &[u8] = b"PING\r\n";
pub const PONG: &[u8] = b"PONG\r\n";
pub const OK: &[u8] = b"+OK\r\n";
pub const CRLF: &[u8] = b"\r\n";

/// nats-server leaves a space before the line end; some clients cut the line there.
pub fn info(out: &mut BytesMut, info: &Info) {
    out.put_slice(b"INFO ");
    if let Ok(json) = serde_json::to_vec(info) {
        out.put_slice(&json);
    }
    out.put_slice(b" \r\n");
}

/// Nothing is written for an error that closes without a word.
pub fn error(out: &mut BytesMut, error: ClientError) {
    if let Some(text) = error.wire_text() {
        err_line(out, text);
    }
}

pub fn violation(out: &mut BytesMut, violation: Violation<'_>) {
    err_line(out, &violation.wire_text());
}

fn err_line(out: &mut BytesMut, text: &str) {
    out.put_slice(b"-ERR '");
    out.put_slice(text.as_bytes());
    out.put_slice(b"'\r\n");
}

/// The line before a message without headers; the payload and a line end follow.
pub fn msg_line(out: &mut BytesMut, subject: &[u8], sid: &[u8], reply: &[u8], payload_len: usize) {
    out.put_slice(b"MSG ");
    address(out, subject, sid, reply);
    decimal(out, payload_len);
    out.put_slice(CRLF);
}

/// The line before a message with headers; header block, payload and a line end follow.
pub fn hmsg_line(
    out: &mut BytesMut,
    subject: &[u8],
    sid: &[u8],
    reply: &[u8],
    header_len: usize,
    total_len: usize,
) {
    out.put_slice(b"HMSG ");
    address(out, subject, sid, reply);
    decimal(out, header_len);
    out.put_u8(b' ');
    decimal(out, total_len);
    out.put_slice(CRLF);
}

fn address(out: &mut BytesMut, subject: &[u8], sid: &[u8], reply: &[u8]) {
    out.put_slice(subject);
    out.put_u8(b' ');
    out.put_slice(sid);
    out.put_u8(b' ');
    if !reply.is_empty() {
        out.put_slice(reply);
        out.put_u8(b' ');
    }
}

/// Digits without the detour through `fmt`, which would be the dearest part of a small message.
pub fn decimal(out: &mut BytesMut, value: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of ten fits a byte")]
        let digit = (rest % 10) as u8;
        digits[at] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let check = |write: &dyn Fn(&mut BytesMut), expect: &str| {
            let mut out = BytesMut::new();
            write(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check(&|out| msg_line(out, b"a", b"1", b"", 0), "MSG a 1 0\r\n");
        check(&|out| msg_line(out, b"a", b"1", b"r", 1234), "MSG a 1 r 1234\r\n");
        check(
            &|out| hmsg_line(out, b"a", b"1", b"", 12, 14),
            "HMSG a 1 12 14\r\n",
        );
        check(
            &|out| error(out, ClientError::StaleConnection),
            "-ERR 'Stale Connection'\r\n",
        );
        check(&|out| error(out, ClientError::Malformed), "");
        check(&|out| decimal(out, usize::MAX), &usize::MAX.to_string());
    }
}

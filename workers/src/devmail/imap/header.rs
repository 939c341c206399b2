//! Cutting the header block of a raw message, byte for byte as it is stored.

/// Where the header block ends and the body starts. The empty line belongs to the header.
pub(super) fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
    }
    raw.split_at(at)
}

/// Each header field with its folded lines, without the empty line at the end.
pub(super) fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields: Vec<&[u8]> = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        let is_fold = line.starts_with(b" ") || line.starts_with(b"\t");
        if !is_fold && at > start {
            fields.extend(header.get(start..at));
            start = at;
        }
        if matches!(line, b"\r\n" | b"\n") {
            return fields;
        }
        at += line.len();
    }
    if at > start {
        fields.extend(header.get(start..at));
    }
    fields
}

/// The name of a field as it is written, without the colon.
pub(super) fn name(field: &[u8]) -> &[u8] {
    field
        .split(|byte| *byte == b':')
        .next()
        .unwrap_or_default()
        .trim_ascii_end()
}

/// The value of a field, unfolded.
pub(super) fn value(field: &[u8]) -> Vec<u8> {
    let at = field
        .iter()
        .position(|byte| *byte == b':')
        .map_or(field.len(), |colon| colon + 1);
    let value = field.get(at..).unwrap_or_default().trim_ascii();
    value
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect()
}

/// The fields that `wanted` picks by name, and the empty line that ends every header subset (RFC 3501 6.4.5).
pub(super) fn subset(raw: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (header, _) = split(raw);
    let mut subset: Vec<u8> = fields(header)
        .into_iter()
        .filter(|field| wanted(name(field)))
        .flatten()
        .copied()
        .collect();
    subset.extend_from_slice(b"\r\n");
    subset
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"From: a@b\r\nSubject: one\r\n two\r\nX-Empty:\r\n\r\nbody\r\n\r\nmore";

    #[test]
    fn header_and_body_part_at_the_empty_line() {
        let (header, body) = split(RAW);
        assert!(header.ends_with(b"X-Empty:\r\n\r\n"));
        assert_eq!(body, b"body\r\n\r\nmore");
        assert_eq!(split(b"From: a\r\n"), (&b"From: a\r\n"[..], &b""[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
        assert_eq!(split(b"\r\nbody"), (&b"\r\n"[..], &b"body"[..]));
    }

    #[test]
    fn fields_keep_their_folds() {
        let (header, _) = split(RAW);
        let names: Vec<&[u8]> = fields(header).into_iter().map(name).collect();
        assert_eq!(names, [&b"From"[..], b"Subject", b"X-Empty"]);
        assert_eq!(value(fields(header)[1]), b"one two");
        assert_eq!(value(fields(header)[2]), b"");
    }

    #[test]
    fn a_subset_ends_with_an_empty_line() {
        let subject = subset(RAW, |name| name.eq_ignore_ascii_case(b"subject"));
        assert_eq!(subject, b"Subject: one\r\n two\r\n\r\n");
        assert_eq!(subset(RAW, |_| false), b"\r\n");
    }
}

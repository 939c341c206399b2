//! Commands as bytes: quoting and literals, so that no argument can be taken for anything but an argument.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::ImapError;

/// One command. It goes out in chunks; before each chunk but the first the server must have said `+`.
pub struct Command {
    name: &'static str,
    chunks: Vec<Vec<u8>>,
    /// What answers a `+` that comes after everything was said; only AUTHENTICATE may get one.
    afterthought: Option<&'static str>,
}

/// Arguments may be passwords, so only the name is ever shown.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            chunks: vec![name.as_bytes().to_vec()],
            afterthought: None,
        }
    }

    /// `AUTHENTICATE` with a mechanism and its one response, in base64. A challenge after it is answered with
    /// `afterthought`: `*` cancels (RFC 3501 section 6.2.2), and bearers acknowledge the server's error report so that
    /// the refusal itself follows.
    pub fn authenticate(mechanism: &str, response: String, afterthought: &'static str) -> Self {
        Self {
            name: "AUTHENTICATE",
            chunks: vec![
                format!("AUTHENTICATE {mechanism}").into_bytes(),
                response.into_bytes(),
            ],
            afterthought: Some(afterthought),
        }
    }

    /// Adds syntax that this program writes itself, such as `UID 5:*`.
    pub fn raw(mut self, text: &str) -> Self {
        self.push(b" ");
        self.push(text.as_bytes());
        self
    }

    /// Adds an argument: quoted where it is printable ASCII, a literal otherwise.
    pub fn string(mut self, text: &str) -> Result<Self, ImapError> {
        if text.contains('\0') {
            return Err(ImapError::BadArgument("an argument contains NUL"));
        }
        self.push(b" ");
        if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            self.push(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).as_bytes());
        } else {
            self.push(format!("{{{}}}", text.len()).as_bytes());
            self.chunks.push(text.as_bytes().to_vec());
        }
        Ok(self)
    }

    /// Adds bytes as they are, such as a whole mail.
    pub fn literal(mut self, bytes: &[u8]) -> Self {
        self.push(format!(" {{{}}}", bytes.len()).as_bytes());
        self.chunks.push(bytes.to_vec());
        self
    }

    /// Adds a mailbox name, in the modified UTF-7 of RFC 3501 section 5.1.3.
    pub fn mailbox(self, name: &str) -> Result<Self, ImapError> {
        self.string(&utf7(name))
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn afterthought(&self) -> Option<&'static str> {
        self.afterthought
    }

    /// What to write, in order, with the tag in front and a line end after every chunk.
    pub(super) fn into_chunks(self, tag: &str) -> impl Iterator<Item = Vec<u8>> {
        let tag = format!("{tag} ");
        self.chunks.into_iter().enumerate().map(move |(at, mut chunk)| {
            if at == 0 {
                chunk.splice(0..0, tag.bytes());
            }
            chunk.extend_from_slice(b"\r\n");
            chunk
        })
    }

    fn push(&mut self, bytes: &[u8]) {
        match self.chunks.last_mut() {
            Some(chunk) => chunk.extend_from_slice(bytes),
            None => self.chunks.push(bytes.to_vec()),
        }
    }
}

/// Printable ASCII stays, `&` becomes `&-`, and runs of anything else are base64 of UTF-16 with `,` for `/`.
fn utf7(name: &str) -> String {
    fn flush(run: &mut Vec<u8>, out: &mut String) {
        if !run.is_empty() {
            out.push('&');
            out.push_str(&STANDARD_NO_PAD.encode(&*run).replace('/', ","));
            out.push('-');
            run.clear();
        }
    }
    let mut out = String::with_capacity(name.len());
    let mut run = Vec::new();
    for c in name.chars() {
        if !matches!(c, ' '..='~') {
            let mut units = [0; 2];
            run.extend(
                c.encode_utf16(&mut units)
                    .iter()
                    .flat_map(|unit| unit.to_be_bytes()),
            );
            continue;
        }
        flush(&mut run, &mut out);
        out.push(c);
        if c == '&' {
            out.push('-');
        }
    }
    flush(&mut run, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(command: Command) -> String {
        let chunks: Vec<String> = command
            .into_chunks("p1")
            .map(|c| String::from_utf8(c).unwrap())
            .collect();
        chunks.join("(+)")
    }

    #[test]
    fn arguments_stay_arguments() {
        let check = |text: &str, expect: &str| {
            assert_eq!(written(Command::new("SELECT").string(text).unwrap()), expect);
        };
        check("INBOX", "p1 SELECT \"INBOX\"\r\n");
        check("a\"b\\c", "p1 SELECT \"a\\\"b\\\\c\"\r\n");
        check("x\r\np2 DELETE y", "p1 SELECT {14}\r\n(+)x\r\np2 DELETE y\r\n");
        check("é", "p1 SELECT {2}\r\n(+)é\r\n");
        check("", "p1 SELECT \"\"\r\n");
        assert!(Command::new("SELECT").string("a\0").is_err());
    }

    #[test]
    fn two_literals_in_one_command() {
        let login = Command::new("LOGIN").string("ü").unwrap().string("é").unwrap();
        assert_eq!(written(login), "p1 LOGIN {2}\r\n(+)ü {2}\r\n(+)é\r\n");
    }

    #[test]
    fn a_sasl_response_waits_for_the_go_ahead_and_is_never_shown() {
        let command = Command::authenticate("PLAIN", "AGFkYQBzZWNyZXQ=".to_owned(), "*");
        assert_eq!(format!("{command:?}"), "AUTHENTICATE");
        assert_eq!(
            written(command),
            "p1 AUTHENTICATE PLAIN\r\n(+)AGFkYQBzZWNyZXQ=\r\n"
        );
    }

    #[test]
    fn mailbox_names_are_modified_utf7() {
        for (name, expect) in [
            ("INBOX", "INBOX"),
            ("R&D", "R&-D"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("📬", "&2D3c7A-"),
        ] {
            assert_eq!(utf7(name), expect);
        }
    }
}

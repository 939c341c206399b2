//! A source file as the laws see it: its text, its code without comments and literals, and that without its tests.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with each byte of a comment or a literal made a blank; offsets and lines stay.
    pub(crate) code: String,
    /// `code` with its tests made blank too: nothing but line ends where the whole file is a test.
    pub(crate) product: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let code = blank(text, &unread(text));
        let product = if is_test(path) {
            blank(&code, std::slice::from_ref(&(0..code.len())))
        } else {
            blank(&code, &test_items(&code))
        };
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            product,
        }
    }

    /// The line of an offset, from one.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files of the workspace.
pub(crate) fn workspace() -> Vec<Source> {
    let mut sources = Vec::new();
    for krate in ["broker", "framework", "workers", "examples"] {
        walk(krate, &mut sources);
    }
    assert!(sources.len() > 10, "the workspace is not where it is looked for");
    set_test_modules_apart(&mut sources);
    sources
}

/// A file whose parent says `#[cfg(test)] mod it;` is a test, whatever its name.
fn set_test_modules_apart(sources: &mut [Source]) {
    let modules: Vec<String> = sources.iter().flat_map(test_modules).collect();
    let is_in = |path: &str, module: &String| {
        path.strip_prefix(module.as_str())
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    for source in sources {
        if modules.iter().any(|module| is_in(&source.path, module)) {
            source.product = blank(&source.code, std::slice::from_ref(&(0..source.code.len())));
        }
    }
}

/// The paths, without `.rs`, of the modules that this file declares for its tests.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let declared = test_items(&source.code).into_iter().filter_map(|item| {
        let item = source.code[item].trim_end_matches(';');
        item.rsplit_once("mod ")
            .map(|(_, name)| name)
            .filter(|name| !name.contains(['{', '(']))
    });
    declared.map(|name| format!("{folder}/{name}")).collect()
}

fn walk(folder: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            if !path.ends_with("/target") {
                walk(&path, sources);
            }
        } else if path.ends_with(".rs") {
            sources.push(Source::new(&path, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn is_test(path: &str) -> bool {
    let in_folder = |folder| path.split('/').any(|part| part == folder);
    in_folder("tests") || in_folder("benches") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// The items under `#[cfg(test)]`, from the attribute to the closing brace or semicolon.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(MARK).map(|at| from + at) {
        from = end_of_item(code, at + MARK.len());
        items.push(at..from);
    }
    items
}

/// Where the item that starts at or after `from` ends: its first semicolon or its closing brace, outside brackets.
pub(crate) fn end_of_item(code: &str, from: usize) -> usize {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b'{' => braces += 1,
            // A `use` with a group goes on to its semicolon.
            b'}' if braces <= 1 => return at + 1 + usize::from(code[at + 1..].starts_with(';')),
            b'}' => braces -= 1,
            b';' if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn blank(text: &str, ranges: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        for byte in &mut bytes[range.clone()] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(bytes).expect("ranges lie between characters")
}

/// Comments, and what stands between the quotes of literals.
fn unread(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (skip, length) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, block_comment(rest))
        } else if let Some((open, length)) = raw_string(text, at) {
            (open, length)
        } else if let Some(body) = rest.strip_prefix('"') {
            (1, quoted(body, '"'))
        } else if let Some(length) = char_literal(rest) {
            (1, length)
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        ranges.push(at + skip..at + skip + length);
        // Past the closing quote, if there was an opening one.
        at += skip + length + usize::from(skip > 0);
    }
    ranges
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let step = if text[at..].starts_with("/*") {
            depth += 1;
            2
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            2
        } else {
            text[at..].chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the opening `r##"` and of what stands in it, if a raw string starts here.
fn raw_string(text: &str, at: usize) -> Option<(usize, usize)> {
    let in_word = text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let hashes = text[at..]
        .strip_prefix("br")
        .or_else(|| text[at..].strip_prefix('r'))
        .filter(|_| !in_word)?;
    let body = hashes.trim_start_matches('#').strip_prefix('"')?;
    let open = text.len() - at - body.len();
    let close = format!("\"{}", "#".repeat(hashes.len() - body.len() - 1));
    Some((open, body.find(&close).unwrap_or(body.len())))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// `'a'` and `'\n'`, not the lifetime `'a`.
fn char_literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let first = body.chars().next()?;
    let is_char = first == '\\' || body[first.len_utf8()..].starts_with('\'');
    is_char.then(|| quoted(body, '\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_code(text: &str, expect: &str) {
        assert_eq!(Source::new("broker/src/x.rs", text).code, expect);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check_code("a // b\nc", "a     \nc");
        check_code("a /* b /* c */ d */ e", "a                   e");
        check_code(
            r#"f("a\"b", 'x', '\'', &'a str)"#,
            r#"f("    ", ' ', '  ', &'a str)"#,
        );
        check_code(
            r####"g(r#"a "b" c"#, br"d")"####,
            r####"g(r#"       "#, br" ")"####,
        );
        check_code("for\"é\"", "for\"  \"");
    }

    #[test]
    fn tests_are_no_product() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nuse x::{y};\nfn c() {}\n";
        let product = Source::new("broker/src/x.rs", text).product;
        let kept: Vec<_> = product.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(kept, ["fn a() {}", "fn c() {}"]);
        for path in [
            "broker/tests/x.rs",
            "broker/src/x/tests.rs",
            "broker/src/x_tests.rs",
        ] {
            assert_eq!(Source::new(path, "fn a() {}").product.trim(), "");
        }
    }

    #[test]
    fn a_module_declared_for_tests_is_no_product() {
        let mut sources = [
            (
                "x/src/store/mod.rs",
                "#[cfg(test)]\nmod conformance;\n#[cfg(test)]\nuse a::b;\nmod rows;\n",
            ),
            ("x/src/store/conformance.rs", "fn a() {}"),
            ("x/src/store/conformance/steps.rs", "fn b() {}"),
            ("x/src/store/rows.rs", "#[cfg(test)]\npub(crate) mod samples;\n"),
            ("x/src/store/rows/samples.rs", "fn c() {}"),
            ("x/src/store/conformance_of_rows.rs", "fn d() {}"),
        ]
        .map(|(path, text)| Source::new(path, text));
        set_test_modules_apart(&mut sources);
        let is_product: Vec<_> = sources
            .iter()
            .map(|source| !source.product.trim().is_empty())
            .collect();
        assert_eq!(is_product, [true, false, false, false, false, true]);
    }

    #[test]
    fn lines_count_from_one() {
        let source = Source::new("x.rs", "a\nb\n");
        assert_eq!([source.line(0), source.line(2)], [1, 2]);
    }
}

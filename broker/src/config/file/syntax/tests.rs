//! The syntax by examples, and that no text makes the parser panic.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<Entry>, Problem> {
    read_text(text, "test.conf", Path::new(""))
}

/// Entries as text: `key=value`, lists in brackets, blocks in braces.
fn show(text: &str) -> String {
    match read(text) {
        Ok(entries) => show_entries(&entries),
        Err(problem) => problem.to_string(),
    }
}

fn show_entries(entries: &[Entry]) -> String {
    let shown = entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, show_value(&entry.item.value)));
    shown.collect::<Vec<_>>().join(" ")
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number}f"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            let shown: Vec<String> = items.iter().map(|item| show_value(&item.value)).collect();
            format!("[{}]", shown.join(" "))
        }
        Value::Block(entries) => format!("{{{}}}", show_entries(entries)),
    }
}

#[test]
fn what_is_understood() {
    let check = |text: &str, expect: &str| assert_eq!(show(text), expect, "{text}");
    check("port: 4222", "port=4222");
    check(
        "port = -1; host localhost, x: yes",
        r#"port=-1 host="localhost" x=true"#,
    );
    check("# all\n// of it\na: 1 # one\nb: 2 // two", "a=1 b=2");
    check("listen: 127.0.0.1:4222", r#"listen="127.0.0.1:4222""#);
    check("url: nats://a.example:4222", r#"url="nats://a.example:4222""#);
    check("a {b: {c: on}}\nd\n{\n e: 1\n}", "a={b={c=true}} d={e=1}");
    check("a: [1, two, \"3\"\n 4]", r#"a=[1 "two" "3" 4]"#);
    check("a: [{b: 1}, {b: 2}]", "a=[{b=1} {b=2}]");
    check(
        "a: 1k, b: 1KB, c: 2MiB, d: 1gi, e: 2s, f: 1.5",
        r#"a=1000 b=1024 c=2097152 d=1073741824 e="2s" f=1.5f"#,
    );
    check(
        r#"a: "x\t\"\\\x41" b: 1"#,
        "test.conf:1:18: a comma or a new line is expected between values",
    );
    check(
        r#"a: "x\t\"\\\x41", 'b c': 'raw \n'"#,
        r#"a="x\t\"\\A" b c="raw \\n""#,
    );
    check("a: (\n one\n two\n)\nb: 1", r#"a="one\n two" b=1"#);
    check(
        r#"{"port": 4222, "tls": {"verify": true}}"#,
        "port=4222 tls={verify=true}",
    );
    check("W: 5\na {b: $W}", "W=5 a={b=5}");
    check("W: 5\na {W: 6, b: $W}", "W=5 a={W=6 b=6}");
    check("p: $2a$11$abc", r#"p="$2a$11$abc""#);
    check("p: $argon2id$v=19$x", r#"p="$argon2id$v=19$x""#);
    check("", "");
    assert!(read("W: 5\na: $W").unwrap()[0].is_variable);
    assert!(show("a: $PATH").starts_with("a=\""));
}

#[test]
fn what_is_not() {
    let check = |text: &str, expect: &str| assert_eq!(show(text), format!("test.conf:{expect}"), "{text}");
    check("a {\n b: 1\n", "3:1: the block is not closed: } is missing");
    check("a: [1", "1:6: the list is not closed: ] is missing");
    check("a: \"x", "1:5: the quotation mark is not closed");
    check("a: \"\\q\"", "1:7: after \\ stands one of n r t x \" \\");
    check("a: \"\\xZZ\"", "1:9: \\x takes two hexadecimal digits");
    check(
        "a: (\n x",
        "1:4: the block of lines is not closed: ) on a line of its own is missing",
    );
    check("a\nb: 1", "1:1: `a` has no value");
    check("a: }", "1:1: `a` has no value");
    check("  }", "1:3: a key is expected here");
    check("{a: 1} b", "1:8: something follows the closing brace");
    check(
        "a: $NOT_SET_ANYWHERE",
        "1:4: $NOT_SET_ANYWHERE is set neither above nor in the environment",
    );
    check("include: 5", "1:10: include needs the name of a file");
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "a{".repeat(depth), "}".repeat(depth));
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    assert!(
        read(&nested(DEPTH_MAX + 1))
            .unwrap_err()
            .to_string()
            .contains("blocks stand in each other")
    );
    let lists = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&lists(DEPTH_MAX)).is_ok());
    assert!(read(&lists(DEPTH_MAX + 1)).is_err());
}

#[test]
fn files_include_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("main.conf"),
        "W: 7\ninclude 'one.conf'\na { include ./one.conf }",
    )
    .unwrap();
    std::fs::write(path("one.conf"), "b: $W").unwrap();
    assert_eq!(
        show_entries(&read_file(&path("main.conf")).unwrap()),
        "W=7 b=7 a={b=7}"
    );
    std::fs::write(path("self.conf"), "include 'self.conf'").unwrap();
    let told = read_file(&path("self.conf")).unwrap_err().to_string();
    assert!(
        told.contains("self.conf:1:9: more than 10 files include each other"),
        "{told}"
    );
    let told = read_file(&path("not-there.conf")).unwrap_err().to_string();
    assert!(told.contains("can not read"), "{told}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z{}\\[\\]()\"'\\\\$#/:=,; \n0-9k.-]{0,80}") {
        let _ = read(&text);
    }

    #[test]
    fn no_unicode_panics(text in "\\PC{0,40}") {
        let _ = read(&text);
    }
}

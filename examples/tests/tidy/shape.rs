//! The shape of files and functions: introduced, short, and no test put aside.

use crate::source::{Source, end_of_item};
use crate::violation::Violation;

/// About 150 is the aim; past this a noun is missing. Tests stand outside the count.
const FILE_LINES: usize = 400;

/// What fits a screen.
const FUNCTION_LINES: usize = 70;

pub(crate) fn each_file_is_introduced(sources: &[Source]) -> Vec<Violation> {
    let is_head = |line: &&str| line.is_empty() || line.starts_with("//") || line.starts_with("#!");
    let is_introduced = |source: &Source| {
        source
            .text
            .lines()
            .map(str::trim)
            .take_while(is_head)
            .any(|line| line.starts_with("//!"))
    };
    let bare = sources
        .iter()
        .filter(|source| !is_fixture(&source.path) && !is_introduced(source));
    bare.map(|source| Violation {
        path: source.path.clone(),
        line: 1,
        broken: "no `//!` above the first item".to_owned(),
        mend: "say in a sentence what the file is about",
    })
    .collect()
}

pub(crate) fn files_are_short(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        let lines = product_lines(source);
        if lines > FILE_LINES {
            violations.push(Violation {
                path: source.path.clone(),
                line: FILE_LINES + 1,
                broken: format!("{lines} lines without the tests, {FILE_LINES} at most"),
                mend: "find the second noun in it and give that a file",
            });
        }
    }
    violations
}

pub(crate) fn functions_fit_a_screen(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        for (at, name) in functions(&source.code) {
            let lines = 1 + source.line(end_of_item(&source.code, at) - 1) - source.line(at);
            if lines > FUNCTION_LINES {
                violations.push(Violation {
                    path: source.path.clone(),
                    line: source.line(at),
                    broken: format!("fn {name} is {lines} lines long, {FUNCTION_LINES} at most"),
                    mend: "give its steps names",
                });
            }
        }
    }
    violations
}

pub(crate) fn no_test_is_ignored(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        violations.extend(source.code.match_indices("#[ignore").map(|(at, _)| Violation {
            path: source.path.clone(),
            line: source.line(at),
            broken: "an ignored test".to_owned(),
            mend: "make it pass, or take it out and say so",
        }));
    }
    violations
}

/// An example that is not compiled goes stale unseen; prose in a fence is `text`.
pub(crate) fn examples_are_compiled(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            let comment = line.trim_start();
            let fence = comment
                .strip_prefix("//!")
                .or_else(|| comment.strip_prefix("///"))
                .and_then(|said| said.trim().strip_prefix("```"));
            if fence.is_some_and(|words| words.split(',').any(|word| word.trim() == "ignore")) {
                violations.push(Violation {
                    path: source.path.clone(),
                    line: index + 1,
                    broken: "an example that nobody compiles".to_owned(),
                    mend: "let it compile, with hidden lines where it needs them",
                });
            }
        }
    }
    violations
}

/// Programs that a test hands to the compiler show a user's code, where the first line is the user's.
fn is_fixture(path: &str) -> bool {
    path.contains("/tests/ui/")
}

/// Lines up to the last one of the product, less those of tests between; comments count, they are to be read too.
fn product_lines(source: &Source) -> usize {
    let tests = source.code.lines().zip(source.product.lines());
    let test_lines = tests.filter(|(code, product)| code != product).count();
    if source.product.trim().is_empty() {
        0
    } else {
        source.text.lines().count() - test_lines
    }
}

/// Each `fn name` and where it starts.
fn functions(code: &str) -> Vec<(usize, &str)> {
    let name_after = |at: usize| {
        let rest = code[at + "fn ".len()..].trim_start();
        let end = rest
            .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    };
    let starts = |at: usize| !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let found = code
        .match_indices("fn ")
        .filter(|(at, _)| starts(*at))
        .map(|(at, _)| (at, name_after(at)));
    found.filter(|(_, name)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines_against;

    #[test]
    fn an_introduction_stands_above_the_first_item() {
        let check = |path, text, expect: &[usize]| {
            assert_eq!(
                lines_against(each_file_is_introduced, path, text),
                expect,
                "{text}"
            );
        };
        check("broker/src/x.rs", "//! About x.\nuse a::b;\n", &[]);
        check(
            "broker/src/x.rs",
            "#![allow(a, reason = \"b\")]\n\n//! About x.\n",
            &[],
        );
        check(
            "broker/src/x.rs",
            "// Something.\nuse a::b;\n//! Too late.\n",
            &[1],
        );
        check("framework/tests/ui/bad.rs", "use a::b;\n", &[]);
    }

    #[test]
    fn a_long_file_is_seen_and_its_tests_are_not() {
        let check = |path, text: &str, expect: &[usize]| {
            assert_eq!(lines_against(files_are_short, path, text), expect);
        };
        let product = "fn a() {}\n".repeat(FILE_LINES);
        check("broker/src/x.rs", &product, &[]);
        check(
            "broker/src/x.rs",
            &format!("{product}fn b() {{}}\n"),
            &[FILE_LINES + 1],
        );
        check(
            "broker/src/x.rs",
            &format!("{product}#[cfg(test)]\nmod tests {{\n    fn b() {{}}\n}}\n"),
            &[],
        );
        check("broker/tests/x.rs", &format!("{product}fn b() {{}}\n"), &[]);
    }

    #[test]
    fn a_long_function_is_seen() {
        let check = |lines: usize, expect: &[usize]| {
            let body = "    f(&'{', \"}\");\n".repeat(lines - 2);
            let text =
                format!("trait T {{\n    fn short(&self) -> [u8; 2];\n}}\nfn long(f: fn(u8)) {{\n{body}}}\n");
            assert_eq!(
                lines_against(functions_fit_a_screen, "broker/src/x.rs", &text),
                expect
            );
        };
        check(FUNCTION_LINES, &[]);
        check(FUNCTION_LINES + 1, &[4]);
    }

    #[test]
    fn an_ignored_test_is_seen() {
        let text = "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n// #[ignore]\n";
        assert_eq!(lines_against(no_test_is_ignored, "broker/tests/x.rs", text), [2]);
    }

    #[test]
    fn an_example_that_is_not_compiled_is_seen() {
        let text = "//! ```ignore\n/// ```rust,ignore\n/// ```no_run\nlet a = \"```ignore\";\n";
        assert_eq!(
            lines_against(examples_are_compiled, "broker/src/x.rs", text),
            [1, 2]
        );
    }
}

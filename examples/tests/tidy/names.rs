//! Names that could stand on anything say nothing: files and types are named after their duty.

use crate::source::Source;
use crate::violation::Violation;

const BANNED: [&str; 11] = [
    "manager", "managers", "helper", "helpers", "util", "utils", "utility", "common", "base", "data", "misc",
];

const MEND: &str = "name the duty instead: Pruner, Relay, Rescuer";

pub(crate) fn say_something(sources: &[Source]) -> Vec<Violation> {
    sources
        .iter()
        .flat_map(|source| banned_parts(source).into_iter().chain(banned_types(source)))
        .collect()
}

/// Folders and the file, below the crate's own folder.
fn banned_parts(source: &Source) -> Option<Violation> {
    let mut parts = source.path.trim_end_matches(".rs").split('/').skip(1);
    parts.find(|part| is_banned(part)).map(|part| Violation {
        path: source.path.clone(),
        line: 1,
        broken: format!("the name `{part}` says nothing"),
        mend: MEND,
    })
}

fn banned_types(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let words: Vec<(usize, &str)> = words(&source.code);
    for pair in words.windows(2) {
        let [(_, keyword), (at, name)] = pair else {
            continue;
        };
        if ["struct", "enum", "trait", "type", "union", "mod"].contains(keyword) && is_banned(name) {
            violations.push(Violation {
                path: source.path.clone(),
                line: source.line(*at),
                broken: format!("the name `{name}` says nothing"),
                mend: MEND,
            });
        }
    }
    violations
}

/// Words divided by white space only, so that `struct` and the name it gives stand together.
fn words(code: &str) -> Vec<(usize, &str)> {
    let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words = Vec::new();
    let mut start = None;
    for (at, letter) in code.char_indices().chain([(code.len(), ' ')]) {
        match (start, in_word(letter)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push((from, &code[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// Is a banned word one of the words of a CamelCase or snake_case name? `Database` and `Metadata` are not `Data`.
fn is_banned(name: &str) -> bool {
    let mut word = String::new();
    for letter in name.chars().chain(['_']) {
        if letter == '_' || letter == '-' || letter.is_uppercase() {
            if BANNED.contains(&word.as_str()) {
                return true;
            }
            word.clear();
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines_against;

    #[test]
    fn banned_words_are_found_as_words() {
        for name in [
            "StreamManager",
            "http_util",
            "Data",
            "DataPoint",
            "common",
            "BaseHandler",
        ] {
            assert!(is_banned(name), "{name}");
        }
        for name in [
            "Database", "Metadata", "Basement", "Commons", "utilise", "Miscount", "Store",
        ] {
            assert!(!is_banned(name), "{name}");
        }
    }

    #[test]
    fn types_files_and_modules_are_looked_at() {
        let check = |path, text, expect: &[usize]| {
            assert_eq!(lines_against(say_something, path, text), expect, "{path}: {text}");
        };
        check(
            "broker/src/router.rs",
            "/// A struct Helper\nstruct Router;\n",
            &[],
        );
        check(
            "broker/src/router.rs",
            "struct Router;\npub(crate) enum RouteHelper { A }\n",
            &[2],
        );
        check("broker/src/router.rs", "mod utils {}\n", &[1]);
        check("broker/src/router.rs", "enum Op { Data }\n", &[]);
        check("broker/src/common/x.rs", "", &[1]);
        check("framework/tests/helpers.rs", "", &[1]);
    }
}

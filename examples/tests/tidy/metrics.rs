//! Each metric is told of: in the table of `docs/metrics.md`, and to the recorder with its unit.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{self, Source};
use crate::violation::Violation;

const TABLE: &str = "docs/metrics.md";
/// The framework's metrics by name, and where they are described to the recorder.
const NAMES: &str = "framework/src/names.rs";

pub(crate) fn table() -> String {
    fs::read_to_string(source::root().join(TABLE)).unwrap()
}

/// The table holds what the code has, and nothing else.
pub(crate) fn stand_in_the_table(sources: &[Source], table: &str) -> Vec<Violation> {
    let told: BTreeSet<&str> = table.lines().filter_map(row).collect();
    let mut there = BTreeSet::new();
    let mut violations = Vec::new();
    for source in sources {
        for (line, name) in named(source) {
            there.insert(name);
            if !told.contains(name) {
                violations.push(Violation {
                    path: source.path.clone(),
                    line,
                    broken: format!("the metric {name} is not in {TABLE}"),
                    mend: "add a row: its kind, labels, unit, and what it tells",
                });
            }
        }
    }
    violations.extend(told.difference(&there).map(|name| Violation {
        path: TABLE.to_owned(),
        line: 1,
        broken: format!("no code has the metric {name}"),
        mend: "take the row out, or write its name as the code does",
    }));
    violations
}

/// Each constant of `names.rs` is described, with a unit.
pub(crate) fn are_described(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|source| source.path == NAMES) {
        let described: String = source.text.split_whitespace().collect();
        for (line, text) in (1..).zip(source.text.lines()) {
            let Some((constant, _)) = text
                .strip_prefix("pub(crate) const ")
                .and_then(|rest| rest.split_once(": &str"))
            else {
                continue;
            };
            let kinds = ["counter", "gauge", "histogram"];
            if !kinds
                .iter()
                .any(|kind| described.contains(&format!("describe_{kind}!({constant},Unit::")))
            {
                violations.push(Violation {
                    path: source.path.clone(),
                    line,
                    broken: format!("{constant} is not described"),
                    mend: "add it to `describe`, with its unit",
                });
            }
        }
    }
    violations
}

/// The name in the first cell.
fn row(line: &str) -> Option<&str> {
    let name = line.strip_prefix("| `")?.split('`').next()?;
    name.starts_with("postroom_").then_some(name)
}

/// The metrics that a file names, and where.
fn named(source: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(source.text.lines()) {
        let is_metric = source.path == NAMES && text.starts_with("pub(crate) const ")
            || ["counter!(\"", "gauge!(\"", "histogram!(\""]
                .iter()
                .any(|call| text.contains(call));
        let name = text.split('"').find(|piece| piece.starts_with("postroom_"));
        if let (true, Some(name)) = (is_metric, name) {
            found.push((line, name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "pub(crate) const A: &str = \"postroom_a\";\ndescribe_counter!(\n    A,\n    Unit::Count, \"\");\n";

    fn against(code: &str, table: &str) -> usize {
        stand_in_the_table(&[Source::new(NAMES, code)], table).len()
    }

    #[test]
    fn a_metric_without_a_row_and_a_row_without_a_metric_are_seen() {
        assert_eq!(against(CODE, "| `postroom_a` | counter |"), 0);
        assert_eq!(against(CODE, ""), 1);
        assert_eq!(against("", "| `postroom_a` | counter |"), 1);
    }

    #[test]
    fn a_metric_that_is_not_described_is_seen() {
        assert_eq!(crate::lines_against(are_described, NAMES, CODE), [0_usize; 0]);
        let undescribed = CODE.replace("describe_counter", "other");
        assert_eq!(crate::lines_against(are_described, NAMES, &undescribed), [1]);
    }
}

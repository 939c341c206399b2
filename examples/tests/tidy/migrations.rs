//! Migrations are written twice, once for each database, under the same names.

use std::collections::BTreeSet;
use std::fs;

use crate::source;
use crate::violation::Violation;

pub(crate) fn names_in(database: &str) -> BTreeSet<String> {
    let folder = source::root().join("migrations").join(database);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names: BTreeSet<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.is_empty(), "{} is empty", folder.display());
    names
}

pub(crate) fn come_in_pairs(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>) -> Vec<Violation> {
    let lone = |name: &String| {
        let (there, missing) = if sqlite.contains(name) {
            ("sqlite", "postgres")
        } else {
            ("postgres", "sqlite")
        };
        Violation {
            path: format!("migrations/{there}/{name}"),
            line: 1,
            broken: format!("it has no twin in migrations/{missing}"),
            mend: "write it for both databases under the same name",
        }
    };
    sqlite.symmetric_difference(postgres).map(lone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_migration_is_seen() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(come_in_pairs(&set(&["0001_a.sql"]), &set(&["0001_a.sql"])), []);
        let lone = come_in_pairs(
            &set(&["0001_a.sql", "0002_b.sql"]),
            &set(&["0001_a.sql", "0003_c.sql"]),
        );
        let paths: Vec<_> = lone.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(
            paths,
            ["migrations/sqlite/0002_b.sql", "migrations/postgres/0003_c.sql"]
        );
    }
}

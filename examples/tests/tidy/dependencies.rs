//! What each crate's manifest may depend on: the arrows between crates point one way.

use std::collections::BTreeMap;
use std::fs;

use crate::source;
use crate::violation::Violation;

/// One `[dependencies]` entry of one crate.
#[derive(Debug)]
pub(crate) struct Dependency {
    manifest: String,
    line: usize,
    krate: String,
    name: String,
    kind: Kind,
    optional: bool,
    from_workspace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
    Build,
}

/// `examples → workers → framework → derive`; the broker stands alone. Tests (dev-dependencies) may start anything.
const MAY_DEPEND_ON: [(&str, &[&str]); 5] = [
    ("postroom-broker", &[]),
    ("postroom-derive", &[]),
    ("postroom", &["postroom-derive"]),
    ("postroom-workers", &["postroom", "postroom-broker"]),
    (
        "postroom-examples",
        &["postroom", "postroom-workers", "postroom-broker"],
    ),
];

/// The framework's `testing` feature starts the broker in-process, and only who asks for it pays for it.
const MAY_OPTIONALLY: [(&str, &str); 1] = [("postroom", "postroom-broker")];

/// A crate below must not be reached from above even by its tests, or the arrow would be there after all.
const NEVER_EVEN_IN_TESTS: [(&str, &str); 2] = [
    ("postroom-broker", "postroom"),
    ("postroom-broker", "postroom-workers"),
];

pub(crate) fn manifests() -> Vec<Dependency> {
    let members = ["broker", "framework", "framework/derive", "workers", "examples"];
    let paths = members.map(|member| format!("{member}/Cargo.toml"));
    paths
        .iter()
        .flat_map(|path| parse(path, &fs::read_to_string(source::root().join(path)).unwrap()))
        .collect()
}

pub(crate) fn crates_depend_one_way(dependencies: &[Dependency]) -> Vec<Violation> {
    let allowed: BTreeMap<_, _> = MAY_DEPEND_ON.into_iter().collect();
    let is_wrong = |found: &&Dependency| {
        let (krate, name) = (found.krate.as_str(), found.name.as_str());
        if !allowed.contains_key(name) {
            return false;
        }
        match found.kind {
            Kind::Dev => NEVER_EVEN_IN_TESTS.contains(&(krate, name)),
            Kind::Normal if found.optional && MAY_OPTIONALLY.contains(&(krate, name)) => false,
            Kind::Normal | Kind::Build => !allowed.get(krate).is_some_and(|names| names.contains(&name)),
        }
    };
    let violation = |found: &Dependency| Violation {
        path: found.manifest.clone(),
        line: found.line,
        broken: format!("{} depends on {}", found.krate, found.name),
        mend: "arrows go examples → workers → framework → derive, and the broker stands alone: move the code down",
    };
    dependencies.iter().filter(is_wrong).map(violation).collect()
}

pub(crate) fn versions_are_named_once(dependencies: &[Dependency]) -> Vec<Violation> {
    let violation = |found: &Dependency| Violation {
        path: found.manifest.clone(),
        line: found.line,
        broken: format!("{} names a version or a path of its own", found.name),
        mend: "name it in [workspace.dependencies] and write `.workspace = true` here",
    };
    dependencies
        .iter()
        .filter(|found| !found.from_workspace)
        .map(violation)
        .collect()
}

fn parse(path: &str, text: &str) -> Vec<Dependency> {
    let manifest: toml::Table = toml::from_str(text).unwrap();
    let krate = manifest["package"]["name"].as_str().unwrap().to_owned();
    let mut tables = Vec::new();
    collect_tables(&manifest, &mut tables);
    for (_, target) in manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
    {
        collect_tables(target.as_table().unwrap(), &mut tables);
    }
    let entries = tables
        .iter()
        .flat_map(|(kind, table)| table.iter().map(|entry| (*kind, entry)));
    let dependency = |(kind, (name, entry)): (Kind, (&String, &toml::Value))| {
        let says = |key: &str| entry.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
        Dependency {
            manifest: path.to_owned(),
            line: line_of(text, name),
            krate: krate.clone(),
            name: entry
                .get("package")
                .and_then(toml::Value::as_str)
                .unwrap_or(name)
                .to_owned(),
            kind,
            optional: says("optional"),
            from_workspace: says("workspace"),
        }
    };
    entries.map(dependency).collect()
}

fn collect_tables<'a>(manifest: &'a toml::Table, tables: &mut Vec<(Kind, &'a toml::Table)>) {
    let kinds = [
        ("dependencies", Kind::Normal),
        ("dev-dependencies", Kind::Dev),
        ("build-dependencies", Kind::Build),
    ];
    for (key, kind) in kinds {
        tables.extend(
            manifest
                .get(key)
                .and_then(toml::Value::as_table)
                .map(|table| (kind, table)),
        );
    }
}

/// The last line that starts with the name: a crate may also name itself, above.
fn line_of(text: &str, name: &str) -> usize {
    let named = |line: &str| {
        line.trim_start()
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    1 + text
        .lines()
        .enumerate()
        .filter(|(_, line)| named(line))
        .last()
        .map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(krate: &str, tail: &str, expect_wrong_way: &[usize], expect_own_version: &[usize]) {
        let parsed = parse("Cargo.toml", &format!("[package]\nname = \"{krate}\"\n{tail}"));
        let lines =
            |violations: Vec<Violation>| violations.into_iter().map(|found| found.line).collect::<Vec<_>>();
        assert_eq!(
            lines(crates_depend_one_way(&parsed)),
            expect_wrong_way,
            "{krate}: {tail}"
        );
        assert_eq!(
            lines(versions_are_named_once(&parsed)),
            expect_own_version,
            "{krate}: {tail}"
        );
    }

    #[test]
    fn the_broker_stands_alone() {
        check(
            "postroom-broker",
            "[dependencies]\nbytes.workspace = true\n",
            &[],
            &[],
        );
        check(
            "postroom-broker",
            "[dependencies]\npostroom.workspace = true\n",
            &[4],
            &[],
        );
        check(
            "postroom-broker",
            "[dev-dependencies]\npostroom.workspace = true\n",
            &[4],
            &[],
        );
    }

    #[test]
    fn the_framework_takes_the_broker_for_tests_only() {
        check(
            "postroom",
            "[dependencies]\npostroom-broker.workspace = true\n",
            &[4],
            &[],
        );
        check(
            "postroom",
            "[dependencies]\npostroom-broker = { workspace = true, optional = true }\n",
            &[],
            &[],
        );
        check(
            "postroom",
            "[dev-dependencies]\npostroom-broker.workspace = true\n",
            &[],
            &[],
        );
        check(
            "postroom",
            "[target.'cfg(unix)'.dependencies]\npostroom-workers.workspace = true\n",
            &[4],
            &[],
        );
    }

    #[test]
    fn a_renamed_dependency_is_known_by_its_crate() {
        check(
            "postroom-derive",
            "[build-dependencies]\nx = { package = \"postroom\", path = \"..\" }\n",
            &[4],
            &[4],
        );
    }

    #[test]
    fn a_version_of_its_own_is_found() {
        check("postroom", "[dependencies]\nbytes = \"1\"\n", &[], &[4]);
    }
}

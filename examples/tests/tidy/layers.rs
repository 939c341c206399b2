//! Who may name whom inside the crates: layers, walls, and the one home of each outside library.

use crate::source::Source;
use crate::violation::Violation;

/// From the top: a module may name those further down, never those further up. `jetstream` delivers through the
/// router; the router and the store know nothing of each other.
const BROKER_LAYERS: [&[&str]; 6] = [
    &["server"],
    &["connection"],
    &["session"],
    &["jetstream"],
    &["router", "store"],
    &["subject"],
];

/// Monitoring is started by whoever puts the broker together, and reads snapshots; nothing may depend on it.
const MAY_START_MONITORING: [&str; 4] = ["lib", "main", "run", "server"];

/// A library whose name may stand in few places, so that it can be exchanged, or its dangers watched, there.
struct Home {
    /// Where the law holds.
    within: &'static str,
    named: &'static str,
    is_home: fn(&str) -> bool,
    mend: &'static str,
}

const HOMES: [Home; 5] = [
    Home {
        within: "framework/src/",
        named: "async_nats",
        is_home: |path| path == "framework/src/bus.rs" || path.starts_with("framework/src/bus/"),
        mend: "only framework/src/bus.rs and its folder speak to the broker: give it a method",
    },
    Home {
        within: "workers/src/",
        named: "async_nats",
        is_home: |_| false,
        mend: "workers reach the broker through the framework",
    },
    Home {
        within: "framework/src/",
        named: "sqlx",
        is_home: |path| path.starts_with("framework/src/store/"),
        mend: "only framework/src/store speaks SQL: give it a function there",
    },
    Home {
        within: "workers/src/",
        named: "sqlx",
        is_home: |path| path.starts_with("workers/src/store/") || path.ends_with("/store.rs"),
        mend: "a worker's SQL stands in its store.rs",
    },
    Home {
        within: "broker/src/",
        named: "sqlx",
        is_home: |_| false,
        mend: "the broker keeps its own files and knows no database",
    },
];

pub(crate) fn wire_is_the_wall(sources: &[Source]) -> Vec<Violation> {
    const WALLS: [(&str, &[&str]); 3] = [
        (
            "broker/src/",
            &["postroom", "postroom_derive", "postroom_workers", "async_nats"],
        ),
        ("framework/src/", &["postroom_broker", "postroom_workers"]),
        ("framework/derive/src/", &["postroom_broker", "postroom_workers"]),
    ];
    let mut violations = Vec::new();
    for source in sources {
        let names = WALLS
            .iter()
            .filter(|(folder, _)| source.path.starts_with(folder))
            .flat_map(|(_, names)| *names);
        // The optional `testing` feature is the one gate.
        let is_gate = source.path.starts_with("framework/src/testing");
        for name in names.filter(|name| !(is_gate && **name == "postroom_broker")) {
            violations.extend(mentions(source, name).into_iter().map(|line| Violation {
                path: source.path.clone(),
                line,
                broken: format!("{name} is named across the wall"),
                mend: "broker and framework know each other by the NATS wire protocol only",
            }));
        }
    }
    violations
}

pub(crate) fn broker_modules_depend_downwards(sources: &[Source]) -> Vec<Violation> {
    let layer = |module: &str| BROKER_LAYERS.iter().position(|layer| layer.contains(&module));
    broker_imports(sources, |from, to| {
        let (from_layer, to_layer) = (layer(from)?, layer(to)?);
        (from != to && to_layer <= from_layer).then_some(
            "layers go server → connection → session → jetstream → store, router → subject: \
             pass a value or a channel down instead",
        )
    })
}

pub(crate) fn nobody_imports_monitoring(sources: &[Source]) -> Vec<Violation> {
    broker_imports(sources, |from, to| {
        (to.starts_with("monitor") && from != to && !MAY_START_MONITORING.contains(&from))
            .then_some("monitoring reads snapshots; offer it one instead")
    })
}

pub(crate) fn libraries_have_one_home(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for home in &HOMES {
        let strangers = sources
            .iter()
            .filter(|source| source.path.starts_with(home.within) && !(home.is_home)(&source.path));
        for source in strangers {
            violations.extend(mentions(source, home.named).into_iter().map(|line| Violation {
                path: source.path.clone(),
                line,
                broken: format!("{} is named away from its home", home.named),
                mend: home.mend,
            }));
        }
    }
    violations
}

/// Asks `verdict` about each import from one of the broker's top modules by another.
fn broker_imports(
    sources: &[Source],
    verdict: impl Fn(&str, &str) -> Option<&'static str>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        let Some(inside) = source.path.strip_prefix("broker/src/") else {
            continue;
        };
        let module: Vec<&str> = inside
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .split('/')
            .collect();
        for (at, to) in imports(&source.product, &module) {
            violations.extend(verdict(module[0], &to).map(|mend| Violation {
                path: source.path.clone(),
                line: source.line(at),
                broken: format!("{} names {to}", module[0]),
                mend,
            }));
        }
    }
    violations
}

/// The crate's top modules that a file at `module` names, by `crate::` or by as many `super::` as reach the root.
fn imports(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(module.len());
    let mut found = Vec::new();
    for prefix in ["crate::", to_root.as_str()] {
        for (at, _) in code
            .match_indices(prefix)
            .filter(|(at, _)| starts_word(code, *at))
        {
            let names = first_names(&code[at + prefix.len()..]);
            found.extend(names.into_iter().map(|name| (at, name)));
        }
    }
    found.sort();
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::{b}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let mut names = Vec::new();
    let (mut depth, mut expecting) = (0_usize, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            _ if letter.is_whitespace() => {}
            _ if expecting && depth == 0 => {
                names.push(word(&group[at..]));
                expecting = false;
            }
            _ => {}
        }
    }
    names
}

/// The lines of the product's code where `name` starts a path.
fn mentions(source: &Source, name: &str) -> Vec<usize> {
    let code = &source.product;
    let is_path = |at: usize| {
        let rest = code[at + name.len()..].trim_start();
        starts_word(code, at) && (rest.starts_with("::") || rest.starts_with(';') || rest.starts_with("as "))
    };
    code.match_indices(name)
        .filter(|(at, _)| is_path(*at))
        .map(|(at, _)| source.line(at))
        .collect()
}

fn starts_word(code: &str, at: usize) -> bool {
    let before = &code[..at];
    !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
        && (!before.ends_with("::") || before.ends_with(" ::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines_against;

    #[test]
    fn the_wall_is_seen() {
        let check =
            |path, text, expect: &[usize]| assert_eq!(lines_against(wire_is_the_wall, path, text), expect);
        check("broker/src/x.rs", "// postroom::App\nuse postroom::App;\n", &[2]);
        check(
            "broker/src/x.rs",
            "use postroom_broker::Server;\nlet postroom = 1;\n",
            &[],
        );
        check(
            "broker/src/x.rs",
            "#[cfg(test)]\nmod tests { use async_nats::Client; }\n",
            &[],
        );
        check("framework/src/app.rs", "fn f() { postroom_broker::run() }", &[1]);
        check(
            "framework/src/testing.rs",
            "fn f() { postroom_broker::run() }",
            &[],
        );
        check("framework/tests/x.rs", "use postroom_broker::Server;", &[]);
    }

    #[test]
    fn an_upward_import_is_seen() {
        let check = |path, text, expect: &[usize]| {
            assert_eq!(
                lines_against(broker_modules_depend_downwards, path, text),
                expect,
                "{path}: {text}"
            );
        };
        check(
            "broker/src/session.rs",
            "use crate::router::Router;\nuse crate::jetstream;\n",
            &[],
        );
        check("broker/src/router.rs", "use crate::session::Session;\n", &[1]);
        check("broker/src/router.rs", "use crate::store::Store;\n", &[1]);
        check(
            "broker/src/store/file/segment.rs",
            "use std::fs;\nuse super::super::super::router::Router;\n",
            &[2],
        );
        check(
            "broker/src/store/file/mod.rs",
            "use super::super::jetstream::Stream;\n",
            &[1],
        );
        check(
            "broker/src/store/mod.rs",
            "use crate::{subject::Subject, jetstream::{self, router}};\n",
            &[1],
        );
        check(
            "broker/src/protocol/parse.rs",
            "use crate::subject::Subject;\n",
            &[],
        );
    }

    #[test]
    fn monitoring_is_imported_by_its_starters_only() {
        let check = |path, expect: &[usize]| {
            assert_eq!(
                lines_against(nobody_imports_monitoring, path, "use crate::monitor::Varz;\n"),
                expect
            );
        };
        check("broker/src/session.rs", &[1]);
        check("broker/src/lib.rs", &[]);
        check("broker/src/monitor/varz.rs", &[]);
    }

    #[test]
    fn a_library_away_from_home_is_seen() {
        let check = |path, text, expect: &[usize]| {
            assert_eq!(
                lines_against(libraries_have_one_home, path, text),
                expect,
                "{path}: {text}"
            );
        };
        check("framework/src/app.rs", "use async_nats::Client;\n", &[1]);
        check("framework/src/bus.rs", "use async_nats::Client;\n", &[]);
        check(
            "framework/src/app.rs",
            "fn f() -> Result<(), sqlx::Error> {}\n",
            &[1],
        );
        check("framework/src/store/outbox.rs", "use sqlx::Row;\n", &[]);
        check("workers/src/ingest/mod.rs", "use sqlx::Row;\n", &[1]);
        check("workers/src/ingest/store.rs", "use sqlx::Row;\n", &[]);
        check("workers/src/doctor.rs", "use async_nats as nats;\n", &[1]);
    }
}

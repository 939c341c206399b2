//! The workspace's laws, as far as a machine can read them. One test a law; it names every place that breaks it.
//!
//! A law is a function from the sources to its violations, so each has tests of its own that show that it can fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its set-up too"
)]

mod dependencies;
mod layers;
mod metrics;
mod migrations;
mod names;
mod shape;
mod source;
mod violation;

use source::Source;
use violation::Violation;

#[test]
fn crates_depend_one_way() {
    hold(&dependencies::crates_depend_one_way(&dependencies::manifests()));
}

#[test]
fn versions_are_named_once() {
    hold(&dependencies::versions_are_named_once(&dependencies::manifests()));
}

#[test]
fn broker_and_framework_meet_on_the_wire_only() {
    hold(&layers::wire_is_the_wall(&source::workspace()));
}

#[test]
fn broker_modules_depend_downwards() {
    hold(&layers::broker_modules_depend_downwards(&source::workspace()));
}

#[test]
fn nobody_imports_monitoring() {
    hold(&layers::nobody_imports_monitoring(&source::workspace()));
}

#[test]
fn outside_libraries_have_one_home() {
    hold(&layers::libraries_have_one_home(&source::workspace()));
}

#[test]
fn names_say_something() {
    hold(&names::say_something(&source::workspace()));
}

#[test]
fn each_file_says_what_it_is_about() {
    hold(&shape::each_file_is_introduced(&source::workspace()));
}

#[test]
fn files_are_about_one_noun() {
    hold(&shape::files_are_short(&source::workspace()));
}

#[test]
fn functions_fit_a_screen() {
    hold(&shape::functions_fit_a_screen(&source::workspace()));
}

#[test]
fn no_test_is_ignored() {
    hold(&shape::no_test_is_ignored(&source::workspace()));
}

#[test]
fn examples_are_compiled() {
    hold(&shape::examples_are_compiled(&source::workspace()));
}

#[test]
fn metrics_are_told_of() {
    let sources = source::workspace();
    hold(&metrics::stand_in_the_table(&sources, &metrics::table()));
    hold(&metrics::are_described(&sources));
}

#[test]
fn migrations_come_in_pairs() {
    hold(&migrations::come_in_pairs(
        &migrations::names_in("sqlite"),
        &migrations::names_in("postgres"),
    ));
}

fn hold(violations: &[Violation]) {
    let list: String = violations
        .iter()
        .map(|violation| format!("\n  {violation}"))
        .collect();
    assert!(violations.is_empty(), "{} to mend:{list}", violations.len());
}

/// The lines that `law` complains about in a workspace of this one file.
#[cfg(test)]
fn lines_against(law: fn(&[Source]) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
    law(&[Source::new(path, text)])
        .into_iter()
        .map(|violation| violation.line)
        .collect()
}

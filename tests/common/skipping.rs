//! Tests that cannot run here, for want of a program: told, counted, and no silent success.
//!
//! The test runner knows no test that finds out by itself that it cannot run. So such a test says so in a line, and leaves a mark,
//! a file with its name, for `.ci/run` to count. Where all must be played (`CI_COMPLETE=1`), it fails.

use std::io::Write;
use std::path::PathBuf;

/// Where the marks are: beside the build, unless `SKIPPED_TESTS` says.
fn marks() -> PathBuf {
    std::env::var_os("SKIPPED_TESTS").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(3).unwrap().join("skipped")
        },
        PathBuf::from,
    )
}

/// Says that a test of one kind does not run, and why.
///
/// # Panics
/// Where nothing may be skipped.
pub fn skip(kind: &str, test: &str, why: &str) {
    assert!(
        std::env::var_os("CI_COMPLETE").is_none_or(|complete| complete != "1"),
        "{test} cannot run, and CI_COMPLETE=1 lets nothing be skipped: {why}"
    );
    // Not by `eprintln!`, whose output is shown only where the test fails; and not into another opening of stderr, whose
    // lines would be overwritten where both streams go into one file.
    let line = format!("skipped: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    let folder = marks().join(kind);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(test.replace("::", "-")), format!("{why}\n")).unwrap();
}

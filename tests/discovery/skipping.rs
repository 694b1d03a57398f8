//! A test that cannot run for want of its program.

use std::fs::{self, File};
use std::process::Command;

use super::directory::INSTALLED_NOWHERE;

/// Plays one test of this binary without its program, with both of its streams in one file. Whether it passed, what it said, and
/// the marks that it left.
fn played(complete: &str) -> (bool, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (said, marks) = (folder.path().join("said"), folder.path().join("skipped"));
    let stream = File::create(&said).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dns::the_addresses_of_a_name_are_servers_on_its_port"])
        .env(INSTALLED_NOWHERE, "1")
        .env("SKIPPED_TESTS", &marks)
        .env("CI_COMPLETE", complete)
        .stdout(stream.try_clone().unwrap())
        .stderr(stream)
        .status()
        .unwrap();
    let marks = fs::read_dir(marks.join("discovery")).into_iter().flatten();
    let marks = marks.map(|mark| mark.unwrap().file_name().into_string().unwrap()).collect();
    (status.success(), fs::read_to_string(said).unwrap(), marks)
}

#[test]
fn a_test_without_its_program_says_so_and_leaves_a_mark() {
    let (passed, said, marks) = played("");
    assert!(passed, "{said}");
    assert!(said.contains("skipped: the_addresses_of_a_name: knotd is not installed"), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    assert_eq!(marks, ["the_addresses_of_a_name"]);
}

#[test]
fn where_all_must_be_played_a_test_without_its_program_fails() {
    let (passed, said, marks) = played("1");
    assert!(!passed && said.contains("CI_COMPLETE=1 lets nothing be skipped"), "{said}");
    assert!(marks.is_empty());
}

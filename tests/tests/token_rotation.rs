//! The keys of the redirect token change while a real standalone server takes calls.

use std::path::Path;
use std::time::Duration;

use umbriel_tests::phone::Phone;
use umbriel_tests::{House, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// The file that the keys are kept in.
fn kept(house: &House) -> String {
    std::fs::read_to_string(house.state().join("token-keys.yaml")).expect("the keys")
}

/// The names of the keys that a server reads, the one that signs first.
fn names(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("token-keys.yaml")).expect("the keys");
    let names = text.lines().filter_map(|line| line.trim_start_matches("- ").trim().strip_prefix("id: "));
    names.map(str::to_owned).collect()
}

#[test]
fn a_month_old_key_is_replaced_while_calls_are_redirected() {
    let mut house = House::builder().start();
    let folders = ["router", "mailbox"].map(|server| house.state().join("config").join(server));
    let [before, theirs] = folders.each_ref().map(|folder| names(folder));
    assert_eq!((before.len(), &before), (1, &theirs));
    assert_eq!(house.stop(), Some(0));
    let text = kept(&house);
    let since = text.lines().find(|line| line.starts_with("since: ")).expect("since when");
    let old = text.replace(since, "since: 2020-01-01T00:00:00Z");
    std::fs::write(house.state().join("token-keys.yaml"), old).expect("the keys are as old as that");
    house.up();
    let mut calls = 0;
    wait_until("the new key signs, and the one before verifies", LIMIT, || {
        calls += 1;
        Phone::call(&house, "101", calls).hang_up();
        kept(&house).starts_with("phase: Retiring").then_some(())
    });
    let [router, mailbox] = folders.each_ref().map(|folder| names(folder));
    assert_eq!((router.len(), &router[1], &router), (2, &before[0], &mailbox));
    Phone::call(&house, "101", calls + 1).hang_up();
}

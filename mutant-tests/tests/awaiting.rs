//! The test of tasks that are overtaken finds what it is for.

#![cfg(target_os = "linux")]

#[path = "../../tests/support/overtaken.rs"]
mod overtaken;
mod support;

use std::time::Duration;
use stillpoint::mutant::Mutant;
use stillpoint::rcu::Domain;
use support::outcome;

fn sleeps_on(_: Duration, patience: Duration) -> u64 {
    let domain = Box::leak(Box::new(Domain::new()));
    // Other work on the machine may keep anybody from being overtaken.
    u64::from((0..5).any(|_| !overtaken::is_woken(domain, patience)))
}

#[test]
fn wake_at_the_end() {
    assert_eq!(outcome("wake_at_the_end", Mutant::WakeAtTheEnd, sleeps_on).code(), Some(3));
}

#[test]
fn none() {
    assert_eq!(outcome("none", Mutant::None, sleeps_on).code(), Some(0));
}

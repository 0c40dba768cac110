//! `fork`, whatever the parent's threads are doing: the child goes on with every domain, and
//! no callback runs twice, or is lost, in either.
//!
//! Each scenario is a process of its own; its children are under an alarm, so that one that hangs
//! fails.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/child.rs"]
mod child;
#[path = "support/play.rs"]
mod play;
#[path = "support/reader.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod reader;
#[path = "support/seccomp.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod seccomp;
#[path = "support/surrounding.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod surrounding;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

#[path = "fork/family.rs"]
mod family;
#[path = "fork/scenarios.rs"]
mod scenarios;

use child::{End, run};
use play::in_each;
use surrounding::Surrounding;

#[test]
#[ignore = "what the children run"]
fn scenario() {
    play::play(&scenarios::SCENARIOS);
}

#[test]
fn three_generations_go_on_under_load() {
    in_each("generations under load");
}

#[test]
fn guards_of_the_thread_that_forks_protect_the_parent_alone() {
    in_each("guards across the fork");
}

#[test]
fn a_thread_that_has_never_read_may_fork() {
    in_each("a stranger forks");
}

#[test]
fn waiters_of_the_parent_do_not_stop_the_child() {
    in_each("fork while others wait");
}

#[test]
fn a_reclaimer_of_the_parent_that_begins_does_not_stop_the_childs() {
    in_each("fork while the reclaimer begins");
}

#[test]
fn callbacks_that_run_meanwhile_do_not_run_in_the_child() {
    in_each("fork while the reclaimer works");
}

#[test]
fn a_callback_may_fork() {
    in_each("fork in a callback");
}

#[test]
fn a_callback_of_the_reclaimer_may_fork() {
    in_each("fork in the reclaimer");
}

#[test]
fn a_fork_in_a_callback_leaves_the_counts_right() {
    in_each("counts after a fork in a callback");
}

#[test]
fn futures_from_before_the_fork_harm_no_later_ones() {
    in_each("futures across the fork");
}

#[test]
fn programs_are_started_under_load() {
    in_each("fork and exec under load");
}

/// These tests notice what they are there to notice.
#[test]
fn bad_ends_are_noticed() {
    for (scenario, message) in [
        ("a child that hangs", "signal: 14"),
        ("a child that fails", "exit status: 101"),
        ("a callback that runs twice", "ran twice"),
        ("a callback that is lost", "lost"),
    ] {
        let outcome = run(scenario, &Surrounding::ordinary()).unwrap();
        assert_eq!(outcome.end, End::Exited(101), "{scenario}: {}", outcome.output);
        assert!(outcome.output.contains(message), "{scenario}: {}", outcome.output);
    }
}

//! What counters, histograms and values per CPU must do, and the numbers they go by.
//!
//! On the tier that the process has; `STILLPOINT_TIER` chooses a lower one. What belongs to a
//! process, its memory, its forks, its filters, is asked of children.

#![cfg(target_os = "linux")]

#[path = "support/child.rs"]
mod child;
#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/play.rs"]
mod play;
#[path = "support/seccomp.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod seccomp;
#[path = "support/surrounding.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod surrounding;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

#[path = "percpu/counter.rs"]
mod counter;
#[path = "percpu/exact.rs"]
mod exact;
#[path = "percpu/histogram.rs"]
mod histogram;
#[path = "percpu/ids.rs"]
mod ids;
#[path = "percpu/scenarios.rs"]
mod scenarios;
#[path = "percpu/values.rs"]
mod values;

use play::in_each;
use seccomp::Rule;
use stillpoint::Tier;
use surrounding::Surrounding;

#[test]
#[ignore = "what the children run"]
fn scenario() {
    play::play(&scenarios::SCENARIOS);
}

#[test]
fn everything_works_in_each_surrounding() {
    in_each("workload");
}

/// Where the kernel refuses, everything goes on, on a lower tier.
#[test]
fn everything_works_where_the_kernel_refuses() {
    for (rules, highest) in [
        (&[Rule::rseq(libc::ENOSYS)][..], Tier::Membarrier),
        (&[Rule::membarrier(libc::EPERM)], Tier::Fence),
        (&[Rule::rseq(libc::EPERM), Rule::membarrier(libc::ENOSYS)], Tier::Fence),
    ] {
        for libc_registers in [true, false] {
            let mut denied = Surrounding::ordinary();
            for rule in rules {
                denied = denied.rule(*rule);
            }
            let denied = if libc_registers { denied } else { denied.without_libc() };
            let Some(outcome) = child::run("workload", &denied) else { continue };
            outcome.assert_well(&format!("{denied:?}"));
            assert!(outcome.field("tier").parse::<Tier>().unwrap() <= highest);
        }
    }
}

#[test]
fn unregistered_threads_count_and_know_where_they_are() {
    in_each("unregistered");
}

#[test]
fn a_filter_that_comes_late_stops_exact_sums_alone() {
    let outcome = child::run("nothing", &Surrounding::ordinary().rule(Rule::rseq(libc::ENOSYS)));
    if outcome.is_some() {
        in_each("late refusal");
    }
}

#[test]
fn the_first_use_may_be_a_handler_s() {
    in_each("first use in handlers");
}

#[test]
fn the_child_of_a_fork_counts_on() {
    in_each("fork");
}

#[test]
fn a_fork_may_come_in_the_middle_of_exact_sums() {
    in_each("fork in exact sums");
}

#[test]
fn a_fork_may_come_while_counters_come_and_go() {
    in_each("fork while counters come and go");
}

#[test]
fn a_fork_may_come_while_rings_are_written() {
    in_each("fork while rings are written");
}

#[test]
fn memory_does_not_grow_with_threads() {
    in_each("threads");
}

#[test]
fn memory_of_counters_is_used_again() {
    in_each("many counters");
}

#[test]
fn an_exact_sum_sends_one_broadcast() {
    in_each("broadcasts");
}

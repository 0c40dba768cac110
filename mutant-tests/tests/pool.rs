//! The stress test of pools finds what it is for: see `stack.rs`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/pool_stress.rs"]
mod stress;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;
use stillpoint::mutant::Mutant;
use support::{caught_on_rseq, outcome, watch};

fn stressed(time: Duration, patience: Duration) -> u64 {
    watch(patience, || stress::OPERATIONS.load(Ordering::Relaxed));
    let report = stress::run(time);
    println!("{report:?}");
    assert_ne!(report.operations, 0);
    report.violations
}

#[test]
fn no_broadcast() {
    caught_on_rseq("no_broadcast", Mutant::NoBroadcast, stressed);
}

#[test]
fn no_stop() {
    caught_on_rseq("no_stop", Mutant::NoStop, stressed);
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None, stressed).success());
}

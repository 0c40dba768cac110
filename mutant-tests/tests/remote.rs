//! The stress test of work on other CPUs finds what it is for: see `stack.rs`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/remote_stress.rs"]
mod stress;
mod support;

use std::time::Duration;
use stillpoint::mutant::Mutant;
use stress::crowd::OPERATIONS;
use support::{caught_on_rseq, outcome, watched};

fn stressed(time: Duration, patience: Duration) -> u64 {
    watched(patience, &OPERATIONS, || stress::run(time).violations)
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

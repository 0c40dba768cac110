//! A signal at every instruction finds what it is for.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/injector.rs"]
mod injector;
#[path = "../../tests/support/interrupt_stress.rs"]
mod stress;
mod support;
#[allow(dead_code, reason = "abort_points.rs uses the rest")]
#[path = "../../tests/support/tracer.rs"]
mod tracer;

use std::time::Duration;
use stillpoint::mutant::{Mutant, choose};
use support::outcome;

/// Until a call that blocks is a failure: of a library that is sound, and of a mutant.
const PATIENCE: Duration = Duration::from_secs(10);
const MUTANT: Duration = Duration::from_secs(1);

/// One test, since a mutant is chosen for the whole process.
#[test]
fn signals_find_each_mutant() {
    for sequence in &injector::SEQUENCES {
        for (mutant, must_fail) in [
            (Mutant::None, false),
            (Mutant::LateCommit, true),
            (Mutant::FlagOutsideSection, sequence.name == "unless"),
        ] {
            choose(mutant);
            let patience = if must_fail { MUTANT } else { PATIENCE };
            let Some(outcome) = injector::inject(sequence, false, patience) else { return };
            println!("{} {mutant:?}: {:#?}", sequence.name, outcome.failures);
            assert_eq!(!outcome.failures.is_empty(), must_fail, "{} {mutant:?}", sequence.name);
        }
    }
}

/// What the stress finds: stops that are lost, or calls behind them.
fn violations(time: Duration, patience: Duration) -> u64 {
    let rounds = if time > Duration::from_secs(5) { 1_000_000 } else { 20_000 };
    let report = stress::run(rounds, patience, 1);
    println!("{report}");
    report.violations()
}

#[test]
fn the_stress_finds_a_flag_outside_of_the_section() {
    if stillpoint::machine().tier() != stillpoint::Tier::Rseq {
        return println!("SKIPPED FlagOutsideSection: no sections");
    }
    let name = "the_stress_finds_a_flag_outside_of_the_section";
    let status = outcome(name, Mutant::FlagOutsideSection, violations);
    assert_eq!(status.code(), Some(3), "{status}");
}

#[test]
fn the_stress_finds_nothing_in_a_library_that_is_sound() {
    let name = "the_stress_finds_nothing_in_a_library_that_is_sound";
    let status = outcome(name, Mutant::None, violations);
    assert!(status.success(), "{status}");
}

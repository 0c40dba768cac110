//! A signal at every instruction finds what it is for.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/injector.rs"]
mod injector;
#[allow(dead_code, reason = "abort_points.rs uses the rest")]
#[path = "../../tests/support/tracer.rs"]
mod tracer;

use stillpoint::mutant::{Mutant, choose};

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
            let Some(outcome) = injector::inject(sequence, false) else { return };
            println!("{} {mutant:?}: {:#?}", sequence.name, outcome.failures);
            assert_eq!(!outcome.failures.is_empty(), must_fail, "{} {mutant:?}", sequence.name);
        }
    }
}

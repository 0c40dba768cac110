//! The stress test of counters finds what it is for.
//!
//! Each mutant runs in a process of its own: counters and signal handler are the process's.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/percpu_stress.rs"]
mod stress;
mod support;

use std::time::Duration;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use support::outcome;

fn stressed(time: Duration, _: Duration) -> u64 {
    let report = stress::run(time);
    println!("{report}");
    assert!(report.sums > 0 && report.signals > 0);
    report.violations
}

macro_rules! caught {
    ($($(#[$attr:meta])* $name:ident: $mutant:ident, $lowest:ident;)*) => {
        $(
            $(#[$attr])*
            #[test]
            fn $name() {
                if Tier::$lowest > stillpoint::machine().tier() {
                    println!("SKIPPED {}: no tier {}", stringify!($name), Tier::$lowest);
                    return;
                }
                assert_eq!(outcome(stringify!($name), Mutant::$mutant, stressed).code(), Some(3));
            }
        )*
    };
}

caught! {
    #[ignore = "two must add to one part in the same moment: needs two real CPUs"]
    no_abort: NoAbort, Rseq;
    #[ignore = "two must add to one part in the same moment: needs two real CPUs"]
    part_outside_section: PartOutsideSection, Rseq;
    rest_first: RestFirst, Fence;
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None, stressed).success());
}

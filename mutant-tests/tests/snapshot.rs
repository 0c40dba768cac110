//! The stress test of leaf reads and handles finds what it is for.
//!
//! Each mutant runs in a process of its own. What needs a kernel that loses aborts, or weak
//! memory, is
//! the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/snapshot_stress.rs"]
mod stress;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use support::{outcome, watch};

fn stressed(time: Duration, patience: Duration) -> u64 {
    watch(patience, || stress::READS.load(Ordering::Relaxed));
    let report = stress::run(stillpoint::machine().tier(), time);
    println!("{report}");
    assert_ne!(report.reads, 0);
    report.violations + report.left
}

macro_rules! caught {
    ($($(#[$attr:meta])* $name:ident: $mutant:ident, $tiers:expr;)*) => {
        $(
            $(#[$attr])*
            #[test]
            fn $name() {
                let tier = stillpoint::machine().tier();
                if !$tiers.contains(&tier) {
                    return println!("SKIPPED {}: on tier {tier}", stringify!($name));
                }
                let outcome = outcome(stringify!($name), Mutant::$mutant, stressed);
                assert!(!outcome.success(), "not caught");
            }
        )*
    };
}

caught! {
    #[ignore = "takes two CPUs: run with --ignored"]
    no_broadcast: NoBroadcast, [Tier::Rseq];
    copy_outside_section: CopyOutsideSection, [Tier::Rseq];
    retain_outside_section: RetainOutsideSection, [Tier::Rseq];
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None, stressed).success());
}

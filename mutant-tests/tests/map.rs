//! The stress test of the hash map finds what it is for.
//!
//! Each mutant runs in a process of its own: it reads what was freed, or hangs. What only shows
//! under weak memory, or in a window of a few instructions, is the models' to find.

#![cfg(target_os = "linux")]

#[path = "../../tests/support/histories.rs"]
mod histories;
#[path = "../../tests/support/map_histories.rs"]
mod recorded;
#[path = "../../tests/support/map_stress.rs"]
mod stress;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;
use stillpoint::mutant::Mutant;
use support::{outcome, watch};

fn stressed(time: Duration, patience: Duration) -> u64 {
    watch(patience, || stress::OPERATIONS.load(Ordering::Relaxed));
    let report = stress::run(stillpoint::machine().tier(), time);
    println!("{report}");
    report.violations
}

fn judged(time: Duration, _: Duration) -> u64 {
    let domain = Box::leak(Box::new(stillpoint::rcu::Domain::new()));
    let report = recorded::run(domain, time);
    println!("{} histories, {} overlaps", report.histories, report.overlaps);
    report.wrong.map_or(0, |_| 1)
}

macro_rules! caught {
    ($($name:ident: $mutant:ident, $how:ident;)*) => {
        $(
            #[test]
            fn $name() {
                assert!(!outcome(stringify!($name), Mutant::$mutant, $how).success(), "not caught");
            }
        )*
    };
}

caught! {
    moved_stays: MovedStays, stressed;
    no_moved_look: NoMovedLook, stressed;
    lost_in_histories: NoMovedLook, judged;
    table_at_once: TableAtOnce, stressed;
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None, stressed).success());
}

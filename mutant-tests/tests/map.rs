//! The stress test of the hash map finds what it is for.
//!
//! Each mutant runs in a process of its own: it reads what was freed, or hangs. What only shows under
//! weak memory, or in a window of a few
//! instructions, is the models' to find.

#![cfg(target_os = "linux")]

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

macro_rules! caught {
    ($($name:ident: $mutant:ident;)*) => {
        $(
            #[test]
            fn $name() {
                assert!(!outcome(stringify!($name), Mutant::$mutant, stressed).success(), "not caught");
            }
        )*
    };
}

caught! {
    moved_stays: MovedStays;
    unlock_early: UnlockEarly;
    no_moved_look: NoMovedLook;
    moved_under_lock: MovedUnderLock;
    table_at_once: TableAtOnce;
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None, stressed).success());
}

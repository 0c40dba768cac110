//! The stress test of locks of one holder finds what it is for.
//!
//! What only shows under weak memory, or in a window of nanoseconds, is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/mutex_stress.rs"]
mod stress;
mod support;

use std::time::{Duration, Instant};
use stillpoint::lock::{RawMutex, RawSpinLock};
use stillpoint::mutant::Mutant;
use stress::Raw;
use support::outcome;

/// In short rounds: who sleeps for ever may be woken in vain as long as others go on.
fn rounds<R: Raw>(time: Duration, patience: Duration) -> u64 {
    const ROUND: Duration = Duration::from_millis(300);
    let begin = Instant::now();
    let mut violations = 0;
    while begin.elapsed() < time && violations == 0 {
        let report = stress::run::<R>(ROUND, patience);
        println!("{report:?}");
        violations += report.violations;
    }
    violations
}

fn mutex(time: Duration, patience: Duration) -> u64 {
    rounds::<RawMutex>(time, patience)
}

fn spin_lock(time: Duration, patience: Duration) -> u64 {
    rounds::<RawSpinLock>(time, patience)
}

macro_rules! caught {
    ($($name:ident: $mutant:ident, $how:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let status = outcome(stringify!($name), Mutant::$mutant, $how);
                assert!(!status.success(), "not caught");
            }
        )*
    };
}

caught! {
    wake_before_release: WakeBeforeRelease, mutex;
    lost_parked: LostParked, mutex;
    heir_forgotten: HeirForgotten, mutex;
    lost_parked_of_spinners: LostParked, spin_lock;
}

/// Nothing is found where nothing is broken.
#[test]
fn none_of_a_mutex() {
    assert!(outcome("none_of_a_mutex", Mutant::None, mutex).success());
}

#[test]
fn none_of_a_spin_lock() {
    assert!(outcome("none_of_a_spin_lock", Mutant::None, spin_lock).success());
}

//! The stress test of cohort locks finds what it is for: waiters that nobody wakes, and locks that
//! nobody has.
//!
//! What only shows under weak memory is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/cohort_stress.rs"]
mod stress;
mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use stillpoint::mutant::Mutant;
use support::{outcome, watch};

/// Who hangs has found something, too.
fn storm(time: Duration, patience: Duration) -> u64 {
    const ROUND: Duration = Duration::from_millis(500);
    watch(patience, || stress::DONE.load(Ordering::Relaxed));
    let begin = Instant::now();
    let mut violations = 0;
    while begin.elapsed() < time && violations == 0 {
        violations += stress::storm(4, ROUND) + stress::storm(16, ROUND);
    }
    violations
}

macro_rules! caught {
    ($($name:ident: $mutant:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let status = outcome(stringify!($name), Mutant::$mutant, storm);
                assert!(!status.success(), "not caught");
            }
        )*
    };
}

caught! {
    leave_without_desk: LeaveWithoutDesk;
    grant_lost: GrantLost;
    wake_before_grant: WakeBeforeGrant;
    nobody_competes: NobodyCompetes;
}

#[test]
fn nothing_is_found_where_nothing_is_broken() {
    assert!(outcome("nothing_is_found_where_nothing_is_broken", Mutant::None, storm).success());
}

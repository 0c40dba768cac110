//! The stress tests of rings find what they are for.
//!
//! What only shows under weak memory is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/ring_stress.rs"]
mod stress;
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::Policy;
use support::{outcome, watch};

/// One of many rings.
const TIME: Duration = Duration::from_millis(500);

/// Ring after ring, until one has a violation.
fn conserve(policy: Policy, time: Duration, patience: Duration) -> u64 {
    static RINGS: AtomicU64 = AtomicU64::new(0);
    watch(patience, || RINGS.load(Ordering::Relaxed));
    let begin = Instant::now();
    while begin.elapsed() < time {
        let report = stress::conserve(policy, TIME);
        println!("{report:?}");
        assert_ne!(report.read, 0);
        if report.violations > 0 {
            return report.violations;
        }
        RINGS.fetch_add(1, Ordering::Relaxed);
    }
    0
}

fn drop_newest(time: Duration, patience: Duration) -> u64 {
    conserve(Policy::DropNewest, time, patience)
}

fn overwrite_oldest(time: Duration, patience: Duration) -> u64 {
    conserve(Policy::OverwriteOldest, time, patience)
}

fn wake_up(time: Duration, patience: Duration) -> u64 {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let violations = stress::wake_up(200, patience);
        if violations > 0 {
            return violations;
        }
    }
    0
}

macro_rules! caught {
    ($($name:ident: $mutant:ident, $lowest:ident, $how:ident;)*) => {
        $(
            #[test]
            fn $name() {
                if Tier::$lowest > stillpoint::machine().tier() {
                    println!("SKIPPED {}: no tier {}", stringify!($name), Tier::$lowest);
                    return;
                }
                assert!(!outcome(stringify!($name), Mutant::$mutant, $how).success(), "not caught");
            }
        )*
    };
}

caught! {
    commit_first: RingCommitFirst, Rseq, drop_newest;
    early_tail: RingEarlyTail, Fence, drop_newest;
    uncounted: RingUncounted, Fence, drop_newest;
    uncounted_overwriting: RingUncounted, Fence, overwrite_oldest;
    no_abort: NoAbort, Rseq, drop_newest;
    no_wake: RingNoWake, Fence, wake_up;
}

/// Nothing is found where nothing is broken.
#[test]
fn none_is_lost() {
    assert!(outcome("none_is_lost", Mutant::None, drop_newest).success());
}

#[test]
fn none_is_lost_overwriting() {
    assert!(outcome("none_is_lost_overwriting", Mutant::None, overwrite_oldest).success());
}

#[test]
fn none_sleeps_for_ever() {
    assert!(outcome("none_sleeps_for_ever", Mutant::None, wake_up).success());
}

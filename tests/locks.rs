//! What every lock of one holder must do: one suite for all of them.
//!
//! On the tier that the process has; `STILLPOINT_TIER` chooses a lower one.

#![cfg(target_os = "linux")]

#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/ptrace.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod ptrace;
#[path = "support/mutex_stress.rs"]
mod stress;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

#[path = "locks/alone.rs"]
mod alone;
#[path = "locks/stopped.rs"]
mod stopped;
#[path = "locks/together.rs"]
mod together;
#[path = "locks/waiting.rs"]
mod waiting;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use stillpoint::lock::{ByNode, Cohorts, RawCohortMutex, RawMutex, RawSpinLock};
pub(crate) use stress::Raw;

/// A lock of any kind, around something.
pub(crate) type Lock<R, T> = stillpoint::lock::lock_api::Mutex<R, T>;

/// Three cohorts, of which each thread has one: several also where there is one memory node.
pub(crate) struct ByThread;

impl Cohorts for ByThread {
    fn cohort() -> u32 {
        static THREADS: AtomicU32 = AtomicU32::new(0);
        std::thread_local!(static THREAD: u32 = THREADS.fetch_add(1, Relaxed));
        THREAD.with(|number| number % 3)
    }
}

macro_rules! suite {
    ($($name:ident: $raw:ty;)*) => {
        $(
            mod $name {
                use super::*;
                suite!(@tests $raw;
                    alone: lock_and_unlock, try_lock, timeouts, timeouts_of_any_length, panics,
                        forgotten_guards, moved_while_held, values, after_many_quiet_unlocks;
                    together: nobody_meets, a_thousand_threads, nested_locks, many_locks,
                        everything_at_once;
                    waiting: a_waiter_is_woken, all_waiters_are_woken, waiters_give_up,
                        fair_unlock_hands_over, bump_lets_others_in, nobody_starves,
                        waiters_of_a_sleeping_holder_sleep, ping_pong_of_real_time_threads,
                        a_preempted_holder_is_not_outspun;
                    stopped: waiters_of_a_stopped_holder_sleep;
                );
            }
        )*
    };
    (@tests $raw:ty; $($module:ident: $($test:ident),*;)*) => {
        $($(
            #[test]
            fn $test() {
                tiers::in_time(super::$module::$test::<$raw>);
            }
        )*)*
    };
}

suite! {
    mutex: RawMutex;
    spin_lock: RawSpinLock;
    cohort_mutex: RawCohortMutex<ByNode>;
    own_cohort_mutex: RawCohortMutex<ByThread>;
}

#[test]
fn sizes() {
    assert_eq!([size_of::<stillpoint::Mutex<()>>(), size_of::<stillpoint::SpinLock<()>>()], [8, 8]);
    assert_eq!(align_of::<stillpoint::Mutex<()>>(), 4);
}

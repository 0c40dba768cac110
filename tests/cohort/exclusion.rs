//! One at a time.

use crate::stress::{self, Chosen, Mutex, Pair, choose};
use crate::tiers::in_time;
use std::cell::Cell;
use std::thread::{Builder, scope};
use std::time::Duration;
use stillpoint::CohortMutex;
use stillpoint::lock::{ByLastLevelCache, ByNode, Cohorts};

/// So many threads change a pair so often.
fn fight<C: Cohorts>(threads: u32, times: u32) {
    let lock: CohortMutex<Pair, C> = CohortMutex::new(Pair::default());
    in_time(|| {
        scope(|s| {
            for number in 0..threads {
                let lock = &lock;
                let run = move || {
                    choose(number % 3);
                    (0..times).for_each(|_| assert!(lock.lock().change()));
                };
                Builder::new().stack_size(128 << 10).spawn_scoped(s, run).unwrap();
            }
        });
    });
    let Pair { one, other } = lock.into_inner();
    assert_eq!((one, other), (u64::from(threads * times), one));
}

#[test]
fn by_node() {
    fight::<ByNode>(8, 20_000);
}

#[test]
fn by_last_level_cache() {
    fight::<ByLastLevelCache>(8, 20_000);
}

#[test]
fn by_choice() {
    fight::<Chosen>(8, 20_000);
}

#[test]
fn a_thousand_threads() {
    fight::<Chosen>(1000, 100);
}

/// Never the same answer twice.
struct Liar;

impl Cohorts for Liar {
    fn cohort() -> u32 {
        std::thread_local!(static LAST: Cell<u32> = const { Cell::new(1) });
        LAST.set(LAST.get().wrapping_mul(0x9E37_79B9) ^ std::process::id());
        LAST.get()
    }
}

#[test]
fn by_an_answer_that_is_never_the_same() {
    fight::<Liar>(16, 5_000);
}

/// A cohort whose turn is over at once, and one whose turn never is.
struct NoPass;
struct NoEnd;

impl Cohorts for NoPass {
    const PASSES: u32 = 0;
    const NANOS: u64 = 0;

    fn cohort() -> u32 {
        Chosen::cohort()
    }
}

impl Cohorts for NoEnd {
    const PASSES: u32 = u32::MAX;
    const NANOS: u64 = u64::MAX;

    fn cohort() -> u32 {
        Chosen::cohort()
    }
}

#[test]
fn with_extreme_bounds() {
    fight::<NoPass>(8, 5_000);
    fight::<NoEnd>(8, 5_000);
}

/// With a lock that asks for its cohort by another lock.
struct Nested;

static ASKED: Mutex<u32> = Mutex::new(0);

impl Cohorts for Nested {
    fn cohort() -> u32 {
        let mut asked = ASKED.lock();
        *asked += 1;
        *asked % 2
    }
}

#[test]
fn with_a_lock_in_the_function() {
    fight::<Nested>(8, 5_000);
}

#[test]
fn in_a_storm_of_timeouts() {
    in_time(|| {
        assert_eq!(stress::storm(8, Duration::from_millis(700)), 0);
        assert_eq!(stress::storm(64, Duration::from_millis(700)), 0);
    });
}

#[test]
fn it_is_what_it_claims_to_be() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<CohortMutex<Cell<u8>>>();
    static LOCK: CohortMutex<u8> = CohortMutex::new(1);
    assert_eq!(*LOCK.lock(), 1);
    assert_eq!(size_of::<CohortMutex<()>>(), 128);
    assert_eq!(format!("{LOCK:?}"), "Mutex { data: 1 }");
}

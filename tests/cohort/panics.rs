//! Panics and forgotten guards leave a lock that works.

use crate::stress::Mutex;
use crate::tiers::in_time;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::scope;
use std::time::Duration;
use stillpoint::CohortMutex;
use stillpoint::lock::Cohorts;

struct Panics;

impl Cohorts for Panics {
    fn cohort() -> u32 {
        panic!("no cohort")
    }
}

#[test]
fn a_function_that_panics_has_done_nothing() {
    let lock: CohortMutex<u32, Panics> = CohortMutex::new(0);
    in_time(|| {
        let guard = lock.lock();
        scope(|s| {
            for _ in 0..3 {
                let waiter = s.spawn(|| {
                    catch_unwind(AssertUnwindSafe(|| drop(lock.lock()))).unwrap_err();
                    let soon = || drop(lock.try_lock_for(Duration::from_secs(100)));
                    catch_unwind(AssertUnwindSafe(soon)).unwrap_err();
                    assert!(lock.try_lock().is_none(), "nobody is asked for what does not queue");
                });
                waiter.join().unwrap();
            }
        });
        drop(guard);
        *lock.lock() += 1;
        assert!(!lock.is_locked());
    });
    assert_eq!(lock.into_inner(), 1);
}

#[test]
fn a_holder_that_panics_gives_it_up() {
    let lock = Mutex::new(0);
    in_time(|| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("amid");
        }));
        result.unwrap_err();
        *lock.lock() += 1;
    });
}

#[test]
fn a_forgotten_guard_holds_it_for_ever_and_no_longer() {
    let lock = Mutex::new(5);
    std::mem::forget(lock.lock());
    assert!(lock.is_locked() && lock.try_lock().is_none());
    assert!(lock.try_lock_for(Duration::from_millis(1)).is_none());
    let moved = Box::new(lock);
    assert!(moved.try_lock().is_none());
    assert_eq!(moved.into_inner(), 5);
}

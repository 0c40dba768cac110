//! Handovers are counted, and stay within the cohort.

use crate::stress::{Mutex, choose};
use crate::tiers::in_time;
use std::sync::mpsc::channel;
use std::thread::{Scope, scope, sleep};
use std::time::Duration;
use stillpoint::CohortMutex;
use stillpoint::lock::{CountHandovers, lock_api::MutexGuard};

/// Long enough for a thread to get stuck where it should.
const MOMENT: Duration = Duration::from_millis(20);

/// A new thread locks, and does this. Returns when it sleeps, which it does in the queue, if the
/// lock is taken.
fn queue<'s>(s: &'s Scope<'s, '_>, run: impl FnOnce() + Send + 's) {
    let (tell, told) = channel();
    s.spawn(move || {
        // SAFETY: no arguments.
        tell.send(unsafe { libc::gettid() }).unwrap();
        run();
    });
    let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap());
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        sleep(Duration::from_millis(1));
    }
}

/// Fair handovers go to whoever has waited longest, and are counted by where they go.
#[test]
fn each_handover_counts_once() {
    let lock = Mutex::new(Vec::new());
    in_time(|| {
        let guard = lock.lock();
        scope(|s| {
            for cohort in [0, 0, 7, 7, 8] {
                let lock = &lock;
                queue(s, move || {
                    choose(cohort);
                    let mut guard = lock.lock();
                    guard.push(cohort);
                    MutexGuard::unlock_fair(guard);
                });
            }
            MutexGuard::unlock_fair(guard);
        });
        let handovers = lock.handovers();
        assert_eq!(handovers.local + handovers.remote, 5);
        assert_eq!(*lock.lock(), [0, 0, 7, 7, 8], "in the order of arrival");
        assert_eq!((handovers.local, handovers.remote), (3, 2));
    });
}

/// Whether the machine has several nodes, or one, and the lock is a plain one.
#[test]
fn who_waits_is_counted_on_any_machine() {
    let lock = CohortMutex::<_>::new(0);
    in_time(|| {
        let guard = lock.lock();
        scope(|s| {
            for _ in 0..5 {
                queue(s, || {
                    let mut guard = lock.lock();
                    *guard += 1;
                    MutexGuard::unlock_fair(guard);
                });
            }
            MutexGuard::unlock_fair(guard);
        });
        let handovers = lock.handovers();
        assert_eq!(handovers.local + handovers.remote, 5);
        assert_eq!(*lock.lock(), 5);
        assert!(lock.try_lock_for(MOMENT).is_some());
    });
}

#[test]
fn nobody_to_nobody_is_no_handover() {
    let lock = Mutex::new(());
    for _ in 0..10 {
        drop(lock.lock());
        MutexGuard::unlock_fair(lock.lock());
        drop(lock.try_lock_for(MOMENT));
    }
    let handovers = lock.handovers();
    assert_eq!((handovers.local, handovers.remote), (0, 0));
}

/// All of one cohort: it is left for no other.
#[test]
fn one_cohort_is_never_left() {
    let lock = Mutex::new(0_u64);
    in_time(|| {
        scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    choose(3);
                    (0..5_000).for_each(|_| *lock.lock() += 1);
                });
            }
        });
    });
    let handovers = lock.handovers();
    assert!(handovers.remote <= 1, "{handovers:?}");
}

#[test]
fn a_fair_unlock_hands_it_over() {
    let lock = Mutex::new(());
    in_time(|| {
        let guard = lock.lock();
        scope(|s| {
            let (release, released) = channel::<()>();
            let lock = &lock;
            queue(s, move || {
                let _guard = lock.lock();
                let _ = released.recv();
            });
            MutexGuard::unlock_fair(guard);
            assert!(lock.try_lock().is_none(), "it is the waiter's, awake or not");
            drop(release);
        });
        assert_eq!(lock.handovers().local + lock.handovers().remote, 1);
        assert!(!lock.is_locked());
    });
}

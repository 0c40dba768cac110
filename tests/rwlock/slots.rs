//! More readers than slots, slots given back in another order, many locks at once.

use crate::locks::{cold_and_warm, soon};
use crate::tiers;
use crate::warm::{is_biased, warm};
use std::thread::{scope, spawn};
use stillpoint::{RwLock, RwLockReadGuard};

/// More than a CPU has slots.
const MANY: usize = 20;

fn warmed(n: usize) -> Vec<RwLock<usize>> {
    let locks: Vec<_> = (0..n).map(RwLock::new).collect();
    locks.iter().for_each(warm);
    locks
}

#[test]
fn one_thread_reads_more_locks_than_there_are_slots() {
    tiers::in_time(|| {
        let locks = warmed(MANY);
        for _ in 0..3 {
            let guards: Vec<_> = locks.iter().map(RwLock::read).collect();
            for (n, lock) in locks.iter().enumerate() {
                assert_eq!(*guards[n], n);
                assert!(lock.is_locked() && lock.try_write().is_none());
            }
            drop(guards);
            for (n, lock) in locks.iter().enumerate() {
                assert!(!lock.is_locked());
                assert_eq!(*lock.try_write().unwrap(), n);
                warm(lock);
            }
        }
    });
}

#[test]
fn one_thread_reads_one_lock_more_often_than_there_are_slots() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut guards: Vec<_> = (0..MANY).map(|_| lock.read()).collect();
        while guards.pop().is_some() {
            assert_eq!(lock.try_write().is_some(), guards.is_empty());
        }
        assert!(!lock.is_locked());
    });
}

/// Each that is given back frees its own lock and no other.
#[test]
fn guards_are_dropped_in_any_order() {
    tiers::in_time(|| {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let locks = warmed(MANY);
        for _ in 0..20 {
            let mut guards: Vec<Option<RwLockReadGuard<'_, usize>>> =
                locks.iter().map(|lock| Some(lock.read())).collect();
            let mut order: Vec<usize> = (0..MANY).collect();
            random.shuffle(&mut order);
            for n in order {
                guards[n] = None;
                for (guard, lock) in guards.iter().zip(&locks) {
                    assert_eq!(lock.is_locked(), guard.is_some());
                }
                drop(locks[n].try_write().unwrap());
                if random.bool() {
                    // Takes the slot that has just become free.
                    guards[n] = Some(locks[n].read());
                }
            }
        }
    });
}

#[test]
fn a_writer_waits_for_readers_in_slots_and_inside() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut guards: Vec<_> = (0..MANY).map(|_| lock.read()).collect();
        scope(|s| {
            let writer = s.spawn(|| *lock.write() = 1);
            soon("the writer announces itself", || lock.is_locked_exclusive());
            while let Some(guard) = guards.pop() {
                assert!(!writer.is_finished());
                assert_eq!(*guard, 0);
            }
            writer.join().unwrap();
        });
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn ten_thousand_locks_live_at_once() {
    const LOCKS: usize = 10_000;
    tiers::in_time(|| {
        let locks = warmed(LOCKS);
        assert!(locks.iter().all(is_biased));
        let guards: Vec<_> = locks.iter().map(RwLock::read).collect();
        assert!(locks.iter().step_by(101).all(|lock| lock.try_write().is_none()));
        drop(guards);
        scope(|s| {
            for half in locks.chunks(LOCKS / 2) {
                s.spawn(move || half.iter().for_each(|lock| *lock.write() += 1));
            }
        });
        assert!(locks.into_iter().enumerate().all(|(n, lock)| lock.into_inner() == n + 1));
    });
}

/// Slots do not run out, for they go back whoever ends.
#[test]
fn threads_come_and_go() {
    static LOCK: RwLock<usize> = RwLock::new(0);
    tiers::in_time(|| {
        warm(&LOCK);
        for n in 0..200 {
            let reader = spawn(|| drop((LOCK.read(), LOCK.read())));
            if n % 20 == 0 {
                *LOCK.write() += 1;
            }
            reader.join().unwrap();
        }
        assert!(!LOCK.is_locked());
        assert_eq!(*LOCK.try_read().unwrap(), 10);
    });
}

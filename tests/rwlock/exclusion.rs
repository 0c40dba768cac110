//! Readers share, writers are alone, whoever comes second waits.

use crate::locks::{MOMENT, cold_and_warm, soon};
use crate::warm;
use std::sync::Barrier;
use std::thread::{scope, sleep, spawn};
use stillpoint::{RwLock, RwLockUpgradableReadGuard};

#[test]
fn readers_share() {
    cold_and_warm(|lock: RwLock<i32>| {
        let inside = Barrier::new(4);
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    let guard = lock.read();
                    // Nobody leaves before all are in.
                    inside.wait();
                    assert_eq!(*guard, 0);
                });
            }
        });
        assert!(!lock.is_locked());
        drop(lock.write());
    });
}

#[test]
fn a_reader_keeps_writers_out() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.read();
        assert!(lock.try_write().is_none());
        scope(|s| {
            let writer = s.spawn(|| *lock.write() = 1);
            sleep(MOMENT);
            assert!(!writer.is_finished());
            assert_eq!(*guard, 0);
            drop(guard);
            writer.join().unwrap();
        });
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn a_writer_keeps_everyone_out() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut guard = lock.write();
        assert!(lock.try_read().is_none());
        assert!(lock.try_write().is_none());
        assert!(lock.try_upgradable_read().is_none());
        scope(|s| {
            let reader = s.spawn(|| *lock.read());
            let writer = s.spawn(|| *lock.write() += 10);
            let upgradable = s.spawn(|| *lock.upgradable_read());
            sleep(MOMENT);
            let finished = [reader.is_finished(), writer.is_finished(), upgradable.is_finished()];
            assert_eq!(finished, [false; 3]);
            *guard = 1;
            drop(guard);
            assert!([1, 11].contains(&reader.join().unwrap()));
            assert!([1, 11].contains(&upgradable.join().unwrap()));
            writer.join().unwrap();
        });
        assert_eq!(lock.into_inner(), 11);
    });
}

#[test]
fn an_upgradable_reader_shares_with_readers_only() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.upgradable_read();
        assert!(lock.try_read().is_some());
        assert!(lock.try_write().is_none());
        assert!(lock.try_upgradable_read().is_none());
        scope(|s| {
            let second = s.spawn(|| drop(lock.upgradable_read()));
            let writer = s.spawn(|| *lock.write() = 1);
            s.spawn(|| assert_eq!(*lock.read(), 0)).join().unwrap();
            sleep(MOMENT);
            assert!(!second.is_finished() && !writer.is_finished());
            assert_eq!(*guard, 0);
            drop(guard);
            second.join().unwrap();
            writer.join().unwrap();
        });
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn trying_succeeds_where_nothing_is_in_the_way() {
    cold_and_warm(|lock: RwLock<i32>| {
        for n in 0..100 {
            *lock.try_write().unwrap() = n;
            let read = lock.try_read().unwrap();
            let also = lock.try_read().unwrap();
            let upgradable = lock.try_upgradable_read().unwrap();
            assert_eq!((*read, *also, *upgradable), (n, n, n));
            drop((read, also));
            let write = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap();
            assert_eq!(*write, n);
        }
    });
}

#[test]
fn it_says_whether_it_is_locked() {
    cold_and_warm(|lock: RwLock<i32>| {
        let state = || (lock.is_locked(), lock.is_locked_exclusive());
        assert_eq!(state(), (false, false));
        let read = lock.read();
        assert_eq!(state(), (true, false));
        let second = lock.read();
        drop(read);
        assert_eq!(state(), (true, false));
        drop(second);
        assert_eq!(state(), (false, false));
        let upgradable = lock.upgradable_read();
        assert_eq!(state(), (true, false));
        let write = RwLockUpgradableReadGuard::upgrade(upgradable);
        assert_eq!(state(), (true, true));
        drop(write);
        assert_eq!(state(), (false, false));
    });
}

#[test]
fn a_writer_that_waits_turns_new_readers_away() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.read();
        scope(|s| {
            let writer = s.spawn(|| *lock.write() = 1);
            // Announced, it is as good as there.
            soon("the writer announces itself", || lock.is_locked_exclusive());
            soon("it turns readers away", || lock.try_read().is_none());
            let reader = s.spawn(|| *lock.read());
            sleep(MOMENT);
            assert!(!reader.is_finished() && !writer.is_finished());
            drop(guard);
            writer.join().unwrap();
            assert_eq!(reader.join().unwrap(), 1);
        });
    });
}

/// What one of them stores, the next one sees, whatever the state of the bias.
#[test]
fn what_is_written_is_read() {
    cold_and_warm(|lock: RwLock<u64>| {
        for n in 1..50 {
            *lock.write() = n;
            scope(|s| {
                s.spawn(|| assert_eq!(*lock.read(), n));
                s.spawn(|| assert_eq!(*lock.upgradable_read(), n));
            });
            if n % 10 == 0 {
                warm::warm(&lock);
            }
        }
    });
}

/// A static lock, made by a constant expression.
#[test]
fn it_may_be_static() {
    static LOCK: RwLock<Vec<u32>> = RwLock::new(Vec::new());
    #[allow(clippy::declare_interior_mutable_const, reason = "each use is to be a lock of its own")]
    const INSIDE: RwLock<[u8; 2]> = RwLock::new([3, 4]);
    let threads: Vec<_> = (0..4).map(|n| spawn(move || LOCK.write().push(n))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    LOCK.write().sort_unstable();
    assert_eq!(*LOCK.read(), [0, 1, 2, 3]);
    let twice = [INSIDE, INSIDE];
    twice[0].write()[0] = 9;
    assert_eq!((*twice[0].read(), *twice[1].read()), ([9, 4], [3, 4]));
}

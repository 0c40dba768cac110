//! Whoever waits for a limited time gets it in time, or comes back without.

use crate::locks::{MOMENT, cold_and_warm};
use crate::warm;
use std::sync::mpsc::channel;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use stillpoint::{RwLock, RwLockUpgradableReadGuard};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(100);

/// That `attempt`, which has [`MOMENT`], fails, and not before that has passed.
#[track_caller]
fn in_vain<G>(attempt: impl FnOnce() -> Option<G>) {
    let begin = Instant::now();
    assert!(attempt().is_none());
    assert!(begin.elapsed() >= MOMENT, "gave up after {:?}", begin.elapsed());
}

fn deadline() -> Instant {
    Instant::now() + MOMENT
}

#[test]
fn a_free_lock_is_taken_at_once_whatever_the_time() {
    cold_and_warm(|lock: RwLock<i32>| {
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        for time in [Duration::ZERO, MOMENT, LONG, Duration::MAX] {
            assert!(lock.try_read_for(time).is_some());
            assert!(lock.try_upgradable_read_for(time).is_some());
            assert!(lock.try_write_for(time).is_some());
            let upgradable = lock.upgradable_read();
            assert!(RwLockUpgradableReadGuard::try_upgrade_for(upgradable, time).is_ok());
            warm::warm(&lock);
        }
        for until in [past, Instant::now(), Instant::now() + LONG] {
            assert!(lock.try_read_until(until).is_some());
            assert!(lock.try_upgradable_read_until(until).is_some());
            assert!(lock.try_write_until(until).is_some());
            let upgradable = lock.upgradable_read();
            assert!(RwLockUpgradableReadGuard::try_upgrade_until(upgradable, until).is_ok());
        }
    });
}

#[test]
fn a_writer_outlasts_everyone_elses_time() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.write();
        in_vain(|| lock.try_read_for(MOMENT));
        in_vain(|| lock.try_read_until(deadline()));
        in_vain(|| lock.try_write_for(MOMENT));
        in_vain(|| lock.try_write_until(deadline()));
        in_vain(|| lock.try_upgradable_read_for(MOMENT));
        in_vain(|| lock.try_upgradable_read_until(deadline()));
        assert!(lock.try_read_for(Duration::ZERO).is_none());
        drop(guard);
        assert!(lock.try_read().is_some() && lock.try_write().is_some());
    });
}

#[test]
fn an_upgradable_reader_outlasts_the_time_of_writers_and_its_like() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.upgradable_read();
        in_vain(|| lock.try_write_for(MOMENT));
        in_vain(|| lock.try_upgradable_read_for(MOMENT));
        assert!(lock.try_read_for(LONG).is_some());
        drop(guard);
        assert!(lock.try_write().is_some());
    });
}

/// A reader in a slot, or inside; writers time out, and must neither take it for gone nor keep other
/// readers out.
#[test]
fn a_writer_that_times_out_leaves_no_trace() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.read();
        for _ in 0..3 {
            in_vain(|| lock.try_write_for(MOMENT));
            assert!(lock.try_write().is_none(), "the reader is still there");
            in_vain(|| lock.try_write_until(deadline()));
            assert!(lock.try_write_for(Duration::ZERO).is_none(), "the reader is still there");
            scope(|s| {
                s.spawn(|| assert_eq!(*lock.read(), 0)).join().unwrap();
                s.spawn(|| assert!(lock.try_read_for(LONG).is_some())).join().unwrap();
            });
            assert!(!lock.is_locked_exclusive() && lock.is_locked());
        }
        assert_eq!(*guard, 0);
        drop(guard);
        assert!(!lock.is_locked());
        *lock.try_write().unwrap() = 1;
        assert_eq!(*lock.read(), 1);
    });
}

/// The same with reads enough, after each, that the bias comes back over the reader's head.
#[test]
fn the_bias_may_come_back_while_a_reader_outlasts_writers() {
    cold_and_warm(|lock: RwLock<i32>| {
        let first = lock.read();
        in_vain(|| lock.try_write_for(MOMENT));
        warm::warm(&lock);
        let second = lock.read();
        in_vain(|| lock.try_write_for(MOMENT));
        drop(first);
        assert!(lock.try_write().is_none());
        in_vain(|| lock.try_write_for(MOMENT));
        drop(second);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn an_upgrade_that_times_out_keeps_the_upgradable_lock() {
    cold_and_warm(|lock: RwLock<i32>| {
        let reader = lock.read();
        let mut guard = lock.upgradable_read();
        for _ in 0..3 {
            let begin = Instant::now();
            guard = RwLockUpgradableReadGuard::try_upgrade_for(guard, MOMENT).unwrap_err();
            guard = RwLockUpgradableReadGuard::try_upgrade_until(guard, deadline()).unwrap_err();
            assert!(begin.elapsed() >= MOMENT * 2);
            guard = RwLockUpgradableReadGuard::try_upgrade(guard).unwrap_err();
            assert!(guard.try_with_upgraded(|_| ()).is_none());
            assert!(guard.try_with_upgraded_for(MOMENT, |_| ()).is_none());
            assert!(guard.try_with_upgraded_until(deadline(), |_| ()).is_none());
            assert!(lock.try_read().is_some());
            assert!(lock.try_upgradable_read().is_none() && lock.try_write().is_none());
        }
        drop(reader);
        assert_eq!(guard.try_with_upgraded_for(LONG, |value| *value), Some(0));
        *RwLockUpgradableReadGuard::try_upgrade_for(guard, LONG).unwrap() = 1;
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn who_waits_is_woken_in_time() {
    cold_and_warm(|lock: RwLock<i32>| {
        let (tried, has_tried) = channel();
        scope(|s| {
            let guard = lock.write();
            for kind in 0..3 {
                let tried = tried.clone();
                let lock = &lock;
                s.spawn(move || {
                    let done = match kind {
                        0 => lock.try_read_for(LONG).is_some(),
                        1 => lock.try_write_for(LONG).map(|mut value| *value += 1).is_some(),
                        _ => lock.try_upgradable_read_for(LONG).is_some(),
                    };
                    tried.send(done).unwrap();
                });
            }
            sleep(MOMENT);
            assert!(has_tried.try_recv().is_err());
            drop(guard);
            (0..3).for_each(|_| assert!(has_tried.recv().unwrap()));
        });
        warm::warm(&lock);
        scope(|s| {
            let guard = lock.read();
            let writer = s.spawn(|| lock.try_write_for(LONG).is_some());
            sleep(MOMENT);
            assert!(!writer.is_finished());
            drop(guard);
            assert!(writer.join().unwrap());
        });
    });
}

/// Those behind a writer that gives up are let in, though nobody else releases anything.
#[test]
fn who_gives_up_lets_the_others_in() {
    cold_and_warm(|lock: RwLock<i32>| {
        let guard = lock.read();
        scope(|s| {
            let writer = s.spawn(|| lock.try_write_for(MOMENT * 10).is_none());
            sleep(MOMENT);
            let readers: Vec<_> = (0..3).map(|_| s.spawn(|| *lock.read())).collect();
            let upgradable = s.spawn(|| *lock.upgradable_read());
            assert!(writer.join().unwrap());
            readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 0));
            assert_eq!(upgradable.join().unwrap(), 0);
        });
        drop(guard);
        assert!(lock.try_write().is_some());
    });
}

//! From reading to writing, without anybody writing in between.

use crate::locks::{MOMENT, cold_and_warm};
use crate::warm;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep, yield_now};
use stillpoint::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};

#[test]
fn an_upgrade_waits_for_readers() {
    cold_and_warm(|lock: RwLock<i32>| {
        let reader = lock.read();
        scope(|s| {
            let upgrader = s.spawn(|| {
                let guard = lock.upgradable_read();
                *RwLockUpgradableReadGuard::upgrade(guard) = 1;
            });
            sleep(MOMENT);
            assert!(!upgrader.is_finished());
            assert_eq!(*reader, 0);
            drop(reader);
            upgrader.join().unwrap();
        });
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn an_upgrade_that_is_tried_waits_for_nobody() {
    cold_and_warm(|lock: RwLock<i32>| {
        let reader = lock.read();
        let guard = lock.upgradable_read();
        let guard = RwLockUpgradableReadGuard::try_upgrade(guard).unwrap_err();
        assert!(lock.try_read().is_some(), "nobody is kept out by the attempt");
        drop(reader);
        let mut write = RwLockUpgradableReadGuard::try_upgrade(guard).unwrap();
        *write = 1;
        assert!(lock.try_read().is_none());
    });
}

#[test]
fn it_is_upgraded_for_one_closure() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut guard = lock.upgradable_read();
        for n in 1..4 {
            let before = guard.with_upgraded(|value| {
                assert!(lock.is_locked_exclusive() && lock.try_read().is_none());
                std::mem::replace(value, n)
            });
            assert_eq!((before, *guard), (n - 1, n));
            warm::warm(&lock);
            assert!(lock.try_upgradable_read().is_none());
        }
        assert_eq!(guard.try_with_upgraded(|value| *value), Some(3));
        let reader = lock.read();
        assert_eq!(guard.try_with_upgraded(|value| *value), None);
        assert_eq!((*reader, *guard), (3, 3));
    });
}

/// Who reads and then upgrades sees no other value than what it read.
#[test]
fn nobody_writes_between_reading_and_upgrading() {
    const EACH: u64 = 300;
    cold_and_warm(|lock: RwLock<u64>| {
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for n in 0..EACH {
                        let guard = lock.upgradable_read();
                        let before = *guard;
                        if n % 16 == 0 {
                            yield_now();
                        }
                        let mut write = RwLockUpgradableReadGuard::upgrade(guard);
                        assert_eq!(*write, before);
                        *write += 1;
                        let guard = RwLockWriteGuard::downgrade_to_upgradable(write);
                        assert_eq!(*guard, before + 1);
                    }
                });
            }
            s.spawn(|| (0..EACH).for_each(|_| *lock.write() += 1));
        });
        assert_eq!(lock.into_inner(), 4 * EACH);
    });
}

/// Readers that overlap all the time must not keep an upgrade out, nor be kept out by it.
#[test]
fn an_upgrader_gets_through_a_stream_of_readers() {
    const UPGRADES: usize = 100;
    cold_and_warm(|lock: RwLock<usize>| {
        let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let mut last = 0;
                    while !over.load(SeqCst) {
                        let guard = lock.read();
                        assert!(*guard >= last);
                        last = *guard;
                        reads.fetch_add(1, SeqCst);
                        drop(guard);
                    }
                });
            }
            for n in 0..UPGRADES {
                let before = reads.load(SeqCst);
                let mut guard = lock.upgradable_read();
                guard.with_upgraded(|value| *value = n + 1);
                drop(guard);
                while reads.load(SeqCst) == before {
                    yield_now();
                }
            }
            over.store(true, SeqCst);
        });
        assert_eq!(lock.into_inner(), UPGRADES);
    });
}

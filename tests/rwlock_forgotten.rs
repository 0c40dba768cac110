//! Guards that are forgotten hold their lock for ever, and harm no other.
//!
//! A process of their own: the slot of a forgotten reader is lost, and a CPU has eight. These tests
//! forget six readers that may have one; whoever finds none reads inside, as others test.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/locks.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod locks;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;
#[path = "support/warm.rs"]
mod warm;

use locks::{MOMENT, cold_and_warm};
use std::mem::{ManuallyDrop, forget};
use std::thread::scope;
use std::time::Duration;
use stillpoint::RwLock;
use warm::warm;

#[test]
fn a_forgotten_reader_keeps_writers_out_and_readers_not() {
    cold_and_warm(|lock: RwLock<i32>| {
        forget(lock.read());
        for _ in 0..2 {
            assert!(lock.is_locked() && lock.try_write().is_none());
            assert!(lock.try_write_for(MOMENT).is_none());
            assert!(lock.try_write_for(Duration::ZERO).is_none());
            scope(|s| s.spawn(|| assert_eq!(*lock.read(), 0)).join().unwrap());
            warm(&lock);
            assert_eq!(*lock.upgradable_read(), 0);
        }
        assert_eq!(lock.into_inner(), 0);
    });
}

#[test]
fn a_forgotten_reader_does_not_haunt_the_lock_that_comes_after() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut place = Box::new(ManuallyDrop::new(lock));
        forget(place.read());
        for n in 0..3 {
            assert!(place.try_write().is_none());
            // At the same address, in the same memory.
            // SAFETY: it is not used again before another is put there.
            unsafe { ManuallyDrop::drop(&mut place) };
            *place = ManuallyDrop::new(RwLock::new(n));
            assert!(!place.is_locked());
            *place.try_write().unwrap() += 1;
            warm(&place);
            *place.try_write_for(Duration::from_secs(100)).unwrap() += 1;
            assert_eq!(*place.read(), n + 2);
            warm(&place);
            if n == 0 {
                forget(place.read());
            } else {
                forget(place.write());
                assert!(place.try_read().is_none());
            }
        }
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut place) };
    });
}

/// It knows its reader wherever it is.
#[test]
fn a_lock_with_a_forgotten_reader_may_be_moved() {
    cold_and_warm(|lock: RwLock<i32>| {
        forget(lock.read());
        let moved = Box::new(lock);
        assert!(moved.is_locked() && moved.try_write().is_none());
        assert!(moved.try_write_for(MOMENT).is_none());
        let again = *moved;
        assert!(again.is_locked() && again.try_write().is_none());
        assert!(again.try_read().is_some());
        assert_eq!(again.into_inner(), 0);
    });
}

#[test]
fn a_thread_may_exit_with_a_guard_forgotten() {
    cold_and_warm(|lock: RwLock<i32>| {
        let other = RwLock::new(0);
        warm(&other);
        scope(|s| {
            s.spawn(|| forget(lock.read())).join().unwrap();
            s.spawn(|| {
                let _other = other.read();
                assert!(lock.try_write().is_none());
                assert!(lock.try_write_for(MOMENT).is_none());
            });
        });
        assert!(lock.try_read().is_some());
        *other.write() = 1;
        scope(|s| {
            s.spawn(|| forget(other.write())).join().unwrap();
            s.spawn(|| assert!(other.try_read_for(MOMENT).is_none()));
        });
        assert_eq!((lock.into_inner(), other.into_inner()), (0, 1));
    });
}

#[test]
fn an_upgradable_reader_may_be_forgotten_too() {
    cold_and_warm(|mut lock: RwLock<i32>| {
        forget(lock.upgradable_read());
        assert!(lock.try_read().is_some());
        assert!(lock.try_upgradable_read_for(MOMENT).is_none());
        assert!(lock.try_write_for(MOMENT).is_none());
        *lock.get_mut() = 1;
        assert_eq!(lock.into_inner(), 1);
    });
}

/// What was forgotten can be given back by force, by who has kept its state.
#[test]
fn a_reader_can_be_ended_by_force() {
    use stillpoint::lock::lock_api::RawRwLock as _;
    cold_and_warm(|lock: RwLock<i32>| {
        // SAFETY: given back below, once; no guard of it is alive.
        let state = unsafe { lock.raw() }.lock_shared();
        assert!(lock.try_write().is_none());
        // SAFETY: it came from this lock.
        unsafe { lock.force_unlock_read(state) };
        *lock.try_write().unwrap() = 1;
    });
}

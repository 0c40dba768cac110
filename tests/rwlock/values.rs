//! What it does with its value besides locking it.

use crate::locks::cold_and_warm;
use crate::warm;
use std::fmt::Debug;
use stillpoint::{RwLock, RwLockReadGuard, RwLockWriteGuard};

#[test]
fn the_owner_needs_no_guard() {
    cold_and_warm(|mut lock: RwLock<Vec<i32>>| {
        lock.get_mut().push(1);
        lock.write().push(2);
        lock.get_mut().push(3);
        assert_eq!(*lock.read(), [1, 2, 3]);
        assert_eq!(lock.into_inner(), [1, 2, 3]);
    });
}

#[test]
fn the_value_is_dropped_once() {
    struct Counts<'c>(&'c std::cell::Cell<u32>);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = std::cell::Cell::new(0);
    let lock = RwLock::new(Counts(&drops));
    warm::warm(&lock);
    drop(lock.write());
    drop(lock);
    assert_eq!(drops.get(), 1);
    let inside = RwLock::new(Counts(&drops)).into_inner();
    assert_eq!(drops.get(), 1);
    drop(inside);
    assert_eq!(drops.get(), 2);
}

#[test]
fn it_is_made_of_a_value_or_of_nothing() {
    assert_eq!(*RwLock::from(5).read(), 5);
    let made: RwLock<&str> = "five".into();
    assert_eq!(*made.read(), "five");
    assert_eq!(*RwLock::<Vec<u8>>::default().read(), []);
}

/// A table for no more than what it protects, and two words.
#[test]
fn it_is_small() {
    assert_eq!(size_of::<RwLock<()>>(), 16);
    assert_eq!(size_of::<RwLock<u64>>(), 24);
    assert_eq!(size_of::<RwLock<[u64; 9]>>(), 88);
    assert!(size_of::<RwLockReadGuard<'_, u64>>() <= 16);
    assert!(size_of::<RwLockWriteGuard<'_, u64>>() <= 8);
}

#[test]
fn its_value_may_be_unsized() {
    cold_and_warm(|lock: RwLock<[i32; 3]>| {
        let slice: &RwLock<[i32]> = &lock;
        warm::warm(slice);
        slice.write()[1] = 5;
        assert_eq!(*slice.read(), [0, 5, 0]);
        let last = RwLockWriteGuard::map(slice.write(), |values| &mut values[2..]);
        assert_eq!(last.len(), 1);
        assert!(slice.try_read().is_none());
        drop(last);
        let any: &RwLock<dyn Debug> = &lock;
        assert_eq!(format!("{:?}", &*any.read()), "[0, 5, 0]");
        let shown = RwLockReadGuard::map(any.read(), |value| value);
        assert!(lock.try_write().is_none());
        drop(shown);
        let boxed: Box<RwLock<[i32]>> = Box::new(RwLock::new([1; 4]));
        warm::warm(&boxed);
        boxed.write()[3] = 2;
        assert_eq!(boxed.read().iter().sum::<i32>(), 5);
    });
}

#[test]
fn showing_it_waits_for_nobody() {
    cold_and_warm(|lock: RwLock<i32>| {
        assert_eq!(format!("{lock:?}"), "RwLock { data: 0 }");
        let read = lock.read();
        assert_eq!(format!("{lock:?}"), "RwLock { data: 0 }");
        assert_eq!((format!("{read:?}"), format!("{read}")), ("0".into(), "0".into()));
        drop(read);
        let upgradable = lock.upgradable_read();
        assert_eq!(format!("{lock:?} {upgradable:?} {upgradable}"), "RwLock { data: 0 } 0 0");
        drop(upgradable);
        let write = lock.write();
        assert_eq!(format!("{lock:?}"), "RwLock { data: <locked> }");
        assert_eq!(format!("{write:?} {write}"), "0 0");
        drop(write);
        assert!(!lock.is_locked(), "what showed it is gone");
    });
}

/// Guards are no longer than their lock, so only a borrow can be moved; the lock itself may be.
#[test]
fn it_may_be_moved_between_uses() {
    cold_and_warm(|lock: RwLock<i32>| {
        *lock.write() += 1;
        warm::warm(&lock);
        drop(lock.read());
        let moved = Box::new(lock);
        drop(moved.read());
        *moved.write() += 1;
        warm::warm(&moved);
        let many = [*moved, RwLock::new(7)];
        assert_eq!((*many[0].read(), *many[1].read()), (2, 7));
        *many[0].write() += 1;
        assert_eq!(*many[0].read(), 3);
    });
}

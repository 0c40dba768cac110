//! What can be done with a guard besides dropping it.

use crate::locks::{MOMENT, cold_and_warm, soon};
use crate::warm;
use std::thread::{scope, sleep};
use stillpoint::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

type Pair = (i32, Option<String>);

#[test]
fn a_part_is_read_as_long_as_its_guard_lives() {
    cold_and_warm(|lock: RwLock<Pair>| {
        let number = RwLockReadGuard::map(lock.read(), |pair| &pair.0);
        assert_eq!(*number, 0);
        assert!(lock.try_write().is_none() && lock.try_read().is_some());
        let byte = MappedRwLockReadGuard::map(number, |number| &number.to_ref()[0]);
        assert_eq!(*byte, 0);
        assert!(lock.try_write().is_none());
        let guard = MappedRwLockReadGuard::try_map(byte, |_| None::<&u8>).unwrap_err();
        assert!(lock.try_write().is_none(), "what is refused is held still");
        let guard = MappedRwLockReadGuard::try_map_or_err(guard, |byte| {
            if *byte == 1 { Ok(byte) } else { Err("not one") }
        });
        let (guard, reason) = guard.unwrap_err();
        assert_eq!((*guard, reason), (0, "not one"));
        MappedRwLockReadGuard::unlock_fair(guard);
        assert!(!lock.is_locked());

        let guard = RwLockReadGuard::try_map(lock.read(), |pair| pair.1.as_ref()).unwrap_err();
        assert!(lock.try_write().is_none());
        assert_eq!(guard.0, 0);
        drop(guard);
        lock.write().1 = Some("name".into());
        let name = RwLockReadGuard::try_map(lock.read(), |pair| pair.1.as_ref()).unwrap();
        assert_eq!(*name, "name");
        assert!(lock.try_write().is_none());
        drop(name);
        assert!(lock.try_write().is_some());
    });
}

/// The bytes of a number, by reference.
trait ToRef {
    fn to_ref(&self) -> &[u8; 4];
}

impl ToRef for i32 {
    fn to_ref(&self) -> &[u8; 4] {
        // SAFETY: four bytes, which have no invalid values and need no alignment.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }
}

#[test]
fn a_part_is_written_as_long_as_its_guard_lives() {
    cold_and_warm(|lock: RwLock<Pair>| {
        let mut number = RwLockWriteGuard::map(lock.write(), |pair| &mut pair.0);
        *number = 5;
        assert!(lock.try_read().is_none());
        let number = MappedRwLockWriteGuard::try_map(number, |_| None::<&mut i32>).unwrap_err();
        assert!(lock.try_read().is_none(), "what is refused is held still");
        let mut number = MappedRwLockWriteGuard::map(number, |number| number);
        *number += 1;
        MappedRwLockWriteGuard::unlock_fair(number);
        assert!(!lock.is_locked());

        let guard = RwLockWriteGuard::try_map(lock.write(), |pair| pair.1.as_mut()).unwrap_err();
        assert!(lock.try_read().is_none());
        assert_eq!(guard.0, 6);
        drop(guard);
        lock.write().1 = Some("na".into());
        let mut name = RwLockWriteGuard::try_map(lock.write(), |pair| pair.1.as_mut()).unwrap();
        name.push_str("me");
        drop(name);
        assert_eq!(*lock.read(), (6, Some("name".into())));
    });
}

#[test]
fn a_writer_becomes_a_reader() {
    cold_and_warm(|lock: RwLock<i32>| {
        for n in 1..4 {
            let mut write = lock.write();
            *write = n;
            let read = RwLockWriteGuard::downgrade(write);
            assert!(lock.try_write().is_none());
            assert!(!lock.is_locked_exclusive());
            // So many that the bias comes back over its head.
            warm::warm(&lock);
            let second = lock.read();
            assert_eq!((*read, *second), (n, n));
            drop(second);
            assert!(lock.try_write().is_none());
            drop(read);
            assert!(!lock.is_locked());
        }
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in_and_writers_not() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut write = lock.write();
        scope(|s| {
            let readers: Vec<_> = (0..3).map(|_| s.spawn(|| *lock.read())).collect();
            sleep(MOMENT);
            *write = 1;
            let read = RwLockWriteGuard::downgrade(write);
            readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 1));
            let writer = s.spawn(|| *lock.write() = 2);
            soon("a writer waits", || lock.is_locked_exclusive());
            assert!(!writer.is_finished());
            assert_eq!(*read, 1);
            drop(read);
            writer.join().unwrap();
        });
        assert_eq!(lock.into_inner(), 2);
    });
}

#[test]
fn a_writer_becomes_upgradable_and_that_a_reader() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut write = lock.write();
        *write = 1;
        let upgradable = RwLockWriteGuard::downgrade_to_upgradable(write);
        assert!(lock.try_read().is_some());
        assert!(lock.try_upgradable_read().is_none() && lock.try_write().is_none());
        let mut write = RwLockUpgradableReadGuard::upgrade(upgradable);
        *write = 2;
        let upgradable = RwLockWriteGuard::downgrade_to_upgradable(write);
        let read = RwLockUpgradableReadGuard::downgrade(upgradable);
        assert_eq!(*read, 2);
        assert!(lock.try_write().is_none());
        assert!(lock.try_upgradable_read().is_some());
        drop(read);
        assert!(!lock.is_locked());
    });
}

#[test]
fn a_guard_can_let_go_for_a_while() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut read = lock.read();
        let told = RwLockReadGuard::unlocked(&mut read, || {
            *lock.try_write().unwrap() += 1;
            "told"
        });
        assert_eq!((told, *read), ("told", 1));
        RwLockReadGuard::unlocked_fair(&mut read, || *lock.try_write().unwrap() += 1);
        RwLockReadGuard::bump(&mut read);
        assert_eq!(*read, 2);
        assert!(lock.try_write().is_none());
        RwLockReadGuard::unlock_fair(read);

        warm::warm(&lock);
        let mut write = lock.write();
        RwLockWriteGuard::unlocked(&mut write, || *lock.try_write().unwrap() += 1);
        RwLockWriteGuard::unlocked_fair(&mut write, || *lock.try_write().unwrap() += 1);
        RwLockWriteGuard::bump(&mut write);
        assert_eq!(*write, 4);
        assert!(lock.try_read().is_none());
        RwLockWriteGuard::unlock_fair(write);

        warm::warm(&lock);
        let mut upgradable = lock.upgradable_read();
        RwLockUpgradableReadGuard::unlocked(&mut upgradable, || *lock.try_write().unwrap() += 1);
        RwLockUpgradableReadGuard::unlocked_fair(&mut upgradable, || drop(lock.try_write()));
        RwLockUpgradableReadGuard::bump(&mut upgradable);
        assert_eq!(*upgradable, 5);
        assert!(lock.try_read().is_some() && lock.try_upgradable_read().is_none());
        RwLockUpgradableReadGuard::unlock_fair(upgradable);
        assert!(!lock.is_locked());
    });
}

/// A fair release hands over: who holds it again has had the other's turn in between.
#[test]
fn a_bump_gives_others_their_turn() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut write = lock.write();
        scope(|s| {
            s.spawn(|| *lock.write() += 1);
            sleep(MOMENT);
            while *write == 0 {
                RwLockWriteGuard::bump(&mut write);
            }
        });
        assert_eq!(*write, 1);
    });
}

#[test]
fn a_guard_knows_its_lock() {
    cold_and_warm(|lock: RwLock<i32>| {
        assert!(std::ptr::eq(RwLockReadGuard::rwlock(&lock.read()), &lock));
        assert!(std::ptr::eq(RwLockWriteGuard::rwlock(&lock.write()), &lock));
        assert!(std::ptr::eq(RwLockUpgradableReadGuard::rwlock(&lock.upgradable_read()), &lock));
    });
}

//! What optional features add to locks:
//! `cargo test --features arc_lock,send_guard,serde --test rwlock_features`.

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
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread::{scope, sleep, spawn};
use std::time::Duration;
use stillpoint::lock::{ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard};
use stillpoint::{
    MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, SpinLock,
};
use tiers::in_time;
use warm::warm;

/// With the features, guards of mutexes travel, and keep their locks.
#[test]
fn guards_of_mutexes() {
    in_time(|| {
        let lock = Arc::new(Mutex::new(0));
        let guard = lock.lock_arc();
        let waiter = spawn({
            let lock = lock.clone();
            move || *lock.lock() += 1
        });
        sleep(MOMENT);
        drop(lock);
        spawn(move || drop(guard)).join().unwrap();
        waiter.join().unwrap();
        let spinning = SpinLock::new(1);
        scope(|s| {
            let guard = spinning.lock();
            s.spawn(move || assert_eq!(*guard, 1));
        });
        assert_eq!(serde_json::to_string(&spinning).unwrap(), "1");
    });
}

#[test]
fn a_reader_may_end_on_another_thread() {
    cold_and_warm(|lock: RwLock<i32>| {
        // More than there are slots, so that both ways to hold it are sent.
        let guards: Vec<_> = (0..12).map(|_| lock.read()).collect();
        let part = RwLockReadGuard::map(lock.read(), |value| value);
        scope(|s| {
            let (begin, may_begin) = channel();
            let ender = s.spawn(move || {
                may_begin.recv().unwrap();
                guards.into_iter().for_each(|guard| assert_eq!(*guard, 0));
                MappedRwLockReadGuard::unlock_fair(part);
            });
            let writer = s.spawn(|| *lock.write() += 1);
            sleep(MOMENT);
            assert!(!writer.is_finished());
            begin.send(()).unwrap();
            ender.join().unwrap();
            writer.join().unwrap();
        });
        assert!(!lock.is_locked());
        assert_eq!(lock.into_inner(), 1);
    });
}

#[test]
fn a_writer_may_end_on_another_thread() {
    cold_and_warm(|lock: RwLock<i32>| {
        let mut write = lock.write();
        scope(|s| {
            s.spawn(move || *write = 1).join().unwrap();
            let upgradable = lock.upgradable_read();
            s.spawn(move || *RwLockUpgradableReadGuard::upgrade(upgradable) += 1).join().unwrap();
        });
        assert_eq!(*lock.try_read().unwrap(), 2);
    });
}

/// Guards that cross each other between threads, of several locks, while these are written.
#[test]
fn guards_cross_between_threads() {
    static LOCKS: [RwLock<u32>; 3] = [const { RwLock::new(0) }; 3];
    in_time(|| {
        LOCKS.iter().for_each(warm);
        // Bounded: whoever ends them yields, which takes long where others want the CPU.
        let (to, from) = sync_channel::<RwLockReadGuard<'static, u32>>(8);
        let ender = spawn(move || {
            for guard in from {
                let now = *guard;
                std::thread::yield_now();
                assert_eq!(*guard, now);
            }
        });
        let writer = spawn(|| {
            for n in 0..300 {
                *LOCKS[n % 3].write() += 1;
                sleep(Duration::from_micros(50));
            }
        });
        let mut n = 0;
        while !writer.is_finished() {
            n += 1;
            // Not to wait for a writer that waits for what is still under way.
            if let Some(guard) = LOCKS[n % 3].try_read() {
                to.send(guard).unwrap();
            }
        }
        drop(to);
        ender.join().unwrap();
        writer.join().unwrap();
        assert!(LOCKS.iter().all(|lock| *lock.read() == 100 && !lock.is_locked_exclusive()));
    });
}

#[test]
fn a_guard_may_keep_its_lock_alive() {
    cold_and_warm(|lock: RwLock<i32>| {
        let lock = Arc::new(lock);
        let read = lock.read_arc();
        let second = lock.try_read_arc_for(MOMENT).unwrap();
        assert!(lock.try_write_arc().is_none());
        assert!(lock.try_write_arc_for(MOMENT).is_none());
        assert!(Arc::ptr_eq(ArcRwLockReadGuard::rwlock(&read), &lock));
        drop((read, second));
        let upgradable = lock.upgradable_read_arc();
        assert!(lock.try_upgradable_read_arc().is_none());
        *ArcRwLockUpgradableReadGuard::upgrade(upgradable) += 1;
        warm(&lock);
        let mut write = lock.write_arc();
        *write += 1;
        assert!(lock.try_read_arc().is_none());
        let read = ArcRwLockWriteGuard::downgrade(write);
        assert_eq!(*read, 2);
        // The guard is the last to know it, here and elsewhere.
        drop(lock);
        let last = spawn(move || {
            let lock = ArcRwLockReadGuard::into_arc(read);
            *lock.write_arc() += 1;
            lock
        });
        assert_eq!(Arc::into_inner(last.join().unwrap()).unwrap().into_inner(), 3);
    });
}

#[test]
fn an_unsized_value_is_kept_alive_too() {
    let lock: Arc<RwLock<[i32]>> = Arc::new(RwLock::new([1, 2, 3]));
    warm(&lock);
    let read = lock.read_arc();
    drop(lock);
    assert_eq!(read.iter().sum::<i32>(), 6);
}

#[test]
fn it_serializes_as_its_value() {
    cold_and_warm(|lock: RwLock<Vec<u32>>| {
        *lock.write() = vec![1, 2];
        let text = serde_json::to_string(&lock).unwrap();
        assert_eq!(text, "[1,2]");
        assert!(!lock.is_locked());
        let back: RwLock<Vec<u32>> = serde_json::from_str(&text).unwrap();
        assert_eq!(*back.read(), [1, 2]);
        assert!(serde_json::from_str::<RwLock<Vec<u32>>>("[1,").is_err());
    });
}

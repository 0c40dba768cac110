//! One thread.

use super::{Lock, Raw};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stillpoint::lock::lock_api::MutexGuard;

pub(crate) fn lock_and_unlock<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    assert!(!lock.is_locked());
    for i in 0..10 {
        let mut guard = lock.lock();
        assert!(lock.is_locked());
        assert_eq!(*guard, i);
        *guard += 1;
    }
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), 10);
}

pub(crate) fn try_lock<R: Raw>() {
    let lock = Lock::<R, ()>::new(());
    let guard = lock.try_lock().unwrap();
    assert!(lock.try_lock().is_none());
    drop(guard);
    drop(lock.try_lock().unwrap());
    let guard = lock.lock();
    assert!(lock.try_lock().is_none());
    MutexGuard::unlock_fair(guard);
    assert!(lock.try_lock().is_some());
}

pub(crate) fn timeouts<R: Raw>() {
    const SHORT: Duration = Duration::from_millis(10);
    let lock = Lock::<R, ()>::new(());
    drop(lock.try_lock_for(SHORT).unwrap());
    drop(lock.try_lock_until(Instant::now() + SHORT).unwrap());
    let guard = lock.lock();
    let begin = Instant::now();
    assert!(lock.try_lock_for(SHORT).is_none());
    assert!(begin.elapsed() >= SHORT);
    let end = Instant::now() + SHORT;
    assert!(lock.try_lock_until(end).is_none());
    assert!(Instant::now() >= end);
    drop(guard);
    assert!(lock.try_lock_for(SHORT).is_some());
}

pub(crate) fn timeouts_of_any_length<R: Raw>() {
    let lock = Lock::<R, ()>::new(());
    drop(lock.try_lock_for(Duration::MAX).unwrap());
    drop(lock.try_lock_for(Duration::ZERO).unwrap());
    drop(lock.try_lock_until(Instant::now()).unwrap());
    let guard = lock.lock();
    assert!(lock.try_lock_for(Duration::ZERO).is_none());
    assert!(lock.try_lock_until(Instant::now()).is_none());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.try_lock_for(Duration::MAX).is_some());
        std::thread::sleep(Duration::from_millis(20));
        drop(guard);
        assert!(waiter.join().unwrap());
    });
}

pub(crate) fn panics<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        *lock.lock() = 1;
        let _guard = lock.lock();
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    assert_eq!(*lock.try_lock().unwrap(), 1);
}

/// They hold for ever; the next lock at that place knows nothing of it.
pub(crate) fn forgotten_guards<R: Raw>() {
    for _ in 0..1000 {
        let lock = Box::new(Lock::<R, u32>::new(0));
        std::mem::forget(lock.lock());
        assert!(lock.is_locked() && lock.try_lock().is_none());
        assert!(lock.try_lock_for(Duration::from_micros(1)).is_none());
    }
    // One thread's guards that were forgotten do not disturb its other locks.
    nobody_is_disturbed::<R>();
}

fn nobody_is_disturbed<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..1000).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(lock.into_inner(), 2000);
}

pub(crate) fn moved_while_held<R: Raw>() {
    let lock = Lock::<R, u32>::new(0);
    std::mem::forget(lock.lock());
    let elsewhere = Box::new(lock);
    assert!(elsewhere.is_locked());
    // What the forgotten guard carried is what that of any lock of this kind does, if nobody
    // waited.
    let state = R::INIT.lock();
    // SAFETY: it is held, and the guard is gone.
    unsafe { elsewhere.force_unlock(state) };
    assert!(!elsewhere.is_locked());
}

pub(crate) fn values<R: Raw>() {
    let mut lock = Lock::<R, Vec<u32>>::new(vec![1]);
    lock.get_mut().push(2);
    {
        let mut mapped = MutexGuard::map(lock.lock(), |values| &mut values[1]);
        *mapped = 3;
        assert!(lock.try_lock().is_none());
    }
    assert_eq!(*lock.lock(), [1, 3]);
    assert!(format!("{lock:?}").contains("[1, 3]"));
    let unsized_: Arc<Lock<R, [u32]>> = Arc::new(Lock::<R, [u32; 2]>::new([1, 2]));
    unsized_.lock()[0] = 5;
    assert_eq!(*unsized_.lock(), [5, 2]);
    assert_eq!(lock.into_inner(), [1, 3]);
}

/// Locks may change how they are given up when they were quiet for long, and back.
pub(crate) fn after_many_quiet_unlocks<R: Raw>() {
    let lock = Lock::<R, u64>::new(0);
    for round in 0..5 {
        for _ in 0..5000 {
            *lock.lock() += 1;
        }
        let guard = lock.lock();
        std::thread::scope(|scope| {
            let waiters = [(); 3].map(|()| scope.spawn(|| *lock.lock() += 1));
            std::thread::sleep(Duration::from_millis(20));
            drop(guard);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
        assert_eq!(*lock.lock(), (round + 1) * 5003);
    }
}

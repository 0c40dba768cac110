//! A panic releases what its thread holds, and poisons nothing.

use crate::locks::cold_and_warm;
use crate::warm;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::scope;
use stillpoint::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};

/// Unwinds, silently.
fn unwind() -> ! {
    resume_unwind(Box::new(()))
}

/// Runs what unwinds, on a thread of its own.
fn fails(what: impl FnOnce() + Send) {
    scope(|s| assert!(s.spawn(what).join().is_err()));
}

fn assert_free(lock: &RwLock<i32>) {
    assert!(!lock.is_locked());
    assert!(lock.try_read().is_some());
    assert!(lock.try_upgradable_read().is_some());
    assert!(lock.try_write().is_some());
}

#[test]
fn a_panic_in_any_mode_releases_the_lock() {
    cold_and_warm(|lock: RwLock<i32>| {
        fails(|| {
            let _guards = (lock.read(), lock.read());
            unwind()
        });
        assert_free(&lock);
        warm::warm(&lock);
        fails(|| {
            let _guard = lock.upgradable_read();
            unwind()
        });
        assert_free(&lock);
        warm::warm(&lock);
        fails(|| {
            *lock.write() += 1;
            let mut guard = lock.write();
            *guard += 1;
            unwind()
        });
        assert_free(&lock);
        fails(|| {
            let mut guard = RwLockUpgradableReadGuard::upgrade(lock.upgradable_read());
            *guard += 1;
            unwind()
        });
        assert_free(&lock);
        assert_eq!(lock.into_inner(), 3, "what was done stays done");
    });
}

#[test]
fn a_panic_in_a_closure_leaves_the_lock_in_order() {
    cold_and_warm(|lock: RwLock<i32>| {
        fails(|| drop(RwLockReadGuard::map(lock.read(), |_| -> &() { unwind() })));
        assert_free(&lock);
        warm::warm(&lock);
        fails(|| drop(RwLockWriteGuard::map(lock.write(), |_| -> &mut () { unwind() })));
        assert_free(&lock);
        fails(|| drop(RwLockReadGuard::try_map(lock.read(), |_| -> Option<&()> { unwind() })));
        assert_free(&lock);
        let mut guard = lock.upgradable_read();
        let upgraded = AssertUnwindSafe(|| guard.with_upgraded(|_| unwind()));
        assert!(catch_unwind(upgraded).is_err());
        assert!(lock.try_read().is_some(), "upgradable again");
        assert!(lock.try_upgradable_read().is_none(), "upgradable still");
        drop(guard);
        assert_free(&lock);
        let mut guard = lock.read();
        let unlocked = AssertUnwindSafe(|| RwLockReadGuard::unlocked(&mut guard, || unwind()));
        assert!(catch_unwind(unlocked).is_err());
        assert!(lock.try_write().is_none(), "read again");
        drop(guard);
        assert_free(&lock);
    });
}

/// Takes it, in all modes, while it is dropped.
struct Taker<'l>(&'l RwLock<i32>);

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
        drop((self.0.read(), self.0.try_read().unwrap()));
        let mut guard = self.0.upgradable_read();
        guard.with_upgraded(|value| *value += 1);
        drop(guard);
        *self.0.write() += 1;
    }
}

#[test]
fn it_can_be_taken_while_unwinding() {
    cold_and_warm(|lock: RwLock<i32>| {
        for _ in 0..3 {
            fails(|| {
                let _taker = Taker(&lock);
                let _guard = lock.read();
                unwind()
            });
            assert_free(&lock);
            warm::warm(&lock);
        }
        assert_eq!(lock.into_inner(), 6);
    });
}

#[test]
fn panics_in_many_threads_leave_it_free() {
    cold_and_warm(|lock: RwLock<i32>| {
        scope(|s| {
            let threads: Vec<_> = (0..60)
                .map(|n| {
                    let lock = &lock;
                    s.spawn(move || {
                        let _read;
                        match n % 3 {
                            0 => *lock.write() += 1,
                            1 => drop(lock.upgradable_read()),
                            _ => {}
                        }
                        let mut write;
                        match n % 2 {
                            0 => _read = lock.read(),
                            _ => {
                                write = lock.write();
                                *write += 1;
                            }
                        }
                        unwind()
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| assert!(thread.join().is_err()));
        });
        assert_free(&lock);
        assert_eq!(lock.into_inner(), 20 + 30);
    });
}

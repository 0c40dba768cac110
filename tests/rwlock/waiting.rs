//! Nobody waits for ever: not readers for writers, nor writers for readers or for each other.

use crate::locks::{MOMENT, cold_and_warm, soon};
use crate::{tiers, warm};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{Builder, scope, sleep, yield_now};
use std::time::Duration;
use stillpoint::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};

#[test]
fn a_stream_of_writers_lets_readers_in() {
    cold_and_warm(|lock: RwLock<u64>| {
        let over = AtomicBool::new(false);
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while !over.load(SeqCst) {
                        let mut guard = lock.write();
                        *guard += 1;
                        (0..1000).for_each(|_| std::hint::spin_loop());
                    }
                });
            }
            soon("writers write", || *lock.read() > 10);
            let seen = (0..50).map(|_| *lock.read()).collect::<Vec<_>>();
            assert!(seen.is_sorted());
            (0..20).for_each(|_| drop(lock.upgradable_read()));
            over.store(true, SeqCst);
        });
    });
}

/// At any time some reader holds it.
#[test]
fn a_stream_of_readers_lets_writers_in() {
    cold_and_warm(|lock: RwLock<u64>| {
        let over = AtomicBool::new(false);
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while !over.load(SeqCst) {
                        let guard = lock.read();
                        let before = *guard;
                        sleep(Duration::from_micros(300));
                        assert_eq!(*guard, before);
                    }
                });
            }
            for n in 0..50 {
                let mut guard = lock.write();
                assert_eq!(*guard, n);
                *guard += 1;
                drop(guard);
                if n % 10 == 0 {
                    sleep(MOMENT / 4);
                }
            }
            over.store(true, SeqCst);
        });
        assert_eq!(lock.into_inner(), 50);
    });
}

#[test]
fn all_writers_that_wait_get_in() {
    const WRITERS: usize = 50;
    cold_and_warm(|lock: RwLock<usize>| {
        let guard = lock.read();
        scope(|s| {
            for n in 0..WRITERS {
                let lock = &lock;
                s.spawn(move || match n % 4 {
                    0 => {
                        let mut guard = lock.upgradable_read();
                        guard.with_upgraded(|value| *value += 1);
                    }
                    1 => {
                        let mut guard = lock.write();
                        *guard += 1;
                        RwLockWriteGuard::unlock_fair(guard);
                    }
                    _ => *lock.write() += 1,
                });
            }
            sleep(MOMENT);
            assert_eq!(*guard, 0);
            drop(guard);
        });
        assert_eq!(lock.into_inner(), WRITERS);
    });
}

/// Readers that queue behind one writer share the lock then: none must leave before all are in.
#[test]
fn all_readers_that_wait_are_let_in_together() {
    const READERS: usize = 20;
    cold_and_warm(|lock: RwLock<usize>| {
        let inside = AtomicUsize::new(0);
        let guard = lock.write();
        scope(|s| {
            for _ in 0..READERS {
                s.spawn(|| {
                    let _guard = lock.read();
                    inside.fetch_add(1, SeqCst);
                    soon("all are in", || inside.load(SeqCst) == READERS);
                });
            }
            sleep(MOMENT);
            assert_eq!(inside.load(SeqCst), 0);
            drop(guard);
        });
    });
}

/// A fair release of each kind lets in whoever waits, even if the releaser comes back at once.
#[test]
fn a_fair_release_hands_over() {
    cold_and_warm(|lock: RwLock<usize>| {
        let waited = |release: &dyn Fn()| {
            let before = *lock.read();
            let in_time = AtomicBool::new(false);
            scope(|s| {
                let guard = lock.write();
                s.spawn(|| {
                    *lock.write() += 1;
                    in_time.store(true, SeqCst);
                });
                sleep(MOMENT);
                RwLockWriteGuard::unlock_fair(guard);
                while !in_time.load(SeqCst) {
                    release();
                }
            });
            assert_eq!(*lock.read(), before + 1);
        };
        waited(&|| RwLockWriteGuard::unlock_fair(lock.write()));
        waited(&|| RwLockUpgradableReadGuard::unlock_fair(lock.upgradable_read()));
    });
}

#[test]
fn a_thousand_threads_read_and_write() {
    const THREADS: usize = 1000;
    tiers::in_time(|| {
        let lock = RwLock::new([0usize; 4]);
        warm::warm(&lock);
        let (go, shared) = (OnceLock::new(), &lock);
        scope(|s| {
            for n in 0..THREADS {
                let go = &go;
                let work = move || {
                    go.wait();
                    for round in 0..10 {
                        let guard = shared.read();
                        assert!(guard.iter().all(|&word| word == guard[0]));
                        if round == 5 {
                            yield_now();
                        }
                        drop(guard);
                    }
                    let mut guard = shared.write();
                    guard.iter_mut().for_each(|word| *word += 1);
                    if n % 10 == 0 {
                        yield_now();
                    }
                };
                // Where no more threads can be had, fewer will do.
                if Builder::new().stack_size(128 << 10).spawn_scoped(s, work).is_err() {
                    println!("only {n} threads");
                    let mut guard = lock.write();
                    guard.iter_mut().for_each(|word| *word += THREADS - n);
                    break;
                }
            }
            go.set(()).expect("set once");
        });
        assert_eq!(lock.into_inner(), [THREADS; 4]);
    });
}

//! What a lock on a CPU's slot must do, on the tier that the process has; `STILLPOINT_TIER`
//! chooses a lower one.

#![cfg(target_os = "linux")]

#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/mutex_stress.rs"]
mod stress;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use stillpoint::percpu::{CpuLock, CpuLockGuard};
use stress::Canary;
use tiers::in_time;

fn canaries() -> CpuLock<Canary> {
    CpuLock::new(|_| Canary::default())
}

#[test]
fn a_guard_names_its_cpu() {
    let lock = CpuLock::new(|cpu| cpu);
    assert_eq!(lock.cpus(), stillpoint::machine().slots());
    let guard = lock.lock();
    assert_eq!(*guard, guard.cpu());
    for cpu in (0..lock.cpus()).filter(|&cpu| cpu != guard.cpu()) {
        assert_eq!(*lock.lock_cpu(cpu), cpu);
    }
    assert!(lock.try_lock_cpu(guard.cpu()).is_none());
    assert!(format!("{guard:?}").contains(&format!("cpu: {}", guard.cpu())));
}

/// Where a thread is the only one, and stays.
#[test]
fn taken_twice() {
    let lock = canaries();
    let all = cpus::allowed();
    assert!(cpus::restrict(0, &all[..1]));
    let guard = lock.lock();
    assert!(lock.try_lock().is_none() && lock.try_lock_cpu(guard.cpu()).is_none());
    drop(guard);
    let guard = lock.lock_cpu(all[0] as u32);
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
    assert!(cpus::restrict(0, &all));
}

/// Threads here and from elsewhere, moved about, and preempted by each other with the lock held.
#[test]
fn nobody_meets() {
    const TIMES: u64 = 3000;
    in_time(|| {
        let mut lock = canaries();
        let given_up = AtomicU64::new(0);
        let all = cpus::allowed();
        thread::scope(|scope| {
            for seed in 0..6 {
                let (lock, given_up, all) = (&lock, &given_up, &all);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..TIMES {
                        let anywhere = all[random.usize(..all.len())];
                        let guard = match random.u32(..20) {
                            0 => lock.try_lock(),
                            1 => lock.try_lock_cpu(anywhere as u32),
                            2..4 => Some(lock.lock_cpu(anywhere as u32)),
                            _ => Some(lock.lock()),
                        };
                        let Some(mut guard) = guard else {
                            given_up.fetch_add(1, SeqCst);
                            continue;
                        };
                        guard.enter();
                        match random.u32(..100) {
                            0 => _ = cpus::restrict(0, &[anywhere]),
                            1..5 => thread::yield_now(),
                            5 => thread::sleep(Duration::from_micros(50)),
                            _ => {}
                        }
                        guard.enter();
                    }
                });
            }
        });
        let entered: u64 = lock.iter_mut().map(|canary| canary.entered()).sum();
        assert_eq!(entered, 2 * (6 * TIMES - given_up.into_inner()));
    });
}

#[test]
fn waiters_are_woken() {
    in_time(|| {
        let lock = canaries();
        for _ in 0..10 {
            let guard = lock.lock_cpu(0);
            thread::scope(|scope| {
                let waiters = [(); 5].map(|()| scope.spawn(|| lock.lock_cpu(0).enter()));
                thread::sleep(Duration::from_millis(5));
                assert!(!waiters.iter().any(|waiter| waiter.is_finished()));
                drop(guard);
            });
        }
        assert_eq!(lock.lock_cpu(0).entered(), 50);
    });
}

/// Guards may end anywhere.
#[test]
fn sent_to_another_thread() {
    let lock = canaries();
    let mut guard = lock.lock();
    guard.enter();
    let cpu = guard.cpu();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut guard: CpuLockGuard<'_, Canary> = guard;
            guard.enter();
        });
    });
    assert_eq!(lock.lock_cpu(cpu).entered(), 2);
}

#[test]
fn panics_and_forgotten_guards() {
    let lock = canaries();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock.lock_cpu(0);
        panic!("on purpose");
    }));
    assert!(panicked.is_err() && lock.try_lock_cpu(0).is_some());
    std::mem::forget(lock.lock_cpu(0));
    assert!(lock.try_lock_cpu(0).is_none());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(lock.lock_cpu(lock.cpus())))).is_err());
}

/// A holder that does not run keeps the others from its CPU's part only.
#[test]
fn a_sleeping_holder() {
    in_time(|| {
        let lock = canaries();
        let (stop, guard) = (AtomicBool::new(false), lock.lock());
        let passed = AtomicU64::new(0);
        let held = guard.cpu();
        thread::scope(|scope| {
            for cpu in cpus::allowed().into_iter().filter(|&cpu| cpu as u32 != held) {
                let (lock, stop, passed) = (&lock, &stop, &passed);
                let thread = scope.spawn(move || {
                    cpus::restrict(0, &[cpu]);
                    while !stop.load(SeqCst) {
                        lock.lock().enter();
                        passed.fetch_add(1, SeqCst);
                    }
                });
                let before = passed.load(SeqCst);
                while passed.load(SeqCst) < before + 100 && !thread.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            stop.store(true, SeqCst);
        });
        drop(guard);
    });
}

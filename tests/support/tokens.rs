//! Locks behind `lock_api` 0.4 under stress: readers that end remove whatever token they find.

use super::cpus;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use stillpoint::lock::v04::{RwLock, lock_api};

/// Reads that open the gate of a lock for sure, unless writers come.
pub(crate) const ENOUGH: usize = 2000;

pub(crate) fn opened<T>(value: T) -> RwLock<T> {
    let lock = RwLock::new(value);
    (0..ENOUGH).for_each(|_| drop(lock.read()));
    lock
}

pub(crate) fn locks(n: usize) -> Vec<RwLock<Pair>> {
    (0..n).map(|_| opened(Pair::default())).collect()
}

/// What the stress tests protect: writers count both up by steps that are not atomic.
#[derive(Debug, Default)]
pub(crate) struct Pair([UnsafeCell<u64>; 2]);

// SAFETY: only the lock's holders touch it.
unsafe impl Sync for Pair {}

impl Pair {
    fn read(&self) -> u64 {
        // SAFETY: the caller reads under the lock. Volatile: each is to be looked at.
        let [a, b] = [0, 1].map(|i| unsafe { self.0[i].get().read_volatile() });
        assert_eq!(a, b, "a writer is not alone");
        a
    }

    fn write(&self) {
        let before = self.read();
        for cell in &self.0 {
            // SAFETY: the caller has the lock exclusively.
            unsafe { cell.get().write_volatile(before + 1) };
        }
    }
}

/// Knows only the traits. Readers and writers of some locks, on threads that move.
pub(crate) fn stress<R>(
    locks: &[lock_api::RwLock<R, Pair>],
    length: Duration,
    writer_pause: Duration,
) where
    R: lock_api::RawRwLockUpgradeTimed<Duration = Duration>
        + lock_api::RawRwLockDowngrade
        + lock_api::RawRwLockUpgradeDowngrade
        + Sync,
{
    let allowed = cpus::allowed();
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let running = || !stop.load(Ordering::Relaxed);
    let pick = |random: &mut Random| &locks[random.below(locks.len())];
    thread::scope(|s| {
        for seed in 1..=4 {
            let (allowed, running, pick) = (&allowed, &running, &pick);
            s.spawn(move || {
                let mut random = Random(seed);
                while running() {
                    let home = [allowed[random.below(allowed.len())]];
                    let away = [allowed[random.below(allowed.len())]];
                    cpus::restrict(0, &home);
                    // Several at once, of several locks, so that slots run out; never one lock
                    // twice: a writer may be between.
                    let first = random.below(locks.len());
                    let many = 1 + random.below(locks.len());
                    let mut guards: Vec<_> = (first..first + many)
                        .filter_map(|i| locks[i % locks.len()].try_read())
                        .collect();
                    if random.below(4) == 0 {
                        cpus::restrict(0, &away);
                    }
                    while !guards.is_empty() {
                        let guard = guards.swap_remove(random.below(guards.len()));
                        guard.read();
                    }
                    for _ in 0..random.below(3000) {
                        pick(&mut random).read().read();
                    }
                }
                cpus::restrict(0, allowed);
            });
        }
        for seed in 11..=12 {
            let (writes, running, pick) = (&writes, &running, &pick);
            s.spawn(move || {
                let mut random = Random(seed);
                while running() {
                    let lock = pick(&mut random);
                    let written = match random.below(5) {
                        0 => lock.try_write().is_some_and(|pair| (pair.write(), true).1),
                        1 => {
                            let patience = Duration::from_micros(random.below(300) as u64);
                            lock.try_write_for(patience).is_some_and(|pair| (pair.write(), true).1)
                        }
                        2 => {
                            let upgradable = lock.upgradable_read();
                            let before = upgradable.read();
                            let write = lock_api::RwLockUpgradableReadGuard::upgrade(upgradable);
                            assert_eq!(write.read(), before, "somebody wrote in between");
                            write.write();
                            true
                        }
                        3 => {
                            let write = lock.write();
                            write.write();
                            let now = write.read();
                            let read = lock_api::RwLockWriteGuard::downgrade(write);
                            assert_eq!(read.read(), now, "somebody wrote in between");
                            true
                        }
                        _ => {
                            lock.write().write();
                            true
                        }
                    };
                    writes.fetch_add(u64::from(written), Ordering::Relaxed);
                    thread::sleep(writer_pause);
                }
            });
        }
        thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
    });
    let total: u64 = locks.iter().map(|lock| lock.try_write().unwrap().read()).sum();
    assert_eq!(total, writes.into_inner(), "writes were lost");
    assert!(total > 0);
}

/// A small generator: the tests need no more.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % n
    }
}

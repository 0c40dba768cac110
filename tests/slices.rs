//! The time-slice extension, where the kernel has it: granted, given back, counted.
//!
//! Everywhere else locks must do without it, and the test is skipped; but not where
//! `STILLPOINT_EXPECT` says `slices=yes`. The protocol itself is tested against a fake area in
//! `src/machine/slice.rs`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/cpus.rs"]
mod cpus;
#[path = "support/expect.rs"]
mod expect;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::lock::lock_api;
use stillpoint::lock::{RawMutex, RawSpinLock, has_slice_extension, slice_statistics};

/// Threads on each CPU: more than one, so that time slices end.
const CROWD: usize = 3;
const ROUND: Duration = Duration::from_millis(300);

/// Takes the calling thread the extension that it has, or may get.
fn without() {
    const PR_RSEQ_SLICE_EXTENSION: libc::c_int = 79;
    const SET: libc::c_ulong = 2;
    has_slice_extension();
    let none: libc::c_ulong = 0;
    // SAFETY: a call of numbers; a kernel that does not know it refuses.
    unsafe { libc::prctl(PR_RSEQ_SLICE_EXTENSION, SET, none, none, none) };
}

/// How often threads on each CPU have had the lock in a while. Sections are much shorter than a
/// grant.
fn crowd<R>(extended: bool) -> u64
where
    R: lock_api::RawMutex + Send + Sync,
{
    let lock = lock_api::Mutex::<R, u64>::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for cpu in cpus::allowed() {
            for _ in 0..CROWD {
                let (lock, stop) = (&lock, &stop);
                scope.spawn(move || {
                    cpus::restrict(0, &[cpu]);
                    if !extended {
                        without();
                    }
                    while !stop.load(Relaxed) {
                        let mut count = lock.lock();
                        (0..20).for_each(|_| _ = black_box(&mut *count));
                        *count += 1;
                        drop(count);
                        spin_loop();
                    }
                });
            }
        }
        thread::sleep(ROUND);
        stop.store(true, Relaxed);
    });
    lock.into_inner()
}

/// One test: the numbers are the process's.
#[test]
fn are_granted_and_given_back() {
    tiers::in_time(|| {
        nested_locks();
        if !has_slice_extension() {
            expect::skip("slices", "grants: no time-slice extension");
            crowd::<RawMutex>(true);
            assert_eq!(slice_statistics().granted, 0);
            return;
        }
        let begin = Instant::now();
        loop {
            let with = [crowd::<RawMutex>(true), crowd::<RawSpinLock>(true)];
            let now = slice_statistics();
            assert_eq!(now.granted, now.yielded + now.ended_by_wake + now.revoked);
            let without = [crowd::<RawMutex>(false), crowd::<RawSpinLock>(false)];
            let after = slice_statistics();
            println!("{now:?}; mutex, spin lock: {with:?}, without: {without:?} in {ROUND:?}");
            // (`revoked` counts those who asked and lost their CPU: it clears the bytes of a thread
            // without as well.)
            assert_eq!(after.yielded, now.yielded, "granted to threads without");
            if now.granted > 0 && now.yielded > 0 {
                break;
            }
            assert!(begin.elapsed() < tiers::PATIENCE / 2, "none granted, or none given back");
        }
    });
}

/// Guards that overlap, on a thread that had to wait for each.
fn nested_locks() {
    let locks = [const { lock_api::Mutex::<RawMutex, u32>::new(0) }; 3];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let a = locks[0].lock();
                    let b = locks[1].lock();
                    drop(a);
                    let mut c = locks[2].lock();
                    *c += 1;
                    drop(b);
                    drop(c);
                }
            });
        }
    });
    assert_eq!(*locks[2].lock(), 20_000);
}

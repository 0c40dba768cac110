//! Per-CPU pools: what they promise, and that no memory has two owners.

#![cfg(target_os = "linux")]

#[path = "support/pool_stress.rs"]
mod stress;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use stillpoint::percpu::{Pool, PoolBox, PoolLimits};
use stress::crowd::cpus;

#[test]
fn memory_is_used_again() {
    cpus::restrict(0, &cpus::allowed()[..1]);
    let pool = Pool::new();
    let at = std::ptr::from_ref(&*pool.boxed(1_u64));
    assert_eq!(std::ptr::from_ref(&*pool.boxed(2)), at);
    assert_eq!(pool.statistics().cells, 1);
}

#[test]
fn values_of_all_sizes() {
    #[repr(align(256))]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Aligned(u8);
    fn check<T: Copy + PartialEq + std::fmt::Debug>(value: T) {
        let pool = Pool::new();
        for _ in 0..3 {
            let boxes: Vec<_> = (0..200).map(|_| pool.boxed(value)).collect();
            for one in &boxes {
                assert_eq!(**one, value);
                assert!(std::ptr::from_ref(&**one).addr().is_multiple_of(align_of::<T>()));
            }
        }
    }
    check(());
    check(7_u8);
    check([1_u64; 3]);
    check([3_u16; 1001]);
    check(Aligned(9));
    check([7_u64; 40_000]);
}

/// Counts its ends.
struct Counted<'a>(&'a AtomicUsize, bool);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        assert!(!self.1, "as told");
    }
}

#[test]
fn values_end_once() {
    let ends = AtomicUsize::new(0);
    let pool = Pool::new();
    let boxes: Vec<_> = (0..100).map(|_| pool.boxed(Counted(&ends, false))).collect();
    assert_eq!(ends.load(Relaxed), 0);
    drop(boxes);
    assert_eq!(ends.load(Relaxed), 100);
    let value = pool.boxed(Counted(&ends, false)).into_inner();
    assert_eq!(ends.load(Relaxed), 100);
    drop((value, pool));
    assert_eq!(ends.load(Relaxed), 101);
}

#[test]
fn an_end_that_panics_gives_the_memory_back() {
    let ends = AtomicUsize::new(0);
    let pool = Pool::new();
    let value = pool.boxed(Counted(&ends, true));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value)));
    assert!(panic.is_err());
    assert_eq!(pool.statistics().cached(), 1);
}

/// A box keeps the pool it comes from.
#[test]
fn the_last_box_ends_the_pool() {
    let pool = Arc::new(Pool::new());
    let boxes: Vec<_> = (0..10).map(|n| PoolBox::new_in(n, pool.clone())).collect();
    let weak = Arc::downgrade(&pool);
    drop(pool);
    assert_eq!(boxes.iter().map(|n| **n).sum::<i32>(), 45);
    std::thread::spawn(move || drop(boxes)).join().unwrap();
    assert!(weak.upgrade().is_none());
}

#[test]
fn limits_hold() {
    let pool = Pool::with_limits(PoolLimits::new().per_cpu(8, 1 << 20).depot(20, 1 << 20));
    let most = || {
        let caches = pool.statistics().caches.len() as u64 + 1;
        caches * 8 + 20
    };
    for _ in 0..10 {
        let boxes: Vec<_> = (0..1000).map(|n| pool.boxed([n; 8])).collect();
        assert!(pool.statistics().cells >= 1000);
        drop(boxes);
        let seen = pool.statistics();
        assert!(seen.cells <= most(), "{seen:?}");
        assert!(seen.depot <= 20, "{seen:?}");
        assert!(seen.caches.iter().all(|cache| cache.cached <= 8), "{seen:?}");
    }
    pool.trim();
    let seen = pool.statistics();
    assert_eq!((seen.cells, seen.cached(), seen.depot), (0, 0, 0));
}

/// Limits change while the pool is in use; what is too much goes.
#[test]
fn limits_change() {
    let limits = PoolLimits::new().per_cpu(8, 1 << 20).depot(20, 1 << 20);
    let pool = Pool::with_limits(limits.room(32));
    let fill = || drop((0..200).map(|n| pool.boxed([n; 8])).collect::<Vec<_>>());
    for (limit, depot) in [(8, 20), (32, 7), (3, 0), (50, 20), (0, 0), (1, 1), (8, 20)] {
        pool.set_limits(limits.per_cpu(limit, 1 << 20).depot(depot, 1 << 20));
        assert_eq!((pool.capacity_per_cpu(), pool.capacity_of_depot()), (limit.min(32), depot));
        for _ in 0..2 {
            let seen = pool.statistics();
            let most = limit.min(32) as u64;
            assert!(seen.caches.iter().all(|cache| cache.cached <= most), "{limit}: {seen:?}");
            assert!(seen.depot <= depot as u64 && seen.shared.cached <= most, "{limit}: {seen:?}");
            assert_eq!(seen.cells, seen.cached() + seen.depot, "{limit}: {seen:?}");
            fill();
        }
    }
    assert!(pool.statistics().cells > 0);
}

/// A pool that may keep nothing is the allocator.
#[test]
fn no_room_at_all() {
    for limits in [PoolLimits::new().per_cpu(0, 0).depot(0, 0), PoolLimits::new().per_cpu(0, 99)] {
        let pool = Pool::with_limits(limits);
        (0..10).for_each(|_| drop([pool.boxed(1), pool.boxed(2)]));
        assert_eq!(pool.statistics().cached(), 0);
        assert!(pool.statistics().cells <= pool.capacity_of_depot() as u64);
    }
}

/// What one CPU frees another can use, by the depot; also if the CPU is gone.
#[test]
fn a_cpu_is_drained_from_elsewhere() {
    let allowed = cpus::allowed();
    let pool = Pool::new();
    let boxes: Vec<_> = (0..20).map(|n| pool.boxed(n)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cpus::restrict(0, &allowed[..1]);
            drop(boxes);
        });
    });
    let before = pool.statistics();
    assert_eq!((before.cached(), before.depot), (20, 0));
    (0..before.caches.len()).for_each(|cpu| pool.drain(cpu));
    pool.drain(usize::MAX);
    let behind = pool.statistics();
    assert!(behind.caches.iter().all(|cache| cache.cached == 0), "{behind:?}");
    assert_eq!(behind.depot + behind.shared.cached, 20, "{behind:?}");
    let boxes: Vec<_> = (0..20).map(|n| pool.boxed(n)).collect();
    assert_eq!(pool.statistics().cells, 20, "{:?}", pool.statistics());
    drop(boxes);
}

/// Memory is bounded by CPUs, not by threads.
#[test]
fn ten_thousand_threads() {
    const AT_ONCE: usize = 200;
    static POOL: Pool<[u8; 100]> = Pool::new();
    for _ in 0..10_000 / AT_ONCE {
        let barrier = Barrier::new(AT_ONCE);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                std::thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn_scoped(scope, || {
                        let mut boxes: Vec<_> = (0..4).map(|_| POOL.boxed([1; 100])).collect();
                        barrier.wait();
                        boxes.truncate(1);
                    })
                    .unwrap();
            }
        });
    }
    let seen = POOL.statistics();
    let caches = seen.caches.len() + 1;
    let most = caches * POOL.capacity_per_cpu() + POOL.capacity_of_depot();
    assert!(seen.cells <= most as u64, "{} of {most}", seen.cells);
    assert_eq!(seen.cells, seen.cached() + seen.depot);
}

/// `STILLPOINT_STRESS_SECONDS` says how long.
#[test]
fn no_memory_has_two_owners() {
    let seconds = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let report = stress::run(Duration::from_secs(seconds));
    println!("{report:?}");
    assert_eq!(report.violations, 0);
    assert_ne!(report.operations, 0);
}

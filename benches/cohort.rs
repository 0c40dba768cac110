//! What a cohort lock costs on a machine with one cohort, beside locks that know of none.
//!
//! ```text
//! cargo bench --bench cohort
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `cohort/alone` | lock, add one, unlock; one thread |
//! | `cohort/two` | the same by two threads at once: the time the program needs for one |
//! | `cohort/eight` | the same by eight threads: on two CPUs, holders and waiters are preempted |
//!
//! What it is for, several memory nodes, is the simulator's to judge: `tools/sim`.

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};
use stillpoint::lock::{ByLastLevelCache, ByNode, RawCohortMutex, lock_api};

type Lock<R> = lock_api::Mutex<R, u64>;

/// Adds one so often in all, by so many threads; the time from when all are there.
fn threads(number: u64, times: u64, add: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(number as usize + 1);
    let mut begin = Instant::now();
    scope(|s| {
        for _ in 0..number {
            s.spawn(|| {
                barrier.wait();
                (0..times.div_ceil(number)).for_each(|_| add());
            });
        }
        barrier.wait();
        begin = Instant::now();
    });
    begin.elapsed()
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    number: u64,
    add: impl Fn() + Sync,
) {
    group.bench_function(name, |bencher| match number {
        1 => bencher.iter(&add),
        _ => bencher.iter_custom(|times| threads(number, times, &add)),
    });
}

fn cohorts<R: lock_api::RawMutex + Sync>() -> Lock<R> {
    Lock::new(0)
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for (name, number) in [("alone", 1), ("two", 2), ("eight", 8)] {
        let mut group = criterion.benchmark_group(format!("cohort/{name}"));
        let by_node = cohorts::<RawCohortMutex<ByNode>>();
        let by_cache = cohorts::<RawCohortMutex<ByLastLevelCache>>();
        let (parking_lot, std) = (parking_lot::Mutex::new(0_u64), std::sync::Mutex::new(0_u64));
        measure(&mut group, "by node", number, || *by_node.lock() += 1);
        measure(&mut group, "by cache", number, || *by_cache.lock() += 1);
        measure(&mut group, "parking_lot", number, || *parking_lot.lock() += 1);
        measure(&mut group, "std", number, || *std.lock().unwrap() += 1);
        group.finish();
    }
    criterion.final_summary();
}

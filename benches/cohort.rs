//! What a cohort lock costs on a machine with one cohort, where it is a plain lock, and what its queue
//! costs there, beside locks that know of none.
//!
//! ```text
//! cargo bench --bench cohort               criterion's groups, then the summary
//! cargo bench --bench cohort -- summary    the summary alone, a quarter of a minute
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `cohort/alone` | lock, add one, unlock; one thread |
//! | `cohort/two` | the same by two threads at once: the time the program needs for one |
//! | `cohort/eight` | the same by eight threads: on two CPUs, holders and waiters are preempted |
//!
//! What it is for, several memory nodes, is the simulator's to judge: `tools/sim`.

#[path = "common/claims.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod claims;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;

use claims::{Measured, Run};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread::scope;
use std::time::{Duration, Instant};
use stillpoint::lock::{ByLastLevelCache, ByNode, Cohorts, RawCohortMutex, RawMutex, lock_api};

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

/// One cohort, of which the library knows nothing: its waiters queue.
struct Queue;

impl Cohorts for Queue {
    fn cohort() -> u32 {
        0
    }
}

/// The locks with what is done to them, by name.
type Adders = [(&'static str, Box<dyn Fn() + Sync>); 6];

fn adders() -> Adders {
    let by_node = cohorts::<RawCohortMutex<ByNode>>();
    let by_cache = cohorts::<RawCohortMutex<ByLastLevelCache>>();
    let queue = cohorts::<RawCohortMutex<Queue>>();
    let mutex = cohorts::<RawMutex>();
    let (parking_lot, std) = (parking_lot::Mutex::new(0_u64), std::sync::Mutex::new(0_u64));
    [
        (BY_NODE, Box::new(move || *by_node.lock() += 1)),
        (BY_CACHE, Box::new(move || *by_cache.lock() += 1)),
        (QUEUE, Box::new(move || *queue.lock() += 1)),
        (MUTEX, Box::new(move || *mutex.lock() += 1)),
        ("parking_lot", Box::new(move || *parking_lot.lock() += 1)),
        ("std", Box::new(move || *std.lock().unwrap() += 1)),
    ]
}

const BY_NODE: &str = "stillpoint, by node";
const BY_CACHE: &str = "stillpoint, by cache";
const QUEUE: &str = "stillpoint, the queue";
const MUTEX: &str = "stillpoint Mutex";
const THREADS: [(&str, u64); 3] = [("alone", 1), ("two", 2), ("eight", 8)];

static BENCH: record::Bench =
    record::Bench { name: "cohort", is_ours: |name| name.starts_with("stillpoint"), floors: &[] };

fn main() -> ExitCode {
    harness::main(&BENCH, criterion_groups, summary)
}

fn criterion_groups(criterion: &mut Criterion) {
    for (name, number) in THREADS {
        let mut group = criterion.benchmark_group(format!("cohort/{name}"));
        for (name, add) in adders() {
            measure(&mut group, name, number, add);
        }
        group.finish();
    }
}

/// Rounds, and times that a lock is taken in one of them.
const ROUNDS: usize = 51;
const TIMES: u64 = 100_000;

fn summary(options: &harness::Quick) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");
    let all = adders();
    let mut runs = vec![];
    for (_, number) in THREADS {
        let by = by(number);
        for (name, add) in &all {
            let run = move || threads(number, TIMES, add).as_nanos() as f64 / TIMES as f64;
            runs.push(Run::new(name, run).at(&by));
        }
    }
    let title = "Lock, add one, unlock: time of the whole";
    let m = Measured::interleaved(title, rounds, runs);
    for (_, number) in THREADS {
        let by = by(number);
        m.claim(&format!("{BY_NODE}, {by}"), &format!("parking_lot, {by}"));
        m.claim(&format!("{BY_CACHE}, {by}"), &format!("parking_lot, {by}"));
        m.claim(&format!("{BY_NODE}, {by}"), &format!("{MUTEX}, {by}"));
    }
}

fn by(number: u64) -> String {
    format!("{number} thread{}", if number == 1 { "" } else { "s" })
}

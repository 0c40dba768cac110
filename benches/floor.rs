//! What the sequences of the unsafe floor cost, one by one, beside atomic instructions and locks
//! that do the same, and its fences beside the system call that they make.
//!
//! ```text
//! cargo bench --bench floor               criterion's groups, then the summary
//! cargo bench --bench floor -- summary    the summary alone, two minutes
//! cargo bench --bench floor -- swap       criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `add` | add 1 to a word |
//! | `commit` | look at a word, and change it if it is as it was |
//! | `store` | store an item, then the position behind it |
//! | `copy_16`, `copy_64` | copy so many bytes, then store the position behind them |
//! | `swap` | put a word in the place of what is there |
//! | `pop` | take the first node of a list |
//! | `fence`, `fence_cpu` | wait for the sequences that have begun, on all CPUs or on one's own |
//!
//! Criterion measures them in one thread. The summary does by one and by two, each on a CPU of its
//! own: what a word that all share costs shows with the second; it interleaves them, and is what we
//! quote. An operation is tried until it is done. Below tier `rseq` there is nothing to measure.

#[path = "common/claims.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod claims;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "floor/ways.rs"]
mod ways;

use claims::{Measured, Run};
use criterion::Criterion;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use ways::{NOTHING, Way};

static BENCH: record::Bench =
    record::Bench { name: "floor", is_ours: ways::is_ours, floors: &[NOTHING] };

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    let groups = |criterion: &mut Criterion| criterion_groups(criterion, &cpus);
    harness::main(&BENCH, groups, |options| summary(options, &cpus))
}

/// Whether there are sequences; says so if not.
fn has_sequences() -> bool {
    let tier = stillpoint::machine().tier();
    if tier != Tier::Rseq {
        record::skip(&format!("sequences and their fences: on tier {tier} there are none"));
    }
    tier == Tier::Rseq
}

/// By the name of criterion's group and the title of the table.
fn groups() -> [(&'static str, &'static str, Vec<Way>); 7] {
    [
        ("add", "Adding 1", ways::adds()),
        ("commit", "Compare, and store", ways::commits()),
        ("store", "Store 8 bytes, then the position", ways::stores()),
        ("copy_16", "Copy 16 bytes, then the position", ways::copies::<2>()),
        ("copy_64", "Copy 64 bytes, then the position", ways::copies::<8>()),
        ("swap", "Exchange a word", ways::swaps()),
        ("pop", "The first node of a list", ways::pops()),
    ]
}

fn time(way: &Way, times: u64) -> Duration {
    let start = Instant::now();
    (way.run)(times);
    start.elapsed()
}

fn criterion_groups(criterion: &mut Criterion, cpus: &[usize]) {
    if !has_sequences() || !clock::pin(cpus[0]) {
        return;
    }
    let all = groups().map(|(name, _, ways)| (name, ways));
    let fences = [("fence", ways::fences()), ("fence_cpu", ways::fences_to(cpus[0] as u32))];
    for (name, ways) in all.into_iter().chain(fences) {
        let mut group = criterion.benchmark_group(name);
        for way in ways {
            group.bench_function(way.name, |b| b.iter_custom(|n| time(&way, n)));
        }
        group.finish();
    }
}

/// Rounds, and operations of one thread in one of them.
const ROUNDS: usize = 101;
const OPERATIONS: u64 = 100_000;
/// The same of what takes microseconds.
const FENCES: u64 = 200;

fn summary(options: &harness::Quick, cpus: &[usize]) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");
    if !has_sequences() {
        return;
    }
    if !clock::pin(cpus[0]) {
        return record::skip("all of it: this takes leave to pin threads");
    }
    if cpus.len() < 2 {
        record::skip("two threads, fences to another CPU: this takes two CPUs");
    }
    for (_, title, ways) in groups() {
        let mut runs = vec![];
        for way in &ways {
            let alone = move || {
                // For nothing: brings back to the caches what the one before us put out.
                time(way, OPERATIONS);
                time(way, OPERATIONS).as_nanos() as f64 / OPERATIONS as f64
            };
            runs.push(Run::new(way.name, alone).at(ALONE));
            if cpus.len() >= 2 {
                runs.push(Run::new(way.name, move || by_two(way, &cpus[..2])).at("2 threads"));
            }
        }
        let m = Measured::interleaved(title, rounds, runs);
        compare(&m, &ways, ALONE);
    }
    fences(cpus, rounds);
}

const ALONE: &str = "1 thread";
const IDLE: &str = "no other thread";

/// What each of two threads needs for an operation: as much as one alone, if they do not hinder
/// each other.
fn by_two(way: &Way, cpus: &[usize]) -> f64 {
    let warm_up = |_| (way.run)(clock::WARM_UP);
    let span = clock::together(2, cpus, warm_up, |_| (way.run)(OPERATIONS));
    span.length().as_nanos() as f64 / OPERATIONS as f64
}

/// Beside a busy thread, and in a process of one thread, where the kernel has least to do.
fn fences(cpus: &[usize], rounds: usize) {
    let there = cpus.get(1).copied();
    let beside = |there: usize, work: &dyn Fn() -> f64| {
        clock::beside(|times| (0..times).for_each(|_| std::hint::spin_loop()), there, work)
    };
    let each = |way: &Way| time(way, FENCES).as_nanos() as f64 / FENCES as f64;
    let all = ways::fences();
    let mut runs = vec![];
    for way in &all {
        runs.push(Run::new(way.name, move || each(way)).at(IDLE));
        if let Some(there) = there {
            let busy = move || beside(there, &|| each(way));
            runs.push(Run::new(way.name, busy).at("a busy thread on another CPU"));
        }
    }
    let m = Measured::interleaved("Wait for the sequences of all CPUs", rounds, runs);
    compare(&m, &all, IDLE);

    let own = ways::fences_to(cpus[0] as u32);
    let another = there.map_or(vec![], |there| ways::fences_to(there as u32));
    let mut runs = vec![];
    for way in &own {
        runs.push(Run::new(way.name, move || each(way)).at(IDLE));
    }
    for (ways, setting) in [(&own, BESIDE), (&another, "another, which has a busy thread")] {
        for (way, there) in ways.iter().zip(there.into_iter().cycle()) {
            let busy = move || beside(there, &|| each(way));
            runs.push(Run::new(way.name, busy).at(setting));
        }
    }
    let m = Measured::interleaved("Wait for the sequences of one CPU", rounds, runs);
    compare(&m, &own, if there.is_some() { BESIDE } else { IDLE });
}

const BESIDE: &str = "one's own, beside a busy thread";

/// Ours over each of the others.
fn compare(m: &Measured, ways: &[Way], setting: &str) {
    let name = |way: &Way| format!("{}, {setting}", way.name);
    let (ours, others): (Vec<_>, Vec<_>) = ways.iter().partition(|way| ways::is_ours(way.name));
    for ours in ours {
        others.iter().for_each(|&other| m.claim(&name(ours), &name(other)));
    }
}

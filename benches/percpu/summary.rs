//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is the
//! median of the rounds' ratios. Nothing here fails: a missed target is printed as missed.

use crate::claims::{AtLeast, AtMost, Context, Measured, Run, Target};
use crate::clock;
use crate::objects::{self, *};
use crate::peers::{self, *};
use crate::rings::{self, *};
use crate::rounds::{interleaved, quartiles};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const OPERATIONS: u64 = 50_000;
/// The same of what takes microseconds.
const SUMS: u64 = 50;
/// The same of what starts threads: so long that it does not matter when each of them gets its
/// turn.
const ROUNDS_OF_THREADS: usize = 31;
const BY_THREADS: u64 = 2_000_000;

/// Measures and prints everything that is claimed, or a part of it.
pub(crate) fn print(cpus: &[usize], part: &str) {
    let wanted = |name| part.is_empty() || part == name;
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {ROUNDS} interleaved rounds; ratios with their quartiles.");
    // In a thread of its own, since pinning lasts.
    let alone = |work: fn(&[usize])| {
        std::thread::scope(|s| s.spawn(|| work(cpus)).join().expect("measuring does not panic"));
    };
    if wanted("counts") {
        alone(counts_alone);
        threads(cpus);
    }
    if wanted("objects") {
        alone(objects_alone);
        objects_by_threads(cpus);
    }
    if wanted("records") {
        records(cpus);
    }
}

/// One thread, bound to the first CPU.
fn counts_alone(cpus: &[usize]) {
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    let peers = peers::ids();
    let m = Measured::interleaved("A number of the thread's", ROUNDS, runs(&peers, OPERATIONS));
    m.claim(CPU, LIBC_CPU, AtMost(0.3));
    m.claim(CPU, POINTER_CPU, Context);
    m.claim(CPU, CALL_CPU, Context);
    m.claim(NODE, CALL_CPU, Context);
    m.claim(CONCURRENCY, LIBC_CPU, Context);

    let peers = peers::counters();
    let m = Measured::interleaved("Adding 1, one thread", ROUNDS, runs(&peers, OPERATIONS));
    m.claim(COUNTER, ATOMIC, AtMost(0.35));
    m.claim(COUNTER, SHARDED, Context);
    m.claim(COUNTER, PER_CPU, Context);
    m.claim(COUNTER, CELL, Context);

    let peers = peers::histograms();
    let m =
        Measured::interleaved("Recording a value, one thread", ROUNDS, runs(&peers, OPERATIONS));
    m.claim(HISTOGRAM, HDR, Context);
    m.claim(HISTOGRAM, BUCKETS, Context);

    let (peers, adding) = (peers::sums(), peers::counters());
    let mut all = runs(&peers, SUMS);
    if let Some(&there) = cpus.get(1) {
        let (counter, exact) = (&adding[0], &peers[1]);
        let busy = move || clock::beside(&counter.run, there, || one(exact, SUMS));
        all.push((format!("{SUM_EXACT}, an adder on the other CPU"), Box::new(busy)));
    }
    let m = Measured::interleaved("Adding up", ROUNDS, all);
    m.claim(SUM, SUM_SHARDS, Context);
    m.claim(SUM_EXACT, SUM, Context);
}

fn one(peer: &Peer, operations: u64) -> f64 {
    time(|| (peer.run)(operations)).as_nanos() as f64 / operations as f64
}

fn runs(peers: &[Peer], operations: u64) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = vec![];
    for peer in peers {
        let run = move || {
            // For nothing: brings back to the caches what the one before us put out.
            one(peer, operations);
            one(peer, operations)
        };
        runs.push((peer.name.to_owned(), Box::new(run)));
    }
    runs
}

/// Several threads, to one counter.
fn threads(cpus: &[usize]) {
    let peers = peers::counters();
    let name = |peer: &str, threads: usize| format!("{peer} x{threads}");
    let mut runs: Vec<Run<'_>> = vec![];
    for peer in &peers {
        for threads in THREADS {
            let run = move || {
                let time = peers::by_threads(peer, threads, cpus, BY_THREADS);
                time.as_nanos() as f64 / BY_THREADS as f64
            };
            runs.push((name(peer.name, threads), Box::new(run)));
        }
    }
    let title = "Adding 1, by threads: wall time, times CPUs";
    let m = Measured::interleaved(title, ROUNDS_OF_THREADS, runs);
    for threads in &THREADS[1..] {
        m.claim(&name(COUNTER, *threads), &name(COUNTER, 1), AtMost(1.15));
    }
    for threads in THREADS {
        m.claim(&name(COUNTER, threads), &name(ATOMIC, 1), AtMost(0.35));
    }
    for threads in &THREADS[1..] {
        m.claim(&name(ATOMIC, *threads), &name(COUNTER, *threads), AtLeast(1.0));
        m.claim(&name(COUNTER, *threads), &name(SHARDED, *threads), Context);
        m.claim(&name(COUNTER, *threads), &name(PER_CPU, *threads), Context);
        m.claim(&name(COUNTER, *threads), &name(CELL, *threads), Context);
    }
}

/// Memory and objects, one thread, bound to the first CPU.
fn objects_alone(cpus: &[usize]) {
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    let pairs = [
        ("Memory for 64 bytes, and back, one thread", objects::pairs()),
        ("The same, forty at a time", objects::forties()),
    ];
    for (title, peers) in pairs {
        let m = Measured::interleaved(title, ROUNDS, runs(&peers, OPERATIONS));
        memory_claims(&m, AtMost(0.6), AtMost(1.1));
    }
    let peers = objects::elsewhere(cpus);
    let title = "The same, given back on another CPU";
    let m = Measured::interleaved(title, 5 * ROUNDS_OF_THREADS, runs(&peers, OPERATIONS));
    memory_claims(&m, Context, Context);
    let peers = objects::stacks();
    let title = "An object from a stack, and back, one thread";
    let m = Measured::interleaved(title, ROUNDS, runs(&peers, OPERATIONS));
    for peer in [SEG_QUEUE, TREIBER, MUTEX_VEC] {
        m.claim(STACK, peer, Context);
    }
}

fn memory_claims(m: &Measured, malloc: Target, cache: Target) {
    m.claim(POOL, GLIBC, malloc);
    m.claim(POOL, THREAD_VEC, cache);
    m.claim(POOL, MIMALLOC, Context);
    m.claim(POOL, JEMALLOC, Context);
}

/// The same by several.
fn objects_by_threads(cpus: &[usize]) {
    let memory = "Memory for 64 bytes, and back, by threads: CPU time";
    let stack = "An object from a stack, and back, by threads: CPU time";
    for (title, peers) in [(memory, objects::pairs()), (stack, objects::stacks())] {
        let mut runs: Vec<Run<'_>> = vec![];
        for peer in &peers {
            for threads in THREADS {
                let run = move || {
                    let time = peers::by_threads(peer, threads, cpus, BY_THREADS / 4);
                    time.as_nanos() as f64 / (BY_THREADS / 4) as f64
                };
                runs.push((format!("{} x{threads}", peer.name), Box::new(run)));
            }
        }
        let m = Measured::interleaved(title, ROUNDS_OF_THREADS / 2, runs);
        let (ours, others) = peers.split_first().expect("ours comes first");
        for other in others {
            for threads in THREADS {
                let name = |peer: &Peer| format!("{} x{threads}", peer.name);
                m.claim(&name(ours), &name(other), Context);
            }
        }
    }
}

/// Records of a stream, and rounds of it.
const RECORDS: u64 = 2_000_000;
const ROUNDS_OF_RECORDS: usize = 5;

fn records(cpus: &[usize]) {
    println!("\nRecords to one consumer that comes behind: ns for producers (CPU time), for it");
    for size in rings::SIZES {
        for producers in THREADS {
            let rounds =
                interleaved(5, PEERS.len(), |i| rings::burst(PEERS[i], size, producers, cpus));
            let best = |at: usize| {
                let median = |i: usize| quartiles(rounds[i].iter().map(|of| of[at]).collect())[1];
                (0..PEERS.len()).map(median).collect::<Vec<_>>()
            };
            let line: Vec<_> = best(0).into_iter().zip(best(1)).collect();
            println!("  {size} bytes, {producers} producers");
            for (name, (push, pop)) in PEERS.iter().zip(line) {
                println!("    {name:<26} {push:>8.1} {pop:>8.1}");
            }
        }
    }
    for (full, title) in
        [(Full::Drops, "a full queue drops"), (Full::Waits, "producers wait for space")]
    {
        println!("\nRecords to one consumer at work, millions a second; {title}");
        for size in rings::SIZES {
            for producers in THREADS {
                stream(size, producers, full, cpus);
            }
        }
    }
}

/// One line for each peer, and the ratio of the best of them.
fn stream(size: usize, producers: usize, full: Full, cpus: &[usize]) {
    let rounds = interleaved(ROUNDS_OF_RECORDS, PEERS.len(), |i| {
        rings::stream(PEERS[i], size, producers, cpus, RECORDS, full)
    });
    println!("  {size} bytes, {producers} producers: produced, consumed, dropped");
    let median =
        |i: usize, of: fn(&Stream) -> f64| quartiles(rounds[i].iter().map(of).collect())[1];
    for (i, name) in PEERS.iter().enumerate() {
        let rate = |of| median(i, of) / 1e6;
        let (produced, consumed) = (rate(|s| s.produced), rate(|s| s.consumed));
        let dropped = 100.0 * median(i, |s| s.dropped);
        println!("    {name:<26} {produced:>8.2} {consumed:>8.2} {dropped:>7.1} %");
    }
    let of = |i: usize| rounds[i].iter().map(|s| s.produced);
    // In each round, the best of the others.
    let others: Vec<Vec<f64>> = (2..PEERS.len()).map(|i| of(i).collect()).collect();
    let best = |round: usize| others.iter().map(|o| o[round]).fold(0.0, f64::max);
    let ratios = of(0).enumerate().map(|(round, ours)| ours / best(round)).collect();
    let target = if producers == 8 { AtLeast(5.0) } else { Context };
    crate::claims::verdict("Ring, produced / the best of the others", ratios, target);
}

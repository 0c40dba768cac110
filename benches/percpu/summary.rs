//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is the
//! median of the rounds' ratios. Nothing here fails: a missed target is printed as missed.

use crate::claims::{AtLeast, AtMost, Context, Measured, Run};
use crate::clock;
use crate::peers::{self, *};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const OPERATIONS: u64 = 50_000;
/// The same of what takes microseconds.
const SUMS: u64 = 50;
/// The same of what starts threads: so long that it does not matter when each of them gets its
/// turn.
const ROUNDS_OF_THREADS: usize = 31;
const BY_THREADS: u64 = 2_000_000;

/// Measures and prints everything that is claimed.
pub(crate) fn print(cpus: &[usize]) {
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {ROUNDS} interleaved rounds; ratios with their quartiles.");
    // In a thread of its own, since pinning lasts.
    std::thread::scope(|scope| {
        scope.spawn(|| alone(cpus)).join().expect("measuring does not panic");
    });
    threads(cpus);
}

/// One thread, bound to the first CPU.
fn alone(cpus: &[usize]) {
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

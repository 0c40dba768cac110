//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is the
//! median of the rounds' ratios. Nothing here fails: a missed target is printed as missed.

use crate::claims::{Measured, Run, verdict};
use crate::clock;
use crate::objects::{self, *};
use crate::peers::{self, *};
use crate::record::{self, Rounds};
use crate::rings::{self, *};
use crate::rounds::{interleaved, quartiles};
use bench_data::Better::{self, Less, More, Neither};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const OPERATIONS: u64 = 50_000;
/// The same of what takes microseconds.
const SUMS: u64 = 50;
/// The same of what starts threads: so long that it does not matter when each of them gets its
/// turn.
const ROUNDS_OF_THREADS: usize = 31;
const BY_THREADS: u64 = 2_000_000;

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Counts,
    Objects,
    Records,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only a part
    part: Option<Part>,
    /// A tenth of the rounds, and of the records
    #[arg(long)]
    quick: bool,
}

/// Where everything is measured, and how often.
struct Field<'a> {
    cpus: &'a [usize],
    quick: bool,
}

impl Field<'_> {
    fn less<N: From<u8> + std::ops::Div<Output = N> + Ord>(&self, number: N) -> N {
        if self.quick { (number / N::from(10)).max(N::from(3)) } else { number }
    }
}

/// Measures and prints everything that is claimed, or a part of it.
pub(crate) fn print(cpus: &[usize], options: &Options) {
    let field = &Field { cpus, quick: options.quick };
    let wanted = |part| options.part.is_none_or(|asked| asked == part);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    let rounds = field.less(ROUNDS);
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");
    // In a thread of its own, since pinning lasts.
    let alone = |work: fn(&Field<'_>)| {
        std::thread::scope(|s| s.spawn(|| work(field)).join().expect("measuring does not panic"));
    };
    if wanted(Part::Counts) {
        alone(counts_alone);
        threads(field);
    }
    if wanted(Part::Objects) {
        alone(objects_alone);
        objects_by_threads(field);
    }
    if wanted(Part::Records) {
        records(field);
    }
}

/// One thread, bound to the first CPU.
fn counts_alone(field: &Field<'_>) {
    let (cpus, rounds) = (field.cpus, field.less(ROUNDS));
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    let peers = peers::ids();
    let m = Measured::interleaved("A number of the thread's", rounds, runs(&peers, OPERATIONS));
    m.claim(CPU, LIBC_CPU);
    m.claim(CPU, POINTER_CPU);
    m.claim(CPU, CALL_CPU);
    m.claim(NODE, CALL_CPU);
    m.claim(CONCURRENCY, LIBC_CPU);

    let peers = peers::counters();
    let m = Measured::interleaved("Adding 1, one thread", rounds, runs(&peers, OPERATIONS));
    m.claim(COUNTER, ATOMIC);
    m.claim(COUNTER, SHARDED);
    m.claim(COUNTER, PER_CPU);
    m.claim(COUNTER, CELL);

    let peers = peers::histograms();
    let m =
        Measured::interleaved("Recording a value, one thread", rounds, runs(&peers, OPERATIONS));
    m.claim(HISTOGRAM, HDR);
    m.claim(HISTOGRAM, BUCKETS);

    let (peers, adding) = (peers::sums(), peers::counters());
    let mut all = runs(&peers, SUMS);
    if let Some(&there) = cpus.get(1) {
        let (counter, exact) = (&adding[0], &peers[1]);
        let busy = move || clock::beside(&counter.run, there, || one(exact, SUMS));
        all.push(Run::new(SUM_EXACT, busy).at("an adder on the other CPU"));
    }
    let m = Measured::interleaved("Adding up", rounds, all);
    m.claim(SUM, SUM_SHARDS);
    m.claim(SUM_EXACT, SUM);
}

fn by(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

fn producers_of(number: usize) -> String {
    format!("{number} producer{}", if number == 1 { "" } else { "s" })
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
        runs.push(Run::new(peer.name, run));
    }
    runs
}

/// Several threads, to one counter.
fn threads(field: &Field<'_>) {
    let (cpus, times) = (field.cpus, field.less(BY_THREADS));
    let peers = peers::counters();
    let name = |peer: &str, threads: usize| format!("{peer}, {}", by(threads));
    let mut runs: Vec<Run<'_>> = vec![];
    for peer in &peers {
        for threads in THREADS {
            let run = move || {
                let time = peers::by_threads(peer, threads, cpus, times);
                time.as_nanos() as f64 / times as f64
            };
            runs.push(Run::new(peer.name, run).at(by(threads)));
        }
    }
    let title = "Adding 1, by threads: wall time, times CPUs";
    let m = Measured::interleaved(title, field.less(ROUNDS_OF_THREADS), runs);
    for threads in &THREADS[1..] {
        m.claim(&name(COUNTER, *threads), &name(COUNTER, 1));
    }
    for threads in THREADS {
        m.claim(&name(COUNTER, threads), &name(ATOMIC, 1));
    }
    for threads in &THREADS[1..] {
        m.claim(&name(ATOMIC, *threads), &name(COUNTER, *threads));
        m.claim(&name(COUNTER, *threads), &name(SHARDED, *threads));
        m.claim(&name(COUNTER, *threads), &name(PER_CPU, *threads));
        m.claim(&name(COUNTER, *threads), &name(CELL, *threads));
    }
}

/// Memory and objects, one thread, bound to the first CPU.
fn objects_alone(field: &Field<'_>) {
    let (cpus, rounds) = (field.cpus, field.less(ROUNDS));
    if let Some(&cpu) = cpus.first() {
        clock::pin(cpu);
    }
    let pairs = [
        ("Memory for 64 bytes, and back, one thread", objects::pairs()),
        ("The same, forty at a time", objects::forties()),
    ];
    for (title, peers) in pairs {
        let m = Measured::interleaved(title, rounds, runs(&peers, OPERATIONS));
        memory_claims(&m);
    }
    let peers = objects::elsewhere(cpus);
    let title = "The same, given back on another CPU";
    let m =
        Measured::interleaved(title, field.less(5 * ROUNDS_OF_THREADS), runs(&peers, OPERATIONS));
    memory_claims(&m);
    let peers = objects::stacks();
    let title = "An object from a stack, and back, one thread";
    let m = Measured::interleaved(title, rounds, runs(&peers, OPERATIONS));
    for peer in [SEG_QUEUE, TREIBER, MUTEX_VEC] {
        m.claim(STACK, peer);
    }
}

fn memory_claims(m: &Measured) {
    m.claim(POOL, GLIBC);
    m.claim(POOL, THREAD_VEC);
    m.claim(POOL, MIMALLOC);
    m.claim(POOL, JEMALLOC);
}

/// The same by several.
fn objects_by_threads(field: &Field<'_>) {
    let (cpus, times) = (field.cpus, field.less(BY_THREADS / 4));
    let memory = "Memory for 64 bytes, and back, by threads: CPU time";
    let stack = "An object from a stack, and back, by threads: CPU time";
    for (title, peers) in [(memory, objects::pairs()), (stack, objects::stacks())] {
        let mut runs: Vec<Run<'_>> = vec![];
        for peer in &peers {
            for threads in THREADS {
                let run = move || {
                    let time = peers::by_threads(peer, threads, cpus, times);
                    time.as_nanos() as f64 / times as f64
                };
                runs.push(Run::new(peer.name, run).at(by(threads)));
            }
        }
        let m = Measured::interleaved(title, field.less(ROUNDS_OF_THREADS / 2), runs);
        let (ours, others) = peers.split_first().expect("ours comes first");
        for other in others {
            for threads in THREADS {
                let name = |peer: &Peer| format!("{}, {}", peer.name, by(threads));
                m.claim(&name(ours), &name(other));
            }
        }
    }
}

/// Records of a stream, and rounds of it.
const RECORDS: u64 = 2_000_000;
const ROUNDS_OF_RECORDS: usize = 5;

fn records(field: &Field<'_>) {
    let cpus = field.cpus;
    println!("\nRecords to one consumer that comes behind: ns for producers (CPU time), for it");
    for size in rings::SIZES {
        for producers in THREADS {
            let rounds = interleaved(field.less(ROUNDS_OF_RECORDS), PEERS.len(), |i| {
                rings::burst(PEERS[i], size, producers, cpus)
            });
            println!("  {size} bytes, {producers} producers");
            let title = format!("A burst of records of {size} bytes");
            let by_side = ["producers, CPU ns", "consumer, ns"].map(|metric| (metric, Less));
            take_down(&title, producers, by_side, &rounds);
        }
    }
    for (full, title) in
        [(Full::Drops, "a full queue drops"), (Full::Waits, "producers wait for space")]
    {
        println!("\nRecords to one consumer at work, millions a second; {title}");
        for size in rings::SIZES {
            let title = format!("A stream of records of {size} bytes, {title}");
            for producers in THREADS {
                stream(field, &title, size, producers, full);
            }
        }
    }
}

/// Prints one line for each peer, and takes down what is on it.
fn take_down<const N: usize>(
    title: &str,
    producers: usize,
    metrics: [(&str, Better); N],
    rounds: &[Vec<[f64; N]>],
) {
    let of = |i: usize, at: usize| rounds[i].iter().map(move |of| of[at]).collect::<Vec<_>>();
    for (i, name) in PEERS.iter().enumerate() {
        print!("    {name:<26}");
        (0..N).for_each(|at| print!(" {:>8.2}", quartiles(of(i, at))[1]));
        println!();
    }
    for (at, (metric, better)) in metrics.into_iter().enumerate() {
        let setting = producers_of(producers);
        let all = PEERS.iter().enumerate();
        let all = all.map(|(i, name)| Rounds { setting: &setting, name, rounds: of(i, at) });
        record::figures(title, metric, better, &all.collect::<Vec<_>>());
    }
}

/// And the ratio of ours to the best of the others.
fn stream(field: &Field<'_>, title: &str, size: usize, producers: usize, full: Full) {
    let records = field.less(RECORDS);
    let rounds = interleaved(field.less(ROUNDS_OF_RECORDS), PEERS.len(), |i| {
        let Stream { produced, consumed, dropped } =
            rings::stream(PEERS[i], size, producers, field.cpus, records, full);
        [produced / 1e6, consumed / 1e6, 100.0 * dropped]
    });
    println!("  {size} bytes, {producers} producers: produced, consumed, dropped (%)");
    let metrics = [("produced, M/s", More), ("consumed, M/s", More), ("dropped, %", Neither)];
    take_down(title, producers, metrics, &rounds);
    // In each round, the best of the others.
    let best = |round: usize| rounds[2..].iter().map(|of| of[round][0]).fold(0.0, f64::max);
    let ours = rounds[0].iter().enumerate();
    let ratios: Vec<_> = ours.map(|(round, [ours, ..])| ours / best(round)).collect();
    let claim = format!("Ring, produced / the best of the others, {}", producers_of(producers));
    verdict(title, &claim, &ratios);
}

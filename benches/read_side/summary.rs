//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is
//! the median of the rounds' ratios: whatever slows the machine for longer than a round slows
//! both sides of it. Nothing here fails: a missed target is printed as missed.

use crate::readers::{
    BARE, CROSSBEAM, GLOBAL, OWN, PARKING_LOT, Reader, SHARED_OBJECT, STD, URCU, URCU_SHARED_OBJECT,
};
use crate::rounds::{self, quartiles};
use crate::{Field, readers};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const READS: u64 = 100_000;
const PERIODS: u32 = 20;

/// An implementation's name, and a way to measure once what an operation takes, in nanoseconds.
type Run<'a> = (String, Box<dyn Fn() -> f64 + 'a>);

/// What was measured, by name and round.
struct Measured(Vec<(String, Vec<f64>)>);

enum Target {
    AtMost(f64),
    AtLeast(f64),
    /// None: what the peers reach, to judge the others by.
    Context,
}
use Target::{AtLeast, AtMost, Context};

impl Measured {
    fn interleaved(title: &str, runs: Vec<Run<'_>>) -> Measured {
        let rounds = rounds::interleaved(ROUNDS, runs.len(), |i| (runs[i].1)());
        println!("\n{title:<58} {:>10}", "median, ns");
        for ((name, _), of_round) in runs.iter().zip(&rounds) {
            println!("  {name:<56} {:>10.2}", quartiles(of_round.clone())[1]);
        }
        Measured(runs.into_iter().map(|run| run.0).zip(rounds).collect())
    }

    /// Prints how `ours` compares with `theirs`.
    fn claim(&self, ours: &str, theirs: &str, target: Target) {
        let of = |name| self.0.iter().find(|of| of.0 == name).map(|of| &of.1);
        let claim = format!("{ours} / {theirs}");
        match of(ours).zip(of(theirs)) {
            Some((a, b)) => verdict(&claim, a.iter().zip(b).map(|(a, b)| a / b).collect(), target),
            None => println!("  {claim:<56} SKIPPED"),
        }
    }
}

fn verdict(claim: &str, ratios: Vec<f64>, target: Target) {
    let [low, median, high] = quartiles(ratios);
    let judged = |met| if met { "ok" } else { "MISSED" };
    let verdict = match target {
        AtMost(bound) => format!("  at most {bound:.2}: {}", judged(median <= bound)),
        AtLeast(bound) => format!("  at least {bound:.2}: {}", judged(median >= bound)),
        Context => String::new(),
    };
    println!("  {claim:<56} {median:>10.3}  [{low:.3}, {high:.3}]{verdict}");
}

/// Measures and prints everything that is claimed.
pub(crate) fn print(field: &Field) {
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {ROUNDS} interleaved rounds; ratios with their quartiles.");

    let title = "Enter and leave, tight loop";
    let m = Measured::interleaved(title, field.words.iter().map(reads).collect());
    for (ours, urcu) in [(GLOBAL, URCU), (OWN, URCU), (SHARED_OBJECT, URCU_SHARED_OBJECT)] {
        m.claim(ours, urcu, AtMost(1.0));
        m.claim(ours, CROSSBEAM, AtMost(0.3));
        m.claim(ours, PARKING_LOT, AtMost(0.17));
    }
    m.claim(URCU, CROSSBEAM, Context);
    m.claim(URCU, PARKING_LOT, Context);

    let title = format!("Around a dependent lookup in {} KiB", field.lookup_bytes / 1024);
    let m = Measured::interleaved(&title, field.chain.iter().map(reads).collect());
    m.claim(GLOBAL, BARE, AtMost(1.05));
    m.claim(OWN, BARE, AtMost(1.05));

    if let Some(there) = field.there {
        two_threads(field, there);
        synchronize(field, there);
    }
}

/// Reads in the calling thread.
fn reads(reader: &Reader) -> Run<'_> {
    let run = || {
        // For nothing: brings back to the caches what the one before us put out.
        reader.run(READS);
        readers::time(|| reader.run(READS)).as_nanos() as f64 / READS as f64
    };
    (reader.name.to_owned(), Box::new(run))
}

fn two_threads(field: &Field, there: usize) {
    let cpus = [field.here, there];
    let name = |reader: &str, threads: usize| format!("{reader} x{threads}");
    let mut runs: Vec<Run<'_>> = vec![];
    for reader in &field.words {
        for threads in [1, 2] {
            let run = move || {
                let all = reader.wall(&cpus[..threads], READS);
                all.as_nanos() as f64 / (READS * threads as u64) as f64
            };
            runs.push((name(reader.name, threads), Box::new(run)));
        }
    }
    let m = Measured::interleaved("One read, by one thread and by two: time of the whole", runs);
    // A ratio of times, turned over, is one of throughputs.
    for (reader, target) in [
        (GLOBAL, AtLeast(1.9)),
        (OWN, AtLeast(1.9)),
        (BARE, Context),
        (URCU, Context),
        (CROSSBEAM, Context),
        (PARKING_LOT, Context),
        (STD, Context),
    ] {
        m.claim(&name(reader, 1), &name(reader, 2), target);
    }
}

fn synchronize(field: &Field, there: usize) {
    let mut runs: Vec<Run<'_>> = vec![];
    for reader in &field.words {
        let Some(synchronize) = &reader.synchronize else { continue };
        let periods = move || {
            let all = readers::time(|| (0..PERIODS).for_each(|_| synchronize()));
            all.as_nanos() as f64 / f64::from(PERIODS)
        };
        let busy = move || reader.beside(there, periods);
        runs.push((format!("{}, idle", reader.name), Box::new(periods)));
        runs.push((reader.name.to_owned(), Box::new(busy)));
    }
    let m = Measured::interleaved("Synchronize, with a busy reader on the other CPU", runs);
    for ours in [GLOBAL, OWN] {
        m.claim(ours, URCU, AtMost(0.55));
    }
    for reader in field.words.iter().filter(|reader| [GLOBAL, OWN].contains(&reader.name)) {
        let Some(synchronize) = &reader.synchronize else { continue };
        let before = stillpoint::machine().broadcasts();
        reader.beside(there, || (0..PERIODS).for_each(|_| synchronize()));
        let sent = stillpoint::machine().broadcasts() - before;
        let claim = format!("{}: broadcasts of one synchronize", reader.name);
        verdict(&claim, vec![sent as f64 / f64::from(PERIODS)], AtMost(1.0));
    }
}

//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is
//! the median of the rounds' ratios: whatever slows the machine for longer than a round slows
//! both sides of it. Nothing here fails: a missed target is printed as missed.

use crate::claims::{Measured, Run, verdict};
use crate::harness::Quick;
use crate::readers::{
    BARE, CROSSBEAM, GLOBAL, LEFT_RIGHT, OWN, PARKING_LOT, Reader, SHARDED, SHARED_OBJECT, URCU,
    URCU_BP, URCU_QSBR, URCU_QSBR_EACH, URCU_SHARED_OBJECT,
};
use crate::record::{self, Rounds};
use crate::{Field, readers};
use bench_data::Better;

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const READS: u64 = 100_000;
const PERIODS: u32 = 20;

/// Measures and prints everything that is claimed.
pub(crate) fn print(field: &Field, options: &Quick) {
    let rounds = options.rounds(ROUNDS);
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds; ratios with their quartiles.");

    let title = "Enter and leave, tight loop";
    let m = Measured::interleaved(title, rounds, field.words.iter().map(reads).collect());
    for (ours, urcu) in [(GLOBAL, URCU), (OWN, URCU), (SHARED_OBJECT, URCU_SHARED_OBJECT)] {
        m.claim(ours, urcu);
        m.claim(ours, CROSSBEAM);
        m.claim(ours, PARKING_LOT);
    }
    for other in [URCU_BP, URCU_QSBR, URCU_QSBR_EACH, LEFT_RIGHT, SHARDED] {
        m.claim(GLOBAL, other);
    }
    m.claim(URCU, CROSSBEAM);
    m.claim(URCU, PARKING_LOT);

    println!("\nThe chain is in {} KiB.", field.lookup_bytes / 1024);
    let title = "Around a dependent lookup of 5 ns";
    let m = Measured::interleaved(title, rounds, field.chain.iter().map(reads).collect());
    m.claim(GLOBAL, BARE);
    m.claim(OWN, BARE);

    if let Some(there) = field.there {
        two_threads(field, there, rounds);
        synchronize(field, there, rounds);
    }
}

/// Reads in the calling thread.
fn reads(reader: &Reader) -> Run<'_> {
    let run = || {
        // For nothing: brings back to the caches what the one before us put out.
        reader.run(READS);
        readers::time(|| reader.run(READS)).as_nanos() as f64 / READS as f64
    };
    Run::new(reader.name, run)
}

fn two_threads(field: &Field, there: usize, rounds: usize) {
    let cpus = [field.here, there];
    let by = |threads| if threads == 1 { "1 thread" } else { "2 threads" };
    let mut runs: Vec<Run<'_>> = vec![];
    for reader in &field.words {
        for threads in [1, 2] {
            let run = move || {
                let all = reader.wall(&cpus[..threads], READS);
                all.as_nanos() as f64 / (READS * threads as u64) as f64
            };
            runs.push(Run::new(reader.name, run).at(by(threads)));
        }
    }
    let m = Measured::interleaved(
        "One read, by one thread and by two: time of the whole",
        rounds,
        runs,
    );
    // A ratio of times, turned over, is one of throughputs.
    let title = "Throughput of two threads over one";
    println!("\n{title}");
    let mut over = vec![];
    for reader in &field.words {
        let [one, two] = [1, 2].map(|threads| format!("{}, {}", reader.name, by(threads)));
        let Some(ratios) = m.ratios(&one, &two) else { continue };
        verdict(title, &format!("{}: two / one", reader.name), &ratios);
        over.push(Rounds { setting: "", name: reader.name, rounds: ratios });
    }
    record::figures(title, "times", Better::More, &over);
}

fn synchronize(field: &Field, there: usize, rounds: usize) {
    let mut runs: Vec<Run<'_>> = vec![];
    for reader in &field.words {
        let Some(synchronize) = &reader.synchronize else { continue };
        let periods = move || {
            let all = readers::time(|| (0..PERIODS).for_each(|_| synchronize()));
            all.as_nanos() as f64 / f64::from(PERIODS)
        };
        let busy = move || reader.beside(there, periods);
        runs.push(Run::new(reader.name, periods).at("idle"));
        runs.push(Run::new(reader.name, busy).at("a busy reader"));
    }
    let m = Measured::interleaved("Synchronize", rounds, runs);
    for ours in [GLOBAL, OWN] {
        for urcu in [URCU, URCU_BP, URCU_QSBR, URCU_QSBR_EACH] {
            m.claim(&format!("{ours}, a busy reader"), &format!("{urcu}, a busy reader"));
        }
    }
    for reader in field.words.iter().filter(|reader| [GLOBAL, OWN].contains(&reader.name)) {
        let Some(synchronize) = &reader.synchronize else { continue };
        let before = stillpoint::machine().broadcasts();
        reader.beside(there, || (0..PERIODS).for_each(|_| synchronize()));
        let sent = stillpoint::machine().broadcasts() - before;
        let claim = format!("{}: broadcasts of one synchronize", reader.name);
        verdict("Synchronize", &claim, &[sent as f64 / f64::from(PERIODS)]);
    }
}

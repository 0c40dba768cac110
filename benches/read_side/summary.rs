//! The claims, measured in pairs.
//!
//! Every round runs each implementation once, for a fraction of a millisecond, and a ratio is
//! the median of the rounds' ratios: whatever slows the machine for longer than a round slows
//! both sides of it. Nothing here fails: a missed target is printed as missed.

use crate::claims::{AtLeast, AtMost, Context, Measured, Run, verdict};
use crate::readers::{
    BARE, CROSSBEAM, GLOBAL, OWN, PARKING_LOT, Reader, SHARED_OBJECT, STD, URCU, URCU_SHARED_OBJECT,
};
use crate::{Field, readers};

/// Rounds, and operations of an implementation in one of them.
const ROUNDS: usize = 301;
const READS: u64 = 100_000;
const PERIODS: u32 = 20;

/// Measures and prints everything that is claimed.
pub(crate) fn print(field: &Field) {
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {ROUNDS} interleaved rounds; ratios with their quartiles.");

    let title = "Enter and leave, tight loop";
    let m = Measured::interleaved(title, ROUNDS, field.words.iter().map(reads).collect());
    for (ours, urcu) in [(GLOBAL, URCU), (OWN, URCU), (SHARED_OBJECT, URCU_SHARED_OBJECT)] {
        m.claim(ours, urcu, AtMost(1.0));
        m.claim(ours, CROSSBEAM, AtMost(0.3));
        m.claim(ours, PARKING_LOT, AtMost(0.17));
    }
    m.claim(URCU, CROSSBEAM, Context);
    m.claim(URCU, PARKING_LOT, Context);

    let title = format!("Around a dependent lookup in {} KiB", field.lookup_bytes / 1024);
    let m = Measured::interleaved(&title, ROUNDS, field.chain.iter().map(reads).collect());
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
    let m = Measured::interleaved(
        "One read, by one thread and by two: time of the whole",
        ROUNDS,
        runs,
    );
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
    let m = Measured::interleaved("Synchronize, with a busy reader on the other CPU", ROUNDS, runs);
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

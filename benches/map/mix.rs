//! What the threads of a cell do.

use crate::clock;
use crate::peers::Map;
use std::fmt;
use std::hint::black_box;
use std::time::Duration;

/// Which keys are used how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keys {
    Uniform,
    /// The k-th most frequent key is used in proportion to 1/k.
    Zipf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mix {
    ReadHeavy,
    Exchange,
    RapidGrow,
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mix::ReadHeavy => "read-heavy",
            Mix::Exchange => "exchange",
            Mix::RapidGrow => "rapid-grow",
        })
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Get,
    Insert,
    Remove,
    Update,
}

impl Mix {
    /// Of a hundred.
    fn choose(self, draw: u32) -> Operation {
        let [gets, inserts, removals] = match self {
            Mix::ReadHeavy => [98, 1, 1],
            Mix::Exchange => [10, 40, 40],
            Mix::RapidGrow => [5, 80, 5],
        };
        match draw {
            n if n < gets => Operation::Get,
            n if n < gets + inserts => Operation::Insert,
            n if n < gets + inserts + removals => Operation::Remove,
            _ => Operation::Update,
        }
    }
}

/// What a cell asks for.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) mix: Mix,
    pub(crate) keys: Keys,
    pub(crate) threads: usize,
    /// How many entries there are at first, and on average; but for rapid growth.
    pub(crate) entries: u64,
    /// By each thread.
    pub(crate) operations: usize,
}

/// Of twice as many keys as there are entries, so that about half of them are there at a time.
fn plan(cell: &Cell, thread: usize, round: u64) -> Vec<(Operation, u64)> {
    let mut random = fastrand::Rng::with_seed(round << 16 | thread as u64);
    let range = 2 * cell.entries;
    let mut fresh = (thread as u64 + 1) << 40;
    (0..cell.operations)
        .map(|_| {
            let operation = cell.mix.choose(random.u32(..100));
            let key = match (cell.mix, operation, cell.keys) {
                (Mix::RapidGrow, Operation::Insert, _) => {
                    fresh += 1;
                    fresh
                }
                (Mix::RapidGrow, ..) => {
                    let mine = ((thread as u64 + 1) << 40) + 1;
                    random.u64(mine..=fresh.max(mine))
                }
                (_, _, Keys::Uniform) => random.u64(..range),
                // 1/k over the ranks, by its integral, and so close enough.
                (_, _, Keys::Zipf) => {
                    let rank = (range as f64).powf(random.f64()) as u64 - 1;
                    // Those that are frequent are not neighbours.
                    rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % range
                }
            };
            (operation, key)
        })
        .collect()
}

/// How long it takes.
pub(crate) fn run<M: Map>(cell: &Cell, cpus: &[usize], round: u64) -> Duration {
    let map = M::new();
    if cell.mix != Mix::RapidGrow {
        (0..2 * cell.entries).step_by(2).for_each(|key| map.insert(key, key));
    }
    let plans: Vec<_> = (0..cell.threads).map(|thread| plan(cell, thread, round)).collect();
    let map = &map;
    let work = |thread: usize| {
        for &(operation, key) in &plans[thread] {
            match operation {
                Operation::Get => drop(black_box(map.get(key))),
                Operation::Insert => map.insert(key, key),
                Operation::Remove => map.remove(key),
                Operation::Update => map.update(key),
            }
        }
    };
    let cpus = if cell.threads <= cpus.len() { cpus } else { &[] };
    clock::together(cell.threads, cpus, |_| (), work).length()
}

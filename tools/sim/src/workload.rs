//! Threads that lock, change some lines, unlock, and do something else; and what is seen of it.

use crate::locks::make;
use crate::{Costs, Shape};
use sim_machine::atomic::{AtomicU64, Ordering};
use sim_machine::{compute, current_node, hold, thread};
use std::cell::{Cell, RefCell};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The machine.
    pub shape: Shape,
    /// What things take there.
    pub costs: Costs,
    /// Threads.
    pub threads: usize,
    /// For how long, in simulated nanoseconds.
    pub nanos: u64,
    /// Cache lines that a critical section changes.
    pub lines: usize,
    /// What it computes besides, in nanoseconds.
    pub critical: u64,
    /// The mean of what a thread does between two critical sections, in nanoseconds.
    pub outside: u64,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Setting {
    /// Four nodes of 32 CPUs, with a thread each, that fight for four lines.
    fn default() -> Setting {
        Setting {
            shape: Shape { cpus: 128, nodes: 4, caches_per_node: 1 },
            costs: Costs::default(),
            threads: 128,
            nanos: 10_000_000,
            lines: 4,
            critical: 50,
            outside: 500,
            seed: 1,
        }
    }
}

/// What is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Critical sections.
    pub sections: u64,
    /// Of them, in a microsecond.
    pub per_micro: f64,
    /// Half of the threads waited for shorter, half for longer, in nanoseconds.
    pub median_wait: u64,
    /// One in a hundred waited longer.
    pub p99_wait: u64,
    /// The share of the busier half of the threads in all sections: 0.5 is fair (Dice).
    pub fairness: f64,
    /// Of a thousand sections, those whose thread ran on another node than the one before.
    pub remote: f64,
    /// What the machine saw.
    pub machine: sim_machine::Report,
}

#[repr(align(64))]
#[derive(Default)]
struct Line(AtomicU64);

/// Runs it with the lock of that name; `None` if there is none.
///
/// # Panics
///
/// If two threads were in the critical section at once, or all wait for ever.
pub fn simulate(name: &str, setting: &Setting) -> Option<Outcome> {
    let lock = make(name, setting.threads, setting.shape.nodes)?;
    let data: Vec<Line> = (0..setting.lines).map(|_| Line::default()).collect();
    let counts = vec![Cell::new(0_u64); setting.threads];
    let waits = RefCell::new(Vec::new());
    let (inside, last_node, remote) = (Cell::new(false), Cell::new(None), Cell::new(0_u64));
    let clock = || thread().map_or(0, |(_, now)| now);
    let machine = sim_machine::run(setting.shape, setting.costs, setting.threads, |number| {
        let mut random = fastrand::Rng::with_seed(setting.seed << 32 | number as u64);
        // Not all at the same time.
        compute(random.u64(0..=2 * setting.outside));
        while clock() < setting.nanos {
            let begin = clock();
            lock.acquire(number);
            hold(true);
            assert!(!inside.replace(true), "two threads in the critical section of {name}");
            let node = current_node();
            let (counts_now, waited) = (clock() < setting.nanos, clock() - begin);
            if counts_now {
                waits.borrow_mut().push(waited);
                counts[number].set(counts[number].get() + 1);
                let before = last_node.replace(node);
                remote.set(remote.get() + u64::from(before != node));
            }
            for line in &data {
                let value = line.0.load(Ordering::Relaxed);
                line.0.store(value + 1, Ordering::Relaxed);
            }
            compute(setting.critical);
            inside.set(false);
            hold(false);
            lock.release(number);
            compute(random.u64(0..=2 * setting.outside));
        }
    });
    let mut waits = waits.into_inner();
    waits.sort_unstable();
    let sections = waits.len() as u64;
    let quantile = |per_mille: usize| {
        waits.get((waits.len() * per_mille / 1000).min(waits.len().saturating_sub(1))).copied()
    };
    let mut counts: Vec<u64> = counts.iter().map(Cell::get).collect();
    counts.sort_unstable();
    let upper: u64 = counts[counts.len() / 2..].iter().sum();
    // The middle of an odd number counts half.
    let middle = if counts.len() % 2 == 1 { counts[counts.len() / 2] as f64 / 2.0 } else { 0.0 };
    let all = (sections as f64).max(1.0);
    Some(Outcome {
        sections,
        per_micro: sections as f64 * 1000.0 / setting.nanos as f64,
        median_wait: quantile(500).unwrap_or(0),
        p99_wait: quantile(990).unwrap_or(0),
        fairness: (upper as f64 - middle) / all,
        remote: remote.get() as f64 * 1000.0 / all,
        machine,
    })
}

//! Bare lookups: threads that do nothing but read the table, so that the price
//! of the guard shows.
//!
//! Reading the clock twice takes about as long as a lookup, so throughput counts
//! all lookups and latency times one in [`BATCH`], less what the clock itself
//! takes. Every single answer is checked.

use std::hint::black_box;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::drive::{Tally, Window};
use crate::guard::Guard;
use crate::table::RouteTable;
use crate::traffic::{Probe, Random, Traffic};

pub(crate) const BATCH: usize = 64;

/// What two readings of the clock, one right after the other, are apart: the
/// median of many.
pub(crate) static CLOCK_COST: LazyLock<Duration> = LazyLock::new(|| {
    let mut apart: Vec<_> = (0..10_001).map(|_| black_box(Instant::now()).elapsed()).collect();
    apart.sort_unstable();
    apart[apart.len() / 2]
});

pub(crate) fn drive<G: Guard<RouteTable>>(
    table: &G,
    traffic: &Traffic,
    threads: usize,
    window: &Window,
) -> Tally {
    let probes = &traffic.probes;
    thread::scope(|scope| {
        let worker = |n| scope.spawn(move || look_up(table, probes, Random::new(n), window));
        let workers: Vec<_> = (0..threads as u64).map(worker).collect();
        let mut total = Tally::default();
        for worker in workers {
            total.merge(worker.join().expect("the worker has not panicked"));
        }
        total
    })
}

/// Small enough to be copied out of the table without touching a counter.
#[derive(Clone, Copy)]
struct Found {
    generation: u64,
    id_and_port: Option<(usize, u16)>,
}

fn look_up<G: Guard<RouteTable>>(
    table: &G,
    probes: &[Probe],
    mut random: Random,
    window: &Window,
) -> Tally {
    let find = |probe: &Probe| {
        table.with(|table| Found {
            generation: table.generation(),
            id_and_port: table
                .lookup(&probe.host, &probe.path)
                .map(|route| (route.target.id, route.target.upstream.port)),
        })
    };
    let clock_cost = *CLOCK_COST;
    let mut tally = Tally::default();
    let mut oldest = 0;
    while !window.is_stopped() {
        let recording = window.is_recording();
        oldest = oldest.max(window.oldest_allowed());
        for n in 0..BATCH {
            let probe = &probes[random.below(probes.len())];
            let found = if n == 0 {
                let begin = Instant::now();
                let found = black_box(find(probe));
                let took = begin.elapsed();
                if recording {
                    tally.took(took.saturating_sub(clock_cost));
                }
                found
            } else {
                find(probe)
            };
            let expected = probe.expected.as_ref().map(|e| (e.id, e.port(found.generation)));
            if found.id_and_port != expected || found.generation < oldest {
                tally.blame(format!(
                    "{}{}: {:?} in generation {}, not {expected:?} in {oldest} or later",
                    probe.host, probe.path, found.id_and_port, found.generation
                ));
            }
            // Tables only ever get newer for whoever looks again.
            oldest = oldest.max(found.generation);
        }
        if recording {
            tally.done += BATCH as u64;
        }
    }
    tally
}

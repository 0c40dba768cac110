//! Recorded histories of a map that is used by several threads while it is resized.

use super::histories::{Call, Done, is_linearizable};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::map::HashMap;
use stillpoint::rcu::Domain;

const THREADS: u64 = 3;
const KEYS: u64 = 3;
/// Of each thread, with all keys together. A key gets 64 at most.
const CALLS: u64 = 20;
/// With other keys each time, so that each is a history of its own.
const BATCHES: u64 = 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many were judged.
    pub(crate) histories: u64,
    /// How many calls began during another one of their history.
    pub(crate) overlaps: u64,
    /// A history that has no order.
    pub(crate) wrong: Option<String>,
}

/// Nanoseconds, the same on all CPUs.
fn now(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

/// Rounds of a few threads that use a few keys of a map together, then a few others, beside one
/// that has it grow and shrink.
pub(crate) fn run(domain: &'static Domain, time: Duration) -> Report {
    let begin = Instant::now();
    let mut report = Report::default();
    while begin.elapsed() < time && report.wrong.is_none() {
        round(domain, &mut report);
    }
    report
}

fn round(domain: &'static Domain, report: &mut Report) {
    let map: HashMap<u64, u64, _, _> = HashMap::new_in(domain);
    // Not those of the history: they fill the buckets.
    (1_000..1_020).for_each(|n| _ = map.pin().insert(n, 0));
    let (since, stop) = (Instant::now(), AtomicBool::new(false));
    let barrier = Barrier::new(THREADS as usize);
    let calls: Vec<(u64, Call)> = thread::scope(|scope| {
        let (map, stop, barrier) = (&map, &stop, &barrier);
        let worker = move |me: u64| {
            let mut random = fastrand::Rng::with_seed(seed(since, me));
            let mut calls = Vec::with_capacity((BATCHES * CALLS) as usize);
            for n in 0..BATCHES * CALLS {
                if n % CALLS == 0 {
                    barrier.wait();
                }
                let key = n / CALLS * KEYS + random.u64(..KEYS);
                // There may be fewer CPUs than threads.
                if random.u32(..4) == 0 {
                    thread::yield_now();
                }
                let called = now(since);
                let pinned = map.pin();
                let done = match random.u32(..10) {
                    0..4 => Done::Get(pinned.get(&key).copied()),
                    4..7 => {
                        let new = me << 32 | n;
                        Done::Insert(new, pinned.insert(key, new).copied())
                    }
                    _ => Done::Remove(pinned.remove(&key).copied()),
                };
                let returned = now(since);
                calls.push((key, Call { called, returned, done }));
            }
            calls
        };
        let workers: Vec<_> = (0..THREADS).map(|me| scope.spawn(move || worker(me))).collect();
        let resizer = scope.spawn(move || {
            let mut wide = false;
            while !stop.load(Relaxed) {
                wide = !wide;
                if wide { map.reserve(200) } else { map.shrink_to_fit() }
            }
        });
        let calls = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        stop.store(true, Relaxed);
        resizer.join().unwrap();
        calls
    });
    report.histories += BATCHES * KEYS;
    for key in 0..BATCHES * KEYS {
        let of_key = calls.iter().filter(|(of, _)| *of == key).map(|(_, call)| *call);
        let history: Vec<Call> = of_key.collect();
        let overlaps = |a: &Call| {
            history.iter().filter(|b| a.called < b.called && b.called < a.returned).count() as u64
        };
        report.overlaps += history.iter().map(overlaps).sum::<u64>();
        if !is_linearizable(&history) {
            report.wrong = Some(format!("key {key}: {history:#?}"));
        }
    }
}

fn seed(since: Instant, me: u64) -> u64 {
    now(since).wrapping_mul(31).wrapping_add(me)
}

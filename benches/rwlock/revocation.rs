//! What the first write after many reads takes, and the one after it.

use crate::clock;
use crate::locks::{Peer, Subject};
use crate::record::{self, Rounds};
use crate::rounds::interleaved;
use crate::summary::{Quantile, micros, table};
use crate::work::timed;
use bench_data::Better;
use hdrhistogram::Histogram;
use std::hint::spin_loop;
use std::thread;

/// Enough to open the bias again after a revocation of 30 µs.
const READS: u64 = 20_000;
/// Writes of one lock in one turn.
const WRITES: u64 = 20;

/// Who is on the other CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Nobody,
    Busy,
    Reader,
}

type Part = fn(&Writes) -> &Histogram<u64>;

struct Writes {
    first: Histogram<u64>,
    next: Histogram<u64>,
    broadcasts: u64,
}

pub(crate) fn print(peers: &[&Peer], cpus: &[usize], rounds: usize) {
    println!("\nA write after {READS} reads by one thread, and the write that follows at once");
    let mut table = table(
        2,
        [
            "the other CPU",
            "lock",
            "median, µs",
            "p99, µs",
            "next: median, µs",
            "p99, µs",
            "broadcasts / write",
        ],
    );
    let mut settings = vec![("is idle", Other::Nobody)];
    match cpus {
        [_, _, ..] => settings.extend([("computes", Other::Busy), ("reads", Other::Reader)]),
        _ => record::skip("writes beside a busy CPU: this takes two CPUs"),
    }
    for (name, other) in settings {
        let locks: Vec<_> = peers.iter().map(|peer| (peer.new)()).collect();
        let rounds = interleaved(rounds, locks.len(), |i| beside(&*locks[i], other, cpus));
        let setting = format!("the other CPU {name}");
        let quantities: [(&str, f64, Part); 4] = [
            ("first, median, µs", 0.5, |writes| &writes.first),
            ("first, p99, µs", 0.99, |writes| &writes.first),
            ("next, median, µs", 0.5, |writes| &writes.next),
            ("next, p99, µs", 0.99, |writes| &writes.next),
        ];
        for (metric, quantile, part) in quantities {
            let micros = |w: &Writes| part(w).value_at_quantile(quantile) as f64 / 1e3;
            let all = rounds.iter().zip(peers).map(|(its, peer)| Rounds {
                setting: &setting,
                name: peer.name,
                rounds: its.iter().map(micros).collect(),
            });
            let title = "A write after many reads, and the next";
            record::figures(title, metric, Better::Less, &all.collect::<Vec<_>>());
        }
        for (its, peer) in rounds.iter().zip(peers) {
            let (mut first, mut next) = (its[0].first.clone(), its[0].next.clone());
            for more in &its[1..] {
                first.add(&more.first).expect("the same bounds");
                next.add(&more.next).expect("the same bounds");
            }
            let broadcasts: u64 = its.iter().map(|writes| writes.broadcasts).sum();
            table.add_row([
                name.to_owned(),
                peer.name.to_owned(),
                micros(&first, Quantile::MEDIAN),
                micros(&first, Quantile::P99),
                micros(&next, Quantile::MEDIAN),
                micros(&next, Quantile::P99),
                format!("{:.2}", broadcasts as f64 / first.len() as f64),
            ]);
        }
    }
    println!("{table}");
}

fn beside(lock: &dyn Subject, other: Other, cpus: &[usize]) -> Writes {
    let spin = |times| (0..times).for_each(|_| spin_loop());
    let here = || {
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                clock::pin(cpus[0]);
                after_reads(lock)
            });
            writer.join().expect("measured threads do not panic")
        })
    };
    match other {
        Other::Nobody => here(),
        Other::Busy => clock::beside(spin, cpus[1], here),
        Other::Reader => clock::beside(|times| lock.reads(times), cpus[1], here),
    }
}

fn after_reads(lock: &dyn Subject) -> Writes {
    let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
    let mut writes = Writes { first: histogram(), next: histogram(), broadcasts: 0 };
    for _ in 0..WRITES {
        lock.reads(READS);
        let before = stillpoint::machine().broadcasts();
        writes.first.saturating_record(timed(|| lock.writes(1)));
        writes.next.saturating_record(timed(|| lock.writes(1)));
        writes.broadcasts += stillpoint::machine().broadcasts() - before;
    }
    writes
}

//! What readers pay, and what they make others pay, beside the peers.
//!
//! ```text
//! cargo bench --bench read_side                   criterion's groups, then the summary
//! cargo bench --bench read_side -- summary        the summary alone, under a minute
//! cargo bench --bench read_side -- enter_leave    criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `enter_leave` | enter, load the shared pointer, add one word of four, leave |
//! | `lookup` | the same around one step of a dependent walk of about 5 ns |
//! | `two_threads` | as `enter_leave`, by one and by two threads: the time the program needs for one |
//! | `synchronize` | one grace period, idle and with a busy reader on the other CPU |
//!
//! liburcu stands in with three flavours. Its "memb" does twice, compiled for an executable and for
//! a shared object: it costs several times as much in the latter, where its thread-local word is
//! behind a function. "bp" registers readers by itself. Readers of "qsbr" do nothing but announce
//! a quiescent state: each 1024 reads, as in liburcu's own benchmarks, or after each read, as a
//! server that reads once for a request would. What that asks of a program is no part of its
//! figures: every thread that is online must announce one again and again, or grace periods do not
//! end. Here threads are online for the 100,000 reads of a round; the busy reader of `synchronize`
//! for 1000, so it announces one each 1000 at least.
//!
//! Criterion measures one implementation after the other, so on a machine that others use its
//! ratios drift. The summary interleaves them and is what we quote.

#[path = "common/claims.rs"]
mod claims;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "read_side/readers.rs"]
mod readers;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "read_side/summary.rs"]
mod summary;

use criterion::{Criterion, Throughput};
use readers::{Chain, Reader, Words};
use std::cell::OnceCell;
use std::process::ExitCode;

/// Everything that is measured, and where.
struct Field {
    words: Vec<Reader>,
    chain: Vec<Reader>,
    /// The size of the table behind `chain`.
    lookup_bytes: usize,
    /// The CPU that measures.
    here: usize,
    /// Another one, if there is another.
    there: Option<usize>,
}

impl Field {
    fn new() -> Field {
        let cpus = clock::allowed_cpus();
        let pinned = cpus.first().is_some_and(|&cpu| clock::pin(cpu));
        let there = cpus.get(1).copied().filter(|_| pinned);
        if there.is_none() {
            record::skip("two_threads, busy readers: this takes two CPUs and leave to pin to them");
        }
        let mut words = readers::all(Words([1, 2, 3, 4]));
        words.extend(readers::foreign());
        let here = cpus.first().copied().unwrap_or(0);
        let chain = Chain::new();
        Field { words, lookup_bytes: chain.bytes(), chain: readers::all(chain), here, there }
    }
}

static BENCH: record::Bench = record::Bench {
    name: "read_side",
    is_ours: |name| name.starts_with("stillpoint"),
    floors: &[readers::BARE],
};

fn main() -> ExitCode {
    let field = OnceCell::new();
    let groups =
        |criterion: &mut Criterion| criterion_groups(criterion, field.get_or_init(Field::new));
    let summary = |options: &harness::Quick| summary::print(field.get_or_init(Field::new), options);
    harness::main(&BENCH, groups, summary)
}

fn criterion_groups(criterion: &mut Criterion, field: &Field) {
    for (name, readers) in [("enter_leave", &field.words), ("lookup", &field.chain)] {
        let mut group = criterion.benchmark_group(name);
        for reader in readers {
            group.bench_function(reader.name, |b| {
                b.iter_custom(|n| readers::time(|| reader.run(n)))
            });
        }
    }

    if let Some(there) = field.there {
        let mut group = criterion.benchmark_group("two_threads");
        group.throughput(Throughput::Elements(1));
        for reader in &field.words {
            for cpus in [&[field.here][..], &[field.here, there]] {
                let name = format!("{}/{}", reader.name, cpus.len());
                group.bench_function(name, |b| {
                    b.iter_custom(|n| reader.wall(cpus, n) / cpus.len() as u32);
                });
            }
        }
    }

    let mut group = criterion.benchmark_group("synchronize");
    for reader in &field.words {
        let Some(synchronize) = &reader.synchronize else { continue };
        let periods = |n| readers::time(|| (0..n).for_each(|_| synchronize()));
        group.bench_function(format!("{}/idle", reader.name), |b| b.iter_custom(periods));
        if let Some(there) = field.there {
            group.bench_function(format!("{}/busy reader", reader.name), |b| {
                b.iter_custom(|n| reader.beside(there, || periods(n)));
            });
        }
    }
    group.finish();
}

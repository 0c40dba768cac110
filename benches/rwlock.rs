//! What a reader-writer lock costs, by the share of reads and the number of threads.
//!
//! ```text
//! cargo bench --bench rwlock                     criterion's groups, then the summary
//! cargo bench --bench rwlock -- summary          the summary alone, about two minutes
//! cargo bench --bench rwlock -- summary --quick  fewer and shorter rounds, under half a minute
//! cargo bench --bench rwlock -- summary --reads 99,50 --threads 2 --lock std
//! cargo bench --bench rwlock -- read             criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `read` | lock, add up four words, unlock; one thread |
//! | `write` | lock, change the four words, unlock; one thread |
//! | `two_readers` | as `read`, by two threads: the time the program needs for one |
//!
//! Every lock protects four words, which a read adds up and a write changes. arc-swap is no lock:
//! it replaces the value as a whole, and a write allocates; it stands beside the locks for the
//! users whose values can be replaced.
//!
//! Criterion measures one lock after the other; the summary interleaves them and is what we
//! quote. `summary --help` lists its options.

#[path = "common/claims.rs"]
mod claims;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "rwlock/locks.rs"]
mod locks;
#[path = "rwlock/mix.rs"]
mod mix;
#[path = "common/record.rs"]
mod record;
#[path = "rwlock/revocation.rs"]
mod revocation;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "rwlock/summary.rs"]
mod summary;
#[path = "rwlock/work.rs"]
mod work;

use criterion::{Criterion, Throughput};
use std::process::ExitCode;
use std::time::Instant;

static BENCH: record::Bench =
    record::Bench { name: "rwlock", is_ours: |name| name == locks::OURS, floors: &[] };

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    let groups = |criterion: &mut Criterion| criterion_groups(criterion, &cpus);
    harness::main(&BENCH, groups, |options| summary::print(&cpus, options))
}

fn criterion_groups(criterion: &mut Criterion, cpus: &[usize]) {
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };

    let mut group = criterion.benchmark_group("read");
    for peer in locks::ALL {
        let lock = (peer.new)();
        group.bench_function(peer.name, |b| b.iter_custom(|n| time(&|| lock.reads(n))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("write");
    for peer in locks::ALL {
        let lock = (peer.new)();
        group.bench_function(peer.name, |b| b.iter_custom(|n| time(&|| lock.writes(n))));
    }
    group.finish();

    if cpus.len() > 1 {
        let mut group = criterion.benchmark_group("two_readers");
        group.throughput(Throughput::Elements(1));
        for peer in locks::ALL {
            let lock = (peer.new)();
            group.bench_function(peer.name, |b| {
                b.iter_custom(|n| work::reads_by(&*lock, &cpus[..2], n.div_ceil(2)));
            });
        }
        group.finish();
    } else {
        println!("SKIPPED two_readers: this takes two CPUs");
    }
}

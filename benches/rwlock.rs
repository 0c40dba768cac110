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
#[path = "rwlock/locks.rs"]
mod locks;
#[path = "rwlock/mix.rs"]
mod mix;
#[path = "rwlock/revocation.rs"]
mod revocation;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "rwlock/summary.rs"]
mod summary;
#[path = "rwlock/work.rs"]
mod work;

use clap::Parser;
use criterion::{Criterion, Throughput};
use std::time::{Duration, Instant};

/// What is asked for in a word that is not criterion's.
#[derive(Parser)]
enum Mode {
    /// Compare the locks in interleaved rounds
    Summary(summary::Options),
}

fn main() {
    // Cargo adds `--bench`, except under `cargo test`.
    let (cargo, asked): (Vec<_>, Vec<_>) = std::env::args().partition(|arg| arg == "--bench");
    let cpus = clock::allowed_cpus();
    // A word for criterion is none of ours.
    if asked.get(1).is_some_and(|word| word == "summary") {
        let Mode::Summary(options) = Mode::parse_from(&asked);
        return summary::print(&cpus, &options);
    }
    criterion_groups(&cpus);
    if asked.len() == 1 && !cargo.is_empty() {
        let Mode::Summary(options) = Mode::parse_from(["rwlock", "summary"]);
        summary::print(&cpus, &options);
    }
}

fn criterion_groups(cpus: &[usize]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
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
    criterion.final_summary();
}

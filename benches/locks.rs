//! What a lock of one holder costs, by the length of its critical sections and the number of
//! threads.
//!
//! ```text
//! cargo bench --bench locks                     criterion's group, then the summary
//! cargo bench --bench locks -- summary          the summary alone, about three minutes
//! cargo bench --bench locks -- summary --quick  fewer and shorter rounds
//! cargo bench --bench locks -- summary --sections 100 --threads 2,16 --lock std
//! cargo bench --bench locks -- uncontended      criterion alone, with its own options
//! ```
//!
//! `uncontended`: lock, add to a number, unlock; one thread.
//!
//! In the summary every thread locks, works for as long as the section is, and unlocks, without
//! a pause between; alone, and beside a thread that does nothing but compute on one of
//! the CPUs. `summary --help` lists the options.

#[path = "common/claims.rs"]
mod claims;
#[allow(dead_code, reason = "other benches use the rest")]
#[path = "common/clock.rs"]
mod clock;
#[path = "locks/locks.rs"]
mod locks;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "locks/summary.rs"]
mod summary;
#[path = "locks/work.rs"]
mod work;

use clap::Parser;
use criterion::Criterion;
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
    criterion_group();
    if asked.len() == 1 && !cargo.is_empty() {
        let Mode::Summary(options) = Mode::parse_from(["locks", "summary"]);
        summary::print(&cpus, &options);
    }
}

fn criterion_group() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut group = criterion.benchmark_group("uncontended");
    for peer in locks::ALL {
        let lock = (peer.new)();
        group.bench_function(peer.name, |b| {
            b.iter_custom(|n| {
                let start = Instant::now();
                lock.tight(n);
                start.elapsed()
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

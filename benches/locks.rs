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
#[path = "common/harness.rs"]
mod harness;
#[path = "locks/locks.rs"]
mod locks;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "locks/summary.rs"]
mod summary;
#[path = "locks/work.rs"]
mod work;

use criterion::Criterion;
use std::process::ExitCode;
use std::time::Instant;

static BENCH: record::Bench =
    record::Bench { name: "locks", is_ours: |name| name.starts_with("stillpoint"), floors: &[] };

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    harness::main(&BENCH, criterion_group, |options| summary::print(&cpus, options))
}

fn criterion_group(criterion: &mut Criterion) {
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
}

//! What it costs to know where one is, to count, to record, to get memory and objects, and to hand
//! on records, beside what others use for it.
//!
//! ```text
//! cargo bench --bench percpu               criterion's groups, then the summary
//! cargo bench --bench percpu -- summary    the summary alone, four minutes
//! cargo bench --bench percpu -- summary records    a part of it: counts, objects or records
//! cargo bench --bench percpu -- add        criterion alone, with its own options
//! cargo bench -p benches --bench percpu --features peers/allocators    with mimalloc and jemalloc
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `ids` | ask for a number of the calling thread's CPU, node or concurrency |
//! | `add` | add 1 to a counter that nobody else uses |
//! | `add_by_threads` | the same by 1 to 8 threads, to one counter: wall time, times CPUs |
//! | `record` | record one of 1024 values between 0 and 2^20 |
//! | `sum` | add it all up, with nobody else there |
//! | `memory`, `memory_forty` | get memory for 64 bytes and give it back, at once or forty at a time |
//! | `memory_elsewhere` | the same, given back on another CPU |
//! | `stack` | take an object and put it back |
//!
//! Criterion measures one implementation after the other; the summary interleaves them and is what
//! we quote.

#[path = "common/claims.rs"]
mod claims;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "percpu/objects.rs"]
mod objects;
#[path = "percpu/peers.rs"]
mod peers;
#[path = "common/record.rs"]
mod record;
#[path = "percpu/rings.rs"]
mod rings;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "percpu/summary.rs"]
mod summary;

// What there is in C; `peers` are those of this file.
extern crate peers as peers_of_c;

use criterion::Criterion;
use peers::{Peer, time};
use std::process::ExitCode;

static BENCH: record::Bench =
    record::Bench { name: "percpu", is_ours: peers::is_ours, floors: &[peers::NOTHING] };

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    let groups = |criterion: &mut Criterion| criterion_groups(criterion, &cpus);
    harness::main(&BENCH, groups, |options| summary::print(&cpus, options))
}

fn criterion_groups(criterion: &mut Criterion, cpus: &[usize]) {
    let groups: [(&str, Vec<Peer>); 8] = [
        ("ids", peers::ids()),
        ("add", peers::counters()),
        ("record", peers::histograms()),
        ("sum", peers::sums()),
        ("memory", objects::pairs()),
        ("memory_forty", objects::forties()),
        ("memory_elsewhere", objects::elsewhere(cpus)),
        ("stack", objects::stacks()),
    ];
    for (name, peers) in groups {
        let mut group = criterion.benchmark_group(name);
        for peer in peers {
            group.bench_function(peer.name, |b| b.iter_custom(|n| time(|| (peer.run)(n))));
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("add_by_threads");
    for peer in peers::counters() {
        for threads in peers::THREADS {
            group.bench_function(format!("{}/{threads}", peer.name), |b| {
                b.iter_custom(|n| peers::by_threads(&peer, threads, cpus, n));
            });
        }
    }
    group.finish();
}

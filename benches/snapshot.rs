//! What a copy of a small value costs, and an owned handle to a shared one, beside the peers.
//!
//! ```text
//! cargo bench --bench snapshot               criterion's groups, then the summary
//! cargo bench --bench snapshot -- summary    the summary alone, under a minute
//! cargo bench --bench snapshot -- copy       criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `copy_8`, `copy_64`, `copy_256` | copy a value of so many bytes out, whole |
//! | `load` | load an owned handle, and keep it |
//! | `handle` | load an owned handle, look at the value, drop the handle |
//! | `write_8`, `write_256` | replace the value, with nobody else there |
//!
//! A value of eight bytes stays in a register; larger ones must be in the reader's memory in the
//! end,
//! all of them. Criterion measures one implementation after the other; the summary interleaves
//! them and
//! is what we quote.

#[path = "common/claims.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod claims;
#[path = "common/clock.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "snapshot/peers.rs"]
mod peers;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "snapshot/summary.rs"]
mod summary;

use criterion::Criterion;
use peers::{Peer, time};
use std::process::ExitCode;

static BENCH: record::Bench = record::Bench {
    name: "snapshot",
    is_ours: |name| name.starts_with("stillpoint"),
    floors: &[peers::BARE],
};

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    let summary = |options: &harness::Quick| summary::print(&cpus, options);
    harness::main(&BENCH, criterion_groups, summary)
}

fn criterion_groups(criterion: &mut Criterion) {
    let groups: [(&str, Vec<Peer>); 7] = [
        ("copy_8", peers::copies::<1>()),
        ("copy_64", peers::copies::<8>()),
        ("copy_256", peers::copies::<32>()),
        ("load", peers::loads()),
        ("handle", peers::handles()),
        ("write_8", peers::writes::<1>()),
        ("write_256", peers::writes::<32>()),
    ];
    for (name, peers) in groups {
        let mut group = criterion.benchmark_group(name);
        for peer in peers {
            group.bench_function(peer.name, |b| b.iter_custom(|n| time(|| (peer.run)(n))));
        }
        group.finish();
    }
}

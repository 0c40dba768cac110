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
#[path = "snapshot/peers.rs"]
mod peers;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "snapshot/summary.rs"]
mod summary;

use criterion::Criterion;
use peers::{Peer, time};
use std::time::Duration;

fn main() {
    // Cargo adds `--bench`, except under `cargo test`.
    let (cargo, asked): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|arg| arg == "--bench");
    let cpus = clock::allowed_cpus();
    if asked != ["summary"] {
        criterion_groups();
    }
    if asked == ["summary"] || (asked.is_empty() && !cargo.is_empty()) {
        summary::print(&cpus);
    }
}

fn criterion_groups() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
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
    criterion.final_summary();
}

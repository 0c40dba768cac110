//! What a concurrent hash map costs, by the mix of operations, the keys and the number of threads.
//!
//! ```text
//! cargo bench --bench map                     criterion's groups, then the summary
//! cargo bench --bench map -- summary          the summary alone, some two minutes
//! cargo bench --bench map -- summary --quick  fewer and shorter rounds, under half a minute
//! cargo bench --bench map -- summary --mix read-heavy --keys uniform --threads 2
//! cargo bench --bench map -- get              criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `get` | pin, look a key up that is there; one thread, 100000 entries in random order |
//! | `absent` | the same, of a key that is not there |
//! | `insert_remove` | pin, put a new key in; pin, take it out |
//!
//! The mixes are those of bustle and conc-map-bench: *read-heavy*, 98 lookups, one insertion and
//! one removal of a hundred; *exchange*, 10 lookups, 40 insertions, 40 removals, 10 updates;
//! *rapid-grow*, 5 lookups, 80 insertions of new keys, 5 removals, 10 updates, from an empty map.
//! All maps have this library's hasher, keys and values of eight bytes, and pin (or lock) once for
//! each operation.
//!
//! Criterion measures one map after the other; the summary interleaves them and is what we
//! quote. `summary --help` lists its options.

#[path = "common/claims.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod claims;
#[path = "common/clock.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod clock;
#[path = "map/mix.rs"]
mod mix;
#[path = "map/peers.rs"]
mod peers;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "map/summary.rs"]
mod summary;

use clap::Parser;
use criterion::Criterion;
use std::time::{Duration, Instant};

/// What is asked for in a word that is not criterion's.
#[derive(Parser)]
enum Mode {
    /// Compare the maps in interleaved rounds
    Summary(summary::Options),
}

fn main() {
    // Cargo adds `--bench`, except under `cargo test`.
    let (cargo, asked): (Vec<_>, Vec<_>) = std::env::args().partition(|arg| arg == "--bench");
    let cpus = clock::allowed_cpus();
    if asked.get(1).is_some_and(|word| word == "summary") {
        let Mode::Summary(options) = Mode::parse_from(&asked);
        return summary::print(&cpus, &options);
    }
    criterion_groups();
    if asked.len() == 1 && !cargo.is_empty() {
        let Mode::Summary(options) = Mode::parse_from(["map", "summary"]);
        summary::print(&cpus, &options);
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
    for kind in peers::Kind::ALL {
        let mut group = criterion.benchmark_group(kind.name());
        for peer in peers::ALL {
            let mut run = (peer.tight)(kind, 100_000);
            group.bench_function(peer.name, |b| {
                b.iter_custom(|n| {
                    let start = Instant::now();
                    run(n);
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

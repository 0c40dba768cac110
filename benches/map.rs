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
#[path = "common/harness.rs"]
mod harness;
#[path = "map/mix.rs"]
mod mix;
#[path = "map/peers.rs"]
mod peers;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "map/summary.rs"]
mod summary;

use criterion::Criterion;
use std::process::ExitCode;
use std::time::Instant;

static BENCH: record::Bench =
    record::Bench { name: "map", is_ours: |name| name == peers::OURS, floors: &[] };

fn main() -> ExitCode {
    let cpus = clock::allowed_cpus();
    harness::main(&BENCH, criterion_groups, |options| summary::print(&cpus, options))
}

fn criterion_groups(criterion: &mut Criterion) {
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
}

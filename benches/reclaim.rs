//! What waiting for readers costs, what freeing costs, and how much garbage waits meanwhile.
//!
//! ```text
//! cargo bench --bench reclaim                 criterion's groups, then the summary
//! cargo bench --bench reclaim -- summary      the summary alone, some minutes
//! cargo bench --bench reclaim -- memory       resident memory over 10^8 retirements, as a plot
//! cargo bench --bench reclaim -- retire       criterion alone, with its own options
//! ```
//!
//! | group | one operation |
//! |---|---|
//! | `synchronize` | one of the calls that so many threads make at the same time |
//! | `retire` | allocate 64 bytes, exchange them for the ones before, retire and free those |
//!
//! Where it says "reader", a thread on the second CPU enters, adds up an object and leaves, in
//! a loop. The threads that retire are kept on CPUs of their own as far as there are any: on two
//! CPUs, the second of them takes turns with the reader, which so stays in its section for
//! milliseconds at times. liburcu's worker and several callers of `synchronize` run where the
//! kernel puts them.
//!
//! Criterion measures one implementation after the other; the summary interleaves them and is
//! what we quote. `summary --help` and `memory --help` list their options.

#[path = "common/clock.rs"]
mod clock;
#[path = "common/harness.rs"]
mod harness;
#[path = "reclaim/memory.rs"]
mod memory;
#[path = "reclaim/object.rs"]
mod object;
#[path = "reclaim/plot.rs"]
mod plot;
#[path = "common/record.rs"]
mod record;
#[path = "common/rounds.rs"]
mod rounds;
#[path = "reclaim/schemes.rs"]
mod schemes;
#[path = "reclaim/summary.rs"]
mod summary;
#[path = "reclaim/work.rs"]
mod work;

use clap::Parser;
use criterion::{Criterion, Throughput};
use schemes::Scheme;
use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::Duration;
use work::Setting;

/// How many call `synchronize` at the same time.
const CALLERS: [usize; 3] = [1, 16, 64];

/// What is asked for in a word that is neither criterion's nor every benchmark's.
#[derive(Parser)]
enum Mode {
    /// Plot resident memory while each scheme, in a process of its own, retires in a tight loop
    Memory(memory::Options),
    /// One scheme's part of `memory`: prints resident bytes as it goes
    #[command(hide = true)]
    MemoryOf(memory::ChildOptions),
}

/// Everything that is measured, and where.
struct Field {
    schemes: Vec<Box<dyn Scheme>>,
    cpus: Vec<usize>,
}

impl Field {
    fn new() -> Field {
        let field = Field { schemes: schemes::all(), cpus: clock::allowed_cpus() };
        if field.there().is_none() {
            record::skip("everything with a reader: this takes two CPUs");
        }
        field
    }

    fn scheme(&self, name: &str) -> Option<&dyn Scheme> {
        self.schemes.iter().find(|scheme| scheme.name() == name).map(|scheme| &**scheme)
    }

    /// The reader's CPU.
    fn there(&self) -> Option<usize> {
        self.cpus.get(1).copied()
    }

    /// So many threads without a reader, and with one, each with its name.
    fn settings(&self, threads: usize) -> impl Iterator<Item = (&'static str, Setting<'_>)> {
        let setting = move |reader| Setting { threads, reader, cpus: &self.cpus };
        let reader = self.there().map(|there| ("reader", setting(Some(there))));
        [("no reader", setting(None))].into_iter().chain(reader)
    }
}

static BENCH: record::Bench =
    record::Bench { name: "reclaim", is_ours: |name| name.starts_with("stillpoint"), floors: &[] };

fn main() -> ExitCode {
    let asked: Vec<_> = std::env::args().filter(|arg| arg != "--bench").collect();
    // Our subcommands' `--help` is none of criterion's.
    if asked.get(1).is_some_and(|word| ["memory", "memory-of"].contains(&word.as_str())) {
        record::begin(&BENCH);
        return match Mode::parse_from(&asked) {
            Mode::Memory(options) => memory::parent(&options),
            Mode::MemoryOf(options) => memory::child(&Field::new(), &options),
        };
    }
    let field = OnceCell::new();
    let groups =
        |criterion: &mut Criterion| criterion_groups(criterion, field.get_or_init(Field::new));
    harness::main(&BENCH, groups, |options| {
        summary::print(field.get_or_init(Field::new), options);
    })
}

fn criterion_groups(criterion: &mut Criterion, field: &Field) {
    let mut group = criterion.benchmark_group("synchronize");
    for callers in CALLERS {
        for scheme in field.schemes.iter().filter(|scheme| scheme.synchronize().is_some()) {
            for (name, setting) in field.settings(callers) {
                let name = format!("{}/{callers}, {name}", scheme.name());
                group.bench_function(name, |b| {
                    b.iter_custom(|n| {
                        let each = n.div_ceil(callers as u64);
                        let all = work::synchronize(&**scheme, setting, each);
                        all.map_or(Duration::ZERO, |all| {
                            all.wall.mul_f64(n as f64 / all.calls as f64)
                        })
                    });
                });
            }
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("retire");
    group.throughput(Throughput::Elements(1));
    for scheme in &field.schemes {
        for (name, setting) in field.settings(1) {
            group.bench_function(format!("{}/{name}", scheme.name()), |b| {
                b.iter_custom(|n| work::retire(&**scheme, setting, n).until_freed);
            });
        }
    }
    group.finish();
}

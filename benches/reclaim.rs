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
#[path = "reclaim/memory.rs"]
mod memory;
#[path = "reclaim/object.rs"]
mod object;
#[path = "reclaim/plot.rs"]
mod plot;
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
use std::process::ExitCode;
use std::time::Duration;
use work::Setting;

/// How many call `synchronize` at the same time.
const CALLERS: [usize; 3] = [1, 16, 64];

/// What is asked for in a word that is not criterion's.
#[derive(Parser)]
enum Mode {
    /// Compare the schemes in interleaved rounds
    Summary(summary::Options),
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
            println!("SKIPPED everything with a reader: this takes two CPUs");
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

fn main() -> ExitCode {
    // Cargo adds `--bench`, except under `cargo test`.
    let (cargo, asked): (Vec<_>, Vec<_>) = std::env::args().partition(|arg| arg == "--bench");
    // A word for criterion is none of ours, and our subcommands' `--help` is none of criterion's.
    let ours = asked.get(1).is_some_and(|word| {
        <Mode as clap::CommandFactory>::command().find_subcommand(word.as_str()).is_some()
    });
    if ours {
        return match Mode::parse_from(&asked) {
            Mode::Summary(options) => summary::print(&Field::new(), &options),
            Mode::Memory(options) => memory::parent(&options),
            Mode::MemoryOf(options) => memory::child(&Field::new(), &options),
        };
    }
    let field = Field::new();
    criterion_groups(&field);
    if asked.len() == 1 && !cargo.is_empty() {
        return summary::print(&field, &summary::Options::default());
    }
    ExitCode::SUCCESS
}

fn criterion_groups(field: &Field) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();

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

    criterion.final_summary();
}

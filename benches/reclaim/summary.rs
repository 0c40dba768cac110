//! The schemes beside each other, in tables.
//!
//! Every round runs each scheme once; figures are medians of the rounds, and a ratio is the
//! median of the rounds' ratios.

use crate::record::{self, Rounds};
use crate::rounds::{interleaved, quartiles};
use crate::schemes::{OURS, Scheme};
use crate::work::{self, Garbage, Retired, Setting, Synchronized};
use crate::{CALLERS, Field};
use bench_data::Better::{self, Less, More, Neither};
use comfy_table::{CellAlignment, Table, presets};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds that are timed
    #[arg(long, default_value_t = 21, value_parser = parse_rounds)]
    rounds: usize,
    /// Rounds in which the garbage is counted
    #[arg(long, default_value_t = 7, value_parser = parse_rounds)]
    counted: usize,
    /// Objects that a thread retires in one turn
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    retires: u64,
    /// Calls of synchronize in one turn, of all callers together
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..))]
    calls: u64,
    /// Three rounds of each, of a tenth of the objects
    #[arg(long, conflicts_with_all = ["rounds", "counted", "retires"])]
    quick: bool,
}

impl Options {
    fn quick(&self) -> Options {
        if self.quick {
            Options { rounds: 3, counted: 3, retires: self.retires / 10, ..self.clone() }
        } else {
            self.clone()
        }
    }
}

fn parse_rounds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&rounds| rounds > 0).ok_or_else(|| "at least one".to_owned())
}

pub(crate) fn print(field: &Field, options: &Options) {
    let options = &options.quick();
    let machine = stillpoint::machine();
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {} interleaved rounds.", options.rounds);
    synchronize(field, options);
    for threads in [1, 2] {
        for (reader, setting) in field.settings(threads) {
            let s = if threads == 1 { "" } else { "s" };
            let name = format!("{threads} thread{s}, {reader}");
            println!("\n{RETIRE}: {name}");
            println!("{}", retire(field, &name, setting, options));
        }
    }
    println!(
        "retiring: until the last object is retired; all: until the last one is freed.\n\
         Ratios are {OURS} / scheme, of rates: above 1, {OURS} is faster.\n\
         Garbage in objects retired and not yet freed, counted in {} rounds of their own.",
        options.counted
    );
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    quartiles(of.collect())[1]
}

/// A table whose first columns are names, and whose others are numbers.
fn table<const N: usize>(names: usize, header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One quantity of every round of every scheme.
fn take_down<R>(
    title: &str,
    metric: &str,
    better: Better,
    setting: &str,
    names: &[&str],
    runs: &[Vec<R>],
    of: impl Fn(&R) -> f64,
) {
    let all = names.iter().zip(runs);
    let all =
        all.map(|(name, its)| Rounds { setting, name, rounds: its.iter().map(&of).collect() });
    record::figures(title, metric, better, &all.collect::<Vec<_>>());
}

const SYNCHRONIZE: &str = "Synchronize, by so many threads";
const RETIRE: &str = "Retire 64 bytes";

fn synchronize(field: &Field, options: &Options) {
    println!("\n{SYNCHRONIZE} at the same time");
    let mut table = table(
        2,
        [
            "callers",
            "scheme",
            "wall time / calls, µs",
            "ratio",
            "one call takes, µs",
            "grace periods / calls",
            "broadcasts / calls",
        ],
    );
    let schemes: Vec<&dyn Scheme> =
        field.schemes.iter().map(|s| &**s).filter(|s| s.synchronize().is_some()).collect();
    let runs = CALLERS.into_iter().flat_map(|callers| field.settings(callers));
    for (reader, setting) in runs {
        let each = options.calls / setting.threads as u64;
        let rounds = interleaved(options.rounds, schemes.len(), |i| {
            work::synchronize(schemes[i], setting, each).expect("filtered")
        });
        let micros = |run: &Synchronized| run.wall.as_secs_f64() * 1e6 / run.calls as f64;
        let by = format!("{} at once, {reader}", setting.threads);
        let names: Vec<_> = schemes.iter().map(|scheme| scheme.name()).collect();
        take_down(SYNCHRONIZE, "wall time / calls, µs", Less, &by, &names, &rounds, micros);
        let per_call = |n: Option<u64>, run: &Synchronized| {
            n.map_or(f64::NAN, |n| n as f64 / run.calls as f64)
        };
        for (metric, count) in [
            ("grace periods / calls", (|run| run.grace_periods) as fn(&Synchronized) -> _),
            ("broadcasts / calls", |run| run.broadcasts),
        ] {
            let of = |run: &Synchronized| per_call(count(run), run);
            take_down(SYNCHRONIZE, metric, Neither, &by, &names, &rounds, of);
        }
        let ours = rounds.iter().zip(&schemes).find(|(_, scheme)| scheme.name() == OURS);
        for (runs, scheme) in rounds.iter().zip(&schemes) {
            let wall = median(runs.iter().map(micros));
            let ratios = ours.iter().flat_map(|(ours, _)| ours.iter()).zip(runs);
            let per_call = |count: fn(&Synchronized) -> Option<u64>| {
                let known: Option<Vec<_>> = runs.iter().map(count).collect();
                known.map_or("-".to_owned(), |counts| {
                    let per_call = counts.iter().zip(runs).map(|(&n, r)| n as f64 / r.calls as f64);
                    format!("{:.3}", median(per_call))
                })
            };
            table.add_row([
                format!("{}, {reader}", setting.threads),
                scheme.name().to_owned(),
                format!("{wall:.2}"),
                format!("{:.2}", median(ratios.map(|(ours, its)| micros(ours) / micros(its)))),
                format!("{:.1}", wall * setting.threads as f64),
                per_call(|run| run.grace_periods),
                per_call(|run| run.broadcasts),
            ]);
        }
    }
    println!("{table}");
    println!("Ratios are {OURS} / scheme, of times: below 1, {OURS} is faster.");
}

fn retire(field: &Field, name: &str, setting: Setting<'_>, options: &Options) -> Table {
    let schemes = &field.schemes;
    let all = options.retires * setting.threads as u64;
    let timed: Vec<Vec<Retired>> = interleaved(options.rounds, schemes.len(), |i| {
        work::retire(&*schemes[i], setting, options.retires)
    });
    let counted: Vec<Vec<Garbage>> = interleaved(options.counted, schemes.len(), |i| {
        work::garbage(&*schemes[i], setting, options.retires)
    });
    let names: Vec<_> = schemes.iter().map(|scheme| scheme.name()).collect();
    let rate = |time: std::time::Duration| all as f64 / time.as_secs_f64() / 1e6;
    let retiring = |run: &Retired| rate(run.retiring);
    take_down(RETIRE, "retiring, M/s", More, name, &names, &timed, retiring);
    take_down(RETIRE, "all, M/s", More, name, &names, &timed, |run| rate(run.until_freed));
    let peak = |garbage: &Garbage| garbage.peak as f64;
    take_down(RETIRE, "peak garbage, objects", Less, name, &names, &counted, peak);
    take_down(RETIRE, "mean garbage, objects", Less, name, &names, &counted, |g| g.mean);
    let broadcasts = |run: &Retired| run.broadcasts.unwrap_or(f64::NAN);
    take_down(RETIRE, "broadcasts / M", Neither, name, &names, &timed, broadcasts);
    let mut table = table(
        1,
        [
            "scheme",
            "retiring, M/s",
            "ratio",
            "all, M/s",
            "ratio",
            "peak garbage",
            "worst peak",
            "mean",
            "broadcasts / M",
        ],
    );
    let at = schemes.iter().position(|scheme| scheme.name() == OURS).expect("we are there");
    for ((scheme, timed_its), garbage) in schemes.iter().zip(&timed).zip(&counted) {
        let rates = |time: fn(&Retired) -> f64| {
            let rate = move |run: &Retired| all as f64 / time(run) / 1e6;
            let ratios = timed[at].iter().zip(timed_its).map(|(a, b)| rate(a) / rate(b));
            let rate = median(timed_its.iter().map(rate));
            [format!("{rate:.2}"), format!("{:.2}", median(ratios))]
        };
        let [retiring, retiring_ratio] = rates(|run| run.retiring.as_secs_f64());
        let [freed, freed_ratio] = rates(|run| run.until_freed.as_secs_f64());
        let broadcasts: Option<Vec<_>> = timed_its.iter().map(|run| run.broadcasts).collect();
        let left = garbage.iter().map(|garbage| garbage.left).max().unwrap_or(0);
        if left > 0 {
            println!("{}: {left} objects were never freed", scheme.name());
        }
        table.add_row([
            scheme.name().to_owned(),
            retiring,
            retiring_ratio,
            freed,
            freed_ratio,
            format!("{:.0}", median(garbage.iter().map(|garbage| garbage.peak as f64))),
            garbage.iter().map(|garbage| garbage.peak).max().unwrap_or(0).to_string(),
            format!("{:.0}", median(garbage.iter().map(|garbage| garbage.mean))),
            broadcasts
                .map_or("-".to_owned(), |counts| format!("{:.0}", median(counts.into_iter()))),
        ]);
    }
    table
}

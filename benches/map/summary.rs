//! The maps beside each other, in tables.
//!
//! Every round runs each map once; figures are medians of the rounds, and a ratio is the median of
//! the rounds' ratios.

use crate::claims::{self, Measured, verdict};
use crate::clock;
use crate::mix::{Cell, Keys, Mix};
use crate::peers::{self, Kind, OURS};
use crate::record::{self, Rounds};
use crate::rounds::{interleaved, quartiles};
use bench_data::Better;
use comfy_table::{CellAlignment, Table, presets};
use std::time::Instant;

/// Operations of a map in a turn of the tight loops.
const TIGHT: u64 = 100_000;
/// A cell in which we have less than this share of the best one's throughput is a loss.
const LOSS: f64 = 0.9;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Mixes of operations
    #[arg(long, value_delimiter = ',', default_value = "read-heavy,exchange,rapid-grow")]
    mix: Vec<Mix>,
    /// Which keys are used how often
    #[arg(long, value_delimiter = ',', default_value = "uniform,zipf")]
    keys: Vec<Keys>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Entries of a map
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,
    /// Operations of a turn, by all threads together
    #[arg(long, default_value_t = 400_000)]
    operations: usize,
    /// Rounds that are measured
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Three rounds of fewer operations
    #[arg(long, conflicts_with_all = ["rounds", "operations"])]
    quick: bool,
    /// Only the mixes: no tight loops, no memory
    #[arg(long)]
    mixes: bool,
}

pub(crate) fn print(cpus: &[usize], options: &Options) {
    let machine = stillpoint::machine();
    let (rounds, operations) =
        if options.quick { (3, 100_000) } else { (options.rounds.into(), options.operations) };
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of {rounds} interleaved rounds, maps of {} entries.", options.entries);
    if !options.mixes {
        tight_loops(cpus, rounds * 3, options.entries);
        memory();
    }
    let mut losses = vec![];
    for &mix in &options.mix {
        for &keys in &options.keys {
            if mix == Mix::RapidGrow && keys == Keys::Zipf {
                continue;
            }
            let title = format!("{mix}, {keys:?} keys");
            println!("\n{title}: millions of operations a second");
            let mut table = table();
            let mut claims = vec![];
            for threads in options.threads.iter().map(|&threads| usize::from(threads)) {
                let operations = operations / threads;
                let cell = Cell { mix, keys, threads, entries: options.entries, operations };
                let mut round = 0;
                let times = interleaved(rounds, peers::ALL.len(), |i| {
                    round += 1;
                    let length = (peers::ALL[i].run)(&cell, cpus, round / peers::ALL.len() as u64);
                    (operations * threads) as f64 / length.as_secs_f64() / 1e6
                });
                let s = if threads == 1 { "" } else { "s" };
                let setting = format!("{threads} thread{s}");
                let all = peers::ALL.iter().zip(&times).map(|(peer, rates)| Rounds {
                    setting: &setting,
                    name: peer.name,
                    rounds: rates.clone(),
                });
                record::figures(&title, "M/s", Better::More, &all.collect::<Vec<_>>());
                let medians: Vec<f64> =
                    times.iter().map(|rates| quartiles(rates.clone())[1]).collect();
                let (best, _) = (1..medians.len())
                    .map(|i| (i, medians[i]))
                    .max_by(|a, b| a.1.total_cmp(&b.1))
                    .expect("there are others");
                let ratios: Vec<f64> =
                    times[0].iter().zip(&times[best]).map(|(a, b)| a / b).collect();
                let over = quartiles(ratios.clone())[1];
                let mut row = vec![threads.to_string()];
                row.extend(medians.iter().map(|rate| format!("{rate:.2}")));
                row.push(format!("{over:.2}"));
                table.add_row(row);
                let name = peers::ALL[best].name;
                let what = format!("{OURS} / {name}, {mix}, {keys:?}, {threads} threads");
                if over < LOSS {
                    losses.push(format!("{what}: {over:.2}"));
                }
                if mix == Mix::ReadHeavy {
                    claims.push((format!("{OURS} / the best other, {setting}"), ratios));
                }
            }
            println!("{table}");
            claims.iter().for_each(|(what, ratios)| verdict(&title, what, ratios));
        }
    }
    println!("\nCells in which {OURS} reaches less than {LOSS} of the best of the others:");
    losses.iter().for_each(|loss| println!("  {loss}"));
    if losses.is_empty() {
        println!("  none");
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let names = peers::ALL.iter().map(|peer| peer.name);
    table.set_header(["threads"].into_iter().chain(names).chain(["of the best other"]));
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn tight_loops(cpus: &[usize], rounds: usize, entries: u64) {
    // In a thread of its own, since pinning lasts.
    let measure = || {
        clock::pin(cpus[0]);
        for kind in Kind::ALL {
            let runs = peers::ALL.iter().map(|peer| -> claims::Run<'_> {
                let mut run = (peer.tight)(kind, entries);
                let timed = move || {
                    let start = Instant::now();
                    run(TIGHT);
                    start.elapsed().as_nanos() as f64 / TIGHT as f64
                };
                let timed = std::cell::RefCell::new(timed);
                claims::Run::new(peer.name, move || (timed.borrow_mut())())
            });
            let title = format!("{}, one thread", kind.name());
            let measured = Measured::interleaved(&title, rounds, runs.collect());
            for other in &peers::ALL[1..] {
                measured.claim(OURS, other.name);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(measure).join().expect("measuring does not panic");
    });
}

/// By what the allocator has given out after the map was filled one by one.
fn memory() {
    let sizes = [100_000, 131_073, 200_000, 260_000];
    println!("\nBytes for an entry of 16, by the number of entries");
    let mut all = vec![];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["map".to_owned()].into_iter().chain(sizes.map(|n| n.to_string())));
    for peer in peers::ALL {
        let of = |entries| {
            let bytes = (peer.memory)(entries);
            all.push((format!("{entries} entries"), peer.name, bytes));
            format!("{bytes:.0}")
        };
        table.add_row([peer.name.to_owned()].into_iter().chain(sizes.map(of)));
    }
    println!("{table}");
    let all =
        all.iter().map(|(setting, name, bytes)| Rounds { setting, name, rounds: vec![*bytes] });
    record::figures("Memory of a map", "bytes", Better::Less, &all.collect::<Vec<_>>());
}

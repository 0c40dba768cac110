//! Simulates locks; see the library of this package.

use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use sim::chart::{Curve, draw};
use sim::locks::NAMES;
use sim::workload::{Outcome, Setting, simulate};
use sim::{Costs, Shape};
use std::error::Error;
use std::path::PathBuf;

/// Simulates locks on a machine with memory nodes. All figures are the model's.
#[derive(Parser)]
struct Options {
    /// Which lock, more than once for several; all if none is given
    #[arg(long, value_parser = NAMES)]
    lock: Vec<String>,
    /// CPUs in all
    #[arg(long, default_value_t = 128)]
    cpus: usize,
    /// Memory nodes
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Last-level caches in each node
    #[arg(long, default_value_t = 1)]
    caches: usize,
    /// Threads
    #[arg(long, default_value_t = 128)]
    threads: usize,
    /// Simulated milliseconds
    #[arg(long, default_value_t = 10)]
    millis: u64,
    /// Cache lines that a critical section changes
    #[arg(long, default_value_t = 4)]
    lines: usize,
    /// What it computes besides, in nanoseconds
    #[arg(long, default_value_t = 50)]
    critical: u64,
    /// Mean nanoseconds between two critical sections of a thread
    #[arg(long, default_value_t = 500)]
    outside: u64,
    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Throughput for 1, 2, 4, … threads, up to --threads
    #[arg(long)]
    curve: bool,
    /// Where to draw that
    #[arg(long, requires = "curve")]
    svg: Option<PathBuf>,
}

impl Options {
    fn setting(&self, threads: usize) -> Setting {
        Setting {
            shape: Shape { cpus: self.cpus, nodes: self.nodes, caches_per_node: self.caches },
            costs: Costs::default(),
            threads,
            nanos: self.millis * 1_000_000,
            lines: self.lines,
            critical: self.critical,
            outside: self.outside,
            seed: self.seed,
        }
    }

    fn caption(&self) -> String {
        format!(
            "simulated: {} CPUs, {} nodes, {} caches each; sections of {} lines and {} ns, {} ns between them",
            self.cpus, self.nodes, self.caches, self.lines, self.critical, self.outside
        )
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let all = NAMES.map(String::from);
    let locks = if options.lock.is_empty() { &all[..] } else { &options.lock };
    println!("{}", options.caption());
    if options.curve { curves(&options, locks) } else { table(&options, locks) }
}

fn run(lock: &str, setting: &Setting) -> Result<Outcome, String> {
    simulate(lock, setting).ok_or_else(|| format!("no lock {lock}"))
}

fn new_table(header: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// All there is to know, for one number of threads.
fn table(options: &Options, locks: &[String]) -> Result<(), Box<dyn Error>> {
    let header = [
        "lock",
        "sections/µs",
        "wait p50, µs",
        "p99, µs",
        "fairness",
        "remote/1000",
        "holders preempted, ms",
        "parks",
    ];
    let mut table = new_table(&header.map(String::from));
    for lock in locks {
        let seen = run(lock, &options.setting(options.threads))?;
        table.add_row([
            Cell::new(lock),
            Cell::new(format!("{:.3}", seen.per_micro)),
            Cell::new(format!("{:.1}", seen.median_wait as f64 / 1e3)),
            Cell::new(format!("{:.1}", seen.p99_wait as f64 / 1e3)),
            Cell::new(format!("{:.3}", seen.fairness)),
            Cell::new(format!("{:.1}", seen.remote)),
            Cell::new(format!("{:.2}", seen.machine.preempted_holder_nanos as f64 / 1e6)),
            Cell::new(seen.machine.parks),
        ]);
    }
    println!("{} threads, {} ms, seed {}", options.threads, options.millis, options.seed);
    println!("{table}");
    Ok(())
}

/// Throughput over the number of threads.
fn curves(options: &Options, locks: &[String]) -> Result<(), Box<dyn Error>> {
    let numbers = std::iter::successors(Some(1), |number| Some(number * 2));
    let numbers: Vec<usize> = numbers.take_while(|&number| number <= options.threads).collect();
    let heads = numbers.iter().map(|number| number.to_string());
    let header: Vec<String> = std::iter::once("threads".to_owned()).chain(heads).collect();
    let mut table = new_table(&header);
    let mut curves: Vec<Curve> = Vec::new();
    for lock in locks {
        let point = |&number: &usize| {
            run(lock, &options.setting(number)).map(|seen| (number, seen.per_micro))
        };
        let points: Vec<_> = numbers.iter().map(point).collect::<Result<_, _>>()?;
        let cells = points.iter().map(|(_, value)| Cell::new(format!("{value:.2}")));
        table.add_row(std::iter::once(Cell::new(lock)).chain(cells));
        curves.push((lock.clone(), points));
    }
    println!("critical sections in a microsecond; {} ms, seed {}", options.millis, options.seed);
    println!("{table}");
    if let Some(path) = &options.svg {
        draw(path, &options.caption(), &curves)?;
    }
    Ok(())
}

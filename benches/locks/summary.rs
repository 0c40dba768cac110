//! The locks beside each other, in tables.
//!
//! Every round runs each lock once; figures are medians of the rounds, and a ratio is the median
//! of the rounds' ratios. Waits are timed in rounds of their own.

use crate::claims::{self, Measured, verdict};
use crate::clock;
use crate::locks::{self, MUTEX, PARKING_LOT, Peer, SPIN, SPIN_LOCK};
use crate::record::{self, Rounds};
use crate::rounds::{interleaved, quartiles};
use crate::work::{self, Run, Section, Tally, Window};
use bench_data::Better;
use comfy_table::{CellAlignment, Table, presets};
use std::time::{Duration, Instant};

/// Operations of a lock in a turn of the tight loops.
const TIGHT: u64 = 100_000;
/// A row in which `Mutex` has less than this part of the best lock's throughput is a loss.
const LEVEL: f64 = 0.95;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Lengths of critical sections, in nanoseconds
    #[arg(long, value_delimiter = ',', default_value = "0,100,2000",
        value_parser = clap::value_parser!(u64).range(..1_000_000))]
    sections: Vec<u64>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Locks beside ours and parking_lot, by a part of the name; by default all
    #[arg(long, value_delimiter = ',')]
    lock: Vec<String>,
    /// Rounds that are measured, and half as many in which waits are timed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long a lock's turn is, in milliseconds
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    turn: u64,
    /// Three rounds of twenty milliseconds
    #[arg(long, conflicts_with_all = ["rounds", "turn"])]
    quick: bool,
    /// Not beside a thread that computes
    #[arg(long)]
    alone: bool,
}

/// What was measured of a lock in a cell.
struct Cell {
    runs: Vec<Run>,
    timed: Tally,
}

impl Cell {
    /// The median over the rounds.
    fn median(&self, of: fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of))
    }

    fn ratios(&self, other: &Cell, of: fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().zip(&other.runs).map(|(a, b)| of(a) / of(b)).collect()
    }

    /// The median of the rounds' ratios.
    fn over(&self, other: &Cell, of: fn(&Run) -> f64) -> f64 {
        median(self.ratios(other, of).into_iter())
    }
}

type Quantity = fn(&Run) -> f64;

/// Millions a second, by all threads.
fn rate(run: &Run) -> f64 {
    run.tally.operations as f64 / run.wall.as_secs_f64() / 1e6
}

/// Nanoseconds that one operation takes of all threads' CPU time.
fn cpu(run: &Run) -> f64 {
    run.tally.cpu as f64 / run.tally.operations.max(1) as f64
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    quartiles(of.collect())[1]
}

pub(crate) fn print(cpus: &[usize], options: &Options) {
    let machine = stillpoint::machine();
    let is_asked = |peer: &&Peer| {
        let of = |part: &String| peer.name.contains(part.as_str());
        [MUTEX, SPIN_LOCK, PARKING_LOT].contains(&peer.name)
            || options.lock.is_empty()
            || options.lock.iter().any(of)
    };
    let peers: Vec<&Peer> = locks::ALL.iter().filter(is_asked).collect();
    let (rounds, turn) =
        if options.quick { (3, 20) } else { (usize::from(options.rounds), options.turn) };
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Longer time slices: {}", stillpoint::lock::has_slice_extension());
    println!("Medians of {rounds} interleaved rounds of {turn} ms.");
    tight_loop(&peers, cpus, rounds * 5);
    let turn = Duration::from_millis(turn);
    let mut losses = vec![];
    for hogged in [false, true] {
        if hogged && options.alone {
            continue;
        }
        let beside = if hogged { ", beside a thread that computes" } else { "" };
        for section in options.sections.iter().map(|&nanos| Section::new(nanos)) {
            let title = format!("Sections of {} ns{beside}", section.nanos);
            println!("\n{title}");
            let mut table = table(HEADER);
            let mut claims: Vec<(String, Vec<f64>)> = vec![];
            for threads in options.threads.iter().map(|&threads| usize::from(threads)) {
                let measure = || measure(&peers, section, threads, cpus, (rounds, turn));
                let spin = |times| (0..times).for_each(|_| std::hint::spin_loop());
                let cells = if hogged { clock::beside(spin, cpus[0], measure) } else { measure() };
                let its = |name| {
                    let mut both = peers.iter().zip(&cells);
                    both.find(|(peer, _)| peer.name == name).map(|(_, cell)| cell)
                };
                let parking_lot = its(PARKING_LOT).expect("always there");
                let (mutex, spinning) =
                    (its(MUTEX).expect("there"), its(SPIN_LOCK).expect("there"));
                for (peer, cell) in peers.iter().zip(&cells) {
                    table.add_row(row(threads, peer, cell, parking_lot));
                }
                take_down(&title, threads, &peers, &cells);
                let (best, part) = peers
                    .iter()
                    .zip(&cells)
                    .filter(|(peer, _)| ![MUTEX, SPIN_LOCK].contains(&peer.name))
                    .map(|(peer, cell)| (peer.name, mutex.over(cell, rate)))
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .expect("parking_lot");
                if part < LEVEL {
                    let row = format!("{} ns{beside}, {threads} threads", section.nanos);
                    losses.push(format!("{row}: {part:.2} of {best}"));
                }
                // Oversubscribed: somebody waits for a CPU.
                if threads > cpus.len() {
                    if let Some(spin) = its(SPIN) {
                        let claim = format!("{SPIN_LOCK} / {SPIN}, throughput, {threads} threads");
                        claims.push((claim, spinning.ratios(spin, rate)));
                    }
                    let claim = format!("{SPIN_LOCK} / {PARKING_LOT}, time, {threads} threads");
                    claims.push((claim, parking_lot.ratios(spinning, rate)));
                }
            }
            println!("{table}");
            claims.iter().for_each(|(claim, ratios)| verdict(&title, claim, ratios));
        }
    }
    legend();
    println!("\nRows in which {MUTEX} has less than {LEVEL} of another's throughput:");
    losses.iter().for_each(|loss| println!("  {loss}"));
    if losses.is_empty() {
        println!("  none");
    }
    println!("Time slices: {:?}", stillpoint::lock::slice_statistics());
}

const HEADER: [&str; 7] =
    ["threads", "lock", "M/s", "of parking_lot", "wait p99, µs", "CPU ns", "of parking_lot"];

fn legend() {
    for line in [
        "",
        "M/s: sections of all threads, and that over parking_lot's: above 1, the lock is faster.",
        "wait p99: from asking to having, of one in 16, timed in rounds of their own, with what the",
        "clock takes. CPU ns: what the kernel charged the threads for a section",
        "(CLOCK_THREAD_CPUTIME_ID), and that over parking_lot's: below 1, the lock is cheaper.",
        "Up to as many threads as CPUs are pinned.",
    ] {
        println!("{line}");
    }
}

fn measure(
    peers: &[&Peer],
    section: Section,
    threads: usize,
    cpus: &[usize],
    (rounds, turn): (usize, Duration),
) -> Vec<Cell> {
    let locks: Vec<_> = peers.iter().map(|peer| (peer.new)()).collect();
    let round = |samples| {
        let locks = &locks;
        move |i: usize| work::run(&*locks[i], section, threads, cpus, &Window::new(turn, samples))
    };
    let runs = interleaved(rounds, peers.len(), round(false));
    let timed = interleaved(rounds.div_ceil(2), peers.len(), round(true));
    let together = |runs: Vec<Run>| {
        let mut all = Tally::new();
        runs.iter().for_each(|run| all.add(&run.tally));
        all
    };
    runs.into_iter().zip(timed).map(|(runs, timed)| Cell { runs, timed: together(timed) }).collect()
}

fn take_down(title: &str, threads: usize, peers: &[&Peer], cells: &[Cell]) {
    let s = if threads == 1 { "" } else { "s" };
    let setting = format!("{threads} thread{s}");
    let quantities: [(&str, Better, Quantity); 2] =
        [("M/s", Better::More, rate), ("CPU ns", Better::Less, cpu)];
    for (metric, better, of) in quantities {
        let all = peers.iter().zip(cells).map(|(peer, cell)| {
            let rounds = cell.runs.iter().map(of).collect();
            Rounds { setting: &setting, name: peer.name, rounds }
        });
        record::figures(title, metric, better, &all.collect::<Vec<_>>());
    }
    let waits = peers.iter().zip(cells).map(|(peer, cell)| {
        let p99 = cell.timed.waits.value_at_quantile(0.99) as f64 / 1e3;
        Rounds { setting: &setting, name: peer.name, rounds: vec![p99] }
    });
    record::figures(title, "wait p99, µs", Better::Less, &waits.collect::<Vec<_>>());
}

fn row(threads: usize, peer: &Peer, cell: &Cell, parking_lot: &Cell) -> [String; 7] {
    let p99 = cell.timed.waits.value_at_quantile(0.99) as f64 / 1e3;
    [
        threads.to_string(),
        peer.name.to_owned(),
        format!("{:.3}", cell.median(rate)),
        format!("{:.2}", cell.over(parking_lot, rate)),
        format!("{p99:.1}"),
        format!("{:.0}", cell.median(cpu)),
        format!("{:.2}", cell.over(parking_lot, cpu)),
    ]
}

/// The uncontended lock.
fn tight_loop(peers: &[&Peer], cpus: &[usize], rounds: usize) {
    let measure = || {
        clock::pin(cpus[0]);
        let runs = peers.iter().map(|peer| -> claims::Run<'_> {
            let lock = (peer.new)();
            let timed = move || {
                // For nothing: brings back to the caches what the one before us put out.
                lock.tight(TIGHT);
                let start = Instant::now();
                lock.tight(TIGHT);
                start.elapsed().as_nanos() as f64 / TIGHT as f64
            };
            claims::Run::new(peer.name, timed)
        });
        let title = "Lock and unlock, one thread, tight loop";
        let m = Measured::interleaved(title, rounds, runs.collect());
        let others = peers.iter().map(|peer| peer.name);
        for other in others.filter(|name| ![MUTEX, SPIN_LOCK].contains(name)) {
            m.claim(MUTEX, other);
            m.claim(SPIN_LOCK, other);
        }
    };
    // In a thread of its own, since pinning lasts.
    std::thread::scope(|scope| {
        scope.spawn(measure).join().expect("measuring does not panic");
    });
}

/// A table whose second column is a name, and whose others are numbers.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for (at, column) in table.column_iter_mut().enumerate() {
        if at != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

//! The locks beside each other, in tables.
//!
//! Every round runs each lock once; figures are medians of the rounds, and a ratio is the median
//! of the rounds' ratios. Operations are timed in rounds of their own, since reading the clock
//! takes longer than most of them; what that takes is subtracted.

use crate::claims::{self, Measured, verdict};
use crate::locks::{self, OURS, PARKING_LOT, Peer};
use crate::mix::Mix;
use crate::record::{self, Rounds};
use crate::rounds::{interleaved, quartiles};
use crate::work::{self, Run, Tally, Window};
use crate::{clock, revocation};
use bench_data::Better;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Operations of a lock in a turn of the tight loops.
const TIGHT: u64 = 100_000;
/// A cell in which we cost more than so many times what parking_lot costs is a loss.
const LOSS: f64 = 1.15;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Shares of reads, in percent
    #[arg(long, value_delimiter = ',', value_parser = parse_share,
        default_value = "100,99.9,99,90,50,0")]
    reads: Vec<u32>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Locks beside stillpoint and parking_lot, by a part of the name; by default all
    #[arg(long, value_delimiter = ',')]
    lock: Vec<String>,
    /// Rounds that are measured, and half as many in which operations are timed
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long a lock's turn is, in milliseconds
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    turn: u64,
    /// Three rounds of ten milliseconds
    #[arg(long, conflicts_with_all = ["rounds", "turn"])]
    quick: bool,
    /// Only the mixes: no tight loops, no revocations
    #[arg(long)]
    mixes: bool,
}

/// In thousandths.
fn parse_share(text: &str) -> Result<u32, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.map(|share: f64| (share * 10.0).round() as u32).ok_or("not a percentage")
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

    /// The median of the rounds' ratios.
    fn over(&self, other: &Cell, of: fn(&Run) -> f64) -> f64 {
        median(self.ratios(other, of).into_iter())
    }

    fn ratios(&self, other: &Cell, of: fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().zip(&other.runs).map(|(a, b)| of(a) / of(b)).collect()
    }
}

/// Millions a second, by all threads.
fn rate(run: &Run) -> f64 {
    run.tally.operations as f64 / run.wall.as_secs_f64() / 1e6
}

/// Nanoseconds that one operation takes of all threads' CPU time.
fn cpu(run: &Run) -> f64 {
    run.tally.cpu as f64 / run.tally.operations as f64
}

/// How many CPUs the threads had on average.
fn cpus_had(run: &Run) -> f64 {
    run.tally.cpu as f64 / run.wall.as_nanos() as f64
}

fn broadcasts(run: &Run) -> f64 {
    run.broadcasts as f64 * 1e6 / run.tally.operations as f64
}

pub(crate) fn print(cpus: &[usize], options: &Options) {
    let machine = stillpoint::machine();
    let is_asked = |peer: &&Peer| {
        let of = |part: &String| peer.name.contains(part.as_str());
        [OURS, PARKING_LOT].contains(&peer.name)
            || options.lock.is_empty()
            || options.lock.iter().any(of)
    };
    let peers: Vec<&Peer> = locks::ALL.iter().filter(is_asked).collect();
    let (rounds, turn) =
        if options.quick { (3, 10) } else { (usize::from(options.rounds), options.turn) };
    let tight = rounds * 9;
    println!("\nSummary on tier {}: {}", machine.tier(), machine.reason());
    println!("Medians of interleaved rounds: {tight} of tight loops, {rounds} of {turn} ms else.");
    if !options.mixes {
        tight_loops(&peers, cpus, tight);
        revocation::print(&peers, cpus, rounds * 2);
    }
    let turn = Duration::from_millis(turn);
    let mut losses = vec![];
    for &share in &options.reads {
        let mix = Mix::new(share);
        let title = format!("{mix} reads");
        println!("\n{title}");
        let mut table = table(2, HEADER);
        let mut claims: Vec<(String, Vec<f64>)> = vec![];
        for threads in options.threads.iter().map(|&threads| usize::from(threads)) {
            let cells = measure(&peers, &mix, threads, cpus, (rounds, turn));
            let its = |name| peers.iter().zip(&cells).find(|(peer, _)| peer.name == name);
            let (_, parking_lot) = its(PARKING_LOT).expect("always there");
            let (_, ours) = its(OURS).expect("always there");
            for (peer, cell) in peers.iter().zip(&cells) {
                table.add_row(row(&mix, threads, peer, cell, parking_lot));
            }
            take_down(&title, &mix, threads, &peers, &cells);
            for (what, costs) in
                [("time", parking_lot.over(ours, rate)), ("CPU time", ours.over(parking_lot, cpu))]
            {
                if costs > LOSS {
                    losses.push(format!("{mix} reads, {threads} threads: {what} {costs:.2}"));
                }
            }
            if threads == 2 && share == 1000 {
                let claim = format!("{OURS} / {PARKING_LOT}, throughput, two readers");
                claims.push((claim, ours.ratios(parking_lot, rate)));
            }
            if share == 0 {
                let claim = format!("{OURS} / {PARKING_LOT}, time, {threads} writing");
                claims.push((claim, parking_lot.ratios(ours, rate)));
            }
        }
        println!("{table}");
        claims.iter().for_each(|(claim, ratios)| verdict(&title, claim, ratios));
    }
    legend();
    println!("\nCells in which {OURS} costs more than {LOSS} times what {PARKING_LOT} does:");
    losses.iter().for_each(|loss| println!("  {loss}"));
    if losses.is_empty() {
        println!("  none");
    }
}

const HEADER: [&str; 11] = [
    "threads",
    "lock",
    "ns",
    "M/s",
    "of parking_lot",
    "CPU ns",
    "of parking_lot",
    "CPUs",
    "read p99.9, µs",
    "write p99.9, µs",
    "broadcasts / M",
];

fn legend() {
    for line in [
        "",
        "ns: wall time of an operation, times threads. M/s: operations of all threads, and that",
        "over parking_lot's: above 1, the lock is faster. CPU ns: what the kernel charged the",
        "threads for an operation (CLOCK_THREAD_CPUTIME_ID), and that over parking_lot's: below 1,",
        "the lock is cheaper. CPUs: how many the threads had on average; where there are enough,",
        "what is missing they slept, or the neighbours had it. p99.9: of one operation in 16 (of",
        "every write where one in 50 or fewer is one), timed in rounds of their own, less what the",
        "clock takes. Up to as many threads as CPUs are pinned.",
        "* replaces the value as a whole, which allocates; readers do not keep writers out.",
    ] {
        println!("{line}");
    }
}

fn measure(
    peers: &[&Peer],
    mix: &Mix,
    threads: usize,
    cpus: &[usize],
    (rounds, turn): (usize, Duration),
) -> Vec<Cell> {
    let locks: Vec<_> = peers.iter().map(|peer| (peer.new)()).collect();
    let round = |samples| {
        let locks = &locks;
        move |i: usize| work::run(&*locks[i], mix, threads, cpus, &Window::new(turn, samples))
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

fn take_down(title: &str, mix: &Mix, threads: usize, peers: &[&Peer], cells: &[Cell]) {
    let s = if threads == 1 { "" } else { "s" };
    let setting = format!("{threads} thread{s}");
    let take = |metric, better, of: &dyn Fn(&Cell) -> Vec<f64>| {
        let all = peers.iter().zip(cells).map(|(peer, cell)| Rounds {
            setting: &setting,
            name: peer.name,
            rounds: of(cell),
        });
        record::figures(title, metric, better, &all.collect::<Vec<_>>());
    };
    take("M/s", Better::More, &|cell| cell.runs.iter().map(rate).collect());
    take("CPU ns", Better::Less, &|cell| cell.runs.iter().map(cpu).collect());
    let p999 = |of: &Histogram<u64>| vec![of.value_at_quantile(0.999) as f64 / 1e3];
    if mix.has_reads() {
        take("read p99.9, µs", Better::Less, &|cell| p999(&cell.timed.reads));
    }
    if mix.has_writes() {
        take("write p99.9, µs", Better::Less, &|cell| p999(&cell.timed.writes));
    }
}

fn row(mix: &Mix, threads: usize, peer: &Peer, cell: &Cell, parking_lot: &Cell) -> [String; 11] {
    let micros_if = |has: bool, of: &Histogram<u64>| {
        if has { micros(of, Quantile::P999) } else { "-".to_owned() }
    };
    let sent = cell.median(broadcasts);
    [
        threads.to_string(),
        peer.name.to_owned(),
        format!("{:.2}", threads as f64 * 1e3 / cell.median(rate)),
        format!("{:.2}", cell.median(rate)),
        format!("{:.2}", cell.over(parking_lot, rate)),
        format!("{:.2}", cell.median(cpu)),
        format!("{:.2}", cell.over(parking_lot, cpu)),
        format!("{:.1}", cell.median(cpus_had)),
        micros_if(mix.has_reads(), &cell.timed.reads),
        micros_if(mix.has_writes(), &cell.timed.writes),
        if peer.name == OURS { format!("{sent:.0}") } else { "-".to_owned() },
    ]
}

fn tight_loops(peers: &[&Peer], cpus: &[usize], rounds: usize) {
    let lock = |peer: &&Peer| (peer.name.to_owned(), (peer.new)());
    let others = || peers.iter().map(|p| p.name).filter(|name| ![OURS, PARKING_LOT].contains(name));
    let per_operation = |time: Duration| time.as_nanos() as f64 / TIGHT as f64;
    let timed = |work: &dyn Fn()| {
        // For nothing: brings back to the caches what the one before us put out.
        work();
        let start = Instant::now();
        work();
        per_operation(start.elapsed())
    };
    // In a thread of its own, since pinning lasts.
    let measure = || {
        clock::pin(cpus[0]);
        let runs = peers.iter().map(lock).map(|(name, lock)| -> claims::Run<'_> {
            claims::Run::new(&name, move || timed(&|| lock.reads(TIGHT)))
        });
        let m = Measured::interleaved("A read, one thread, tight loop", rounds, runs.collect());
        m.claim(OURS, PARKING_LOT);
        others().for_each(|other| m.claim(other, PARKING_LOT));
        let runs = peers.iter().map(lock).map(|(name, lock)| -> claims::Run<'_> {
            claims::Run::new(&name, move || timed(&|| lock.writes(TIGHT)))
        });
        let m = Measured::interleaved("A write, one thread, tight loop", rounds, runs.collect());
        m.claim(OURS, PARKING_LOT);
        others().for_each(|other| m.claim(other, PARKING_LOT));
    };
    std::thread::scope(|scope| {
        scope.spawn(measure).join().expect("measuring does not panic");
    });
    if cpus.len() < 2 {
        return record::skip("two reading threads: this takes two CPUs");
    }
    let runs = peers.iter().map(lock).map(|(name, lock)| -> claims::Run<'_> {
        let run = move || per_operation(work::reads_by(&*lock, &cpus[..2], TIGHT)) / 2.0;
        claims::Run::new(&name, run)
    });
    let title = "A read, two threads: time of the whole";
    let m = Measured::interleaved(title, rounds, runs.collect());
    m.claim(PARKING_LOT, OURS);
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    quartiles(of.collect())[1]
}

/// A part of all samples.
#[derive(Clone, Copy)]
pub(crate) struct Quantile(f64);

impl Quantile {
    pub(crate) const MEDIAN: Quantile = Quantile(0.5);
    pub(crate) const P99: Quantile = Quantile(0.99);
    const P999: Quantile = Quantile(0.999);
}

pub(crate) fn micros(of: &Histogram<u64>, quantile: Quantile) -> String {
    format!("{:.2}", of.value_at_quantile(quantile.0) as f64 / 1e3)
}

/// A table whose first columns are names, and whose others are numbers.
pub(crate) fn table<const N: usize>(names: usize, header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

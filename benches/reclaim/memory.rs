//! Resident memory while one thread retires in a tight loop and another reads.
//!
//! Each scheme gets a process of its own, this program once more, which writes what it sees as
//! lines of `retirements,bytes,seconds`; the parent plots them.
//!
//! Memory that is free again but kept by the allocator counts too. glibc keeps small pieces until
//! somebody asks for a large one, which crossbeam-epoch and seize do all the time, while stillpoint
//! and liburcu allocate nothing but objects: their curves are high-water marks. With
//! `GLIBC_TUNABLES=glibc.malloc.mxfast=0` they come down again.

use crate::harness::recorded;
use crate::plot::{self, Curve};
use crate::record::{self, Rounds};
use crate::schemes::{CROSSBEAM, OURS, SEIZE, URCU};
use crate::{Field, clock};
use bench_data::Better::{self, Less, More};
use comfy_table::{CellAlignment, Table, presets};
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// A scheme that needs more than this is stopped.
const LIMIT: u64 = 6 << 30;
/// Looks at the memory in the course of a run.
const LOOKS: u64 = 200;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the plot goes: by default reclaim-memory.svg in Cargo's target directory
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Writes what was measured to a file, for programs to read
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many objects each scheme retires
    #[arg(long, default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    retires: u64,
}

#[derive(clap::Args)]
pub(crate) struct ChildOptions {
    scheme: String,
    #[arg(long)]
    retires: u64,
}

/// One look.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) retired: u64,
    pub(crate) bytes: u64,
    seconds: f64,
}

impl Sample {
    fn now(retired: u64, begun: Instant) -> Sample {
        Sample { retired, bytes: resident(), seconds: begun.elapsed().as_secs_f64() }
    }

    fn parse(line: &str) -> Option<Sample> {
        let mut fields = line.trim().split(',');
        let sample = Sample {
            retired: fields.next()?.parse().ok()?,
            bytes: fields.next()?.parse().ok()?,
            seconds: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(sample)
    }

    fn print(self) {
        println!("{},{},{:.6}", self.retired, self.bytes, self.seconds);
    }
}

/// What this process has in memory.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.expect("/proc/self/statm") * u64::try_from(page).expect("a page size")
}

/// Retires, and prints a sample each time a part of it is done, and one when all is freed.
pub(crate) fn child(field: &Field, options: &ChildOptions) -> ExitCode {
    let Some((scheme, there)) = field.scheme(&options.scheme).zip(field.there()) else {
        return ExitCode::FAILURE;
    };
    let read = |times| _ = black_box(scheme.read(0, times));
    clock::beside(read, there, || {
        let cpus = &field.cpus[..1];
        let begun = Instant::now();
        let work = |_| {
            Sample::now(0, begun).print();
            for look in 0..LOOKS {
                let retired = |look| options.retires * look / LOOKS;
                scheme.replace(0, retired(look + 1) - retired(look));
                let sample = Sample::now(retired(look + 1), begun);
                sample.print();
                if sample.bytes > LIMIT {
                    // Nothing more to learn, and freeing it all would take long. No destructors:
                    // the other threads are running.
                    let _ = io::stdout().flush();
                    // SAFETY: no preconditions.
                    unsafe { libc::_exit(0) };
                }
            }
            scheme.hand_over();
        };
        clock::together(1, cpus, |_| {}, work);
        scheme.drain();
        Sample::now(options.retires, begun).print();
    });
    ExitCode::SUCCESS
}

/// Has each scheme do it, prints what came of it, and draws the plot.
pub(crate) fn parent(options: &Options) -> ExitCode {
    let plot = options.plot.clone().unwrap_or_else(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        target.unwrap_or(Path::new(".")).join("reclaim-memory.svg")
    });
    // Now, not after minutes.
    if let Err(why) = fs::File::create(&plot) {
        eprintln!("cannot write {}: {why}", plot.display());
        return ExitCode::FAILURE;
    }
    println!("\nResident memory over {} retirements, with a reader", options.retires);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["scheme", "most, MiB", "in the end", "all freed", "M retired/s", ""]);
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut curves = vec![];
    for name in [OURS, CROSSBEAM, SEIZE, URCU] {
        match run(name, options.retires) {
            Ok(samples) => {
                table.add_row(row(name, &samples));
                curves.push(Curve { name, samples });
            }
            Err(why) => record::skip(&format!("{name}, resident memory: {why}")),
        }
    }
    println!("{table}");
    take_down(&curves);
    match plot::draw(&plot, &curves) {
        Ok(()) => {
            println!("Plot: {}", plot.display());
            recorded(options.json.clone(), || ())
        }
        Err(why) => {
            eprintln!("cannot draw {}: {why}", plot.display());
            ExitCode::FAILURE
        }
    }
}

/// The samples of one child.
fn run(name: &str, retires: u64) -> Result<Vec<Sample>, String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(this)
        .args(["memory-of", name, "--retires", &retires.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
    let samples: Vec<_> = lines.map_while(Result::ok).filter_map(|s| Sample::parse(&s)).collect();
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() && samples.len() > 1 {
        Ok(samples)
    } else {
        Err(format!("{status}, after {} samples", samples.len()))
    }
}

fn take_down(curves: &[Curve]) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let last = |curve: &Curve| curve.samples[curve.samples.len() - 1];
    let most = |curve: &Curve| curve.samples.iter().map(|sample| sample.bytes).max();
    type Of<'a> = &'a dyn Fn(&Curve) -> f64;
    let quantities: [(&str, Better, Of<'_>); 3] = [
        ("most, MiB", Less, &|curve| mib(most(curve).unwrap_or(0))),
        ("in the end, MiB", Less, &|curve| mib(last(curve).bytes)),
        ("M/s", More, &|curve| last(curve).retired as f64 / last(curve).seconds / 1e6),
    ];
    for (metric, better, of) in quantities {
        let all = curves.iter();
        let all = all.map(|c| Rounds { setting: "", name: c.name, rounds: vec![of(c)] });
        let all: Vec<_> = all.collect();
        record::figures("Resident memory while retiring", metric, better, &all);
    }
}

fn row(name: &str, samples: &[Sample]) -> [String; 6] {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let (retiring, freed) = match samples {
        // One when nothing was done yet, one for each look, and one when all is freed.
        [retiring @ .., freed] if samples.len() as u64 == LOOKS + 2 => (retiring, Some(*freed)),
        stopped => (stopped, None),
    };
    let end = retiring[retiring.len() - 1];
    let note = match freed {
        Some(_) => String::new(),
        None => format!("stopped at {} retirements: over {} GiB", end.retired, LIMIT >> 30),
    };
    [
        name.to_owned(),
        mib(samples.iter().map(|sample| sample.bytes).max().unwrap_or(0)),
        mib(end.bytes),
        freed.map_or("-".to_owned(), |sample| mib(sample.bytes)),
        format!("{:.2}", end.retired as f64 / end.seconds / 1e6),
        note,
    ]
}

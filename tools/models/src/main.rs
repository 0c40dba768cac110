//! Runs the model of grace periods, `models/grace.pml`, through spin: in every configuration, and
//! broken in every way that it knows, which spin must find. `docs/model.md` says what that means.
//!
//! spin is Debian's; where it is not installed, its package is taken from the archive and unpacked
//! below the cache.
//!
//! Exit codes: 0, all came out as expected; 1, something did not; 2, wrong usage; 77, there is no
//! spin or no compiler here.

mod spin;
mod table;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use spin::{Absent, Found, Spin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use table::{ROWS, Row};

/// Runs the Promela models of grace periods through spin.
#[derive(Debug, Parser)]
#[command(name = "models")]
struct Options {
    /// Where the package, programs and counterexamples are kept
    #[arg(long, default_value = "target/models", global = true)]
    cache: PathBuf,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints the names of all configurations; an asterisk marks those of `run --short`
    List,
    /// Runs configurations, prints a line for each
    Run(Which),
    /// Runs a broken configuration, and prints the counterexample, step by step
    Trail {
        /// Its whole name
        #[arg(value_parser = named)]
        row: &'static Row,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Those whose name contains one of these words; all of them without any
    words: Vec<String>,

    /// Only those that CI has time for
    #[arg(long)]
    short: bool,

    /// How many at a time [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
}

impl Which {
    fn chooses(&self, row: &Row) -> bool {
        let named = self.words.is_empty() || self.words.iter().any(|word| row.name.contains(word));
        named && (row.short || !self.short)
    }
}

fn named(name: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|row| row.name == name).ok_or_else(|| "see `list`".to_owned())
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<Absent>() => {
            println!("SKIPPED models: {error:#}");
            ExitCode::from(77)
        }
        Err(error) => {
            eprintln!("models: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<u8> {
    match &options.verb {
        Verb::List => {
            for row in ROWS {
                println!("{} {:34} {}", if row.short { '*' } else { ' ' }, row.name, row.macros);
            }
            Ok(0)
        }
        Verb::Run(which) => {
            let rows: Vec<_> = ROWS.iter().filter(|row| which.chooses(row)).collect();
            if rows.is_empty() {
                eprintln!("models: no configuration of that name; see `list`");
                return Ok(2);
            }
            let jobs = which.jobs.map_or_else(
                || thread::available_parallelism().map_or(1, usize::from),
                usize::from,
            );
            run_all(&Spin::find(&options.cache)?, &rows, jobs)
        }
        Verb::Trail { row } => {
            let spin = Spin::find(&options.cache)?;
            spin.run(row)?;
            print!("{}", spin.trail(row)?);
            Ok(0)
        }
    }
}

/// Runs them, so many at a time; prints each when it is done.
fn run_all(spin: &Spin, rows: &[&'static Row], jobs: usize) -> Result<u8> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    println!(
        "| configuration | macros | asked | expected | found | states | depth | memory | time |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let good = thread::scope(|scope| {
        for _ in 0..jobs {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = spin.run(row).with_context(|| row.name);
                    if sender.send((*row, found)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut good = 0;
        for (row, found) in receiver {
            let found = found?;
            good += usize::from(print(row, &found));
        }
        Ok::<_, anyhow::Error>(good)
    })?;
    println!("\nmodels: {good} of {} as expected", rows.len());
    Ok(u8::from(good != rows.len()))
}

/// One line of the table. True if what was found was expected.
fn print(row: &Row, found: &Found) -> bool {
    let good = found.verdict == row.expects;
    println!(
        "| {} | {} | {} | {} | {}{} | {} | {} | {} MB | {:.0} s |",
        row.name,
        if row.macros.is_empty() { "none" } else { row.macros },
        row.asks,
        row.expects,
        found.verdict,
        if good { "" } else { " **UNEXPECTED**" },
        found.states,
        found.depth,
        found.megabytes,
        found.time.as_secs_f64(),
    );
    good
}

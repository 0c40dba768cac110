//! Runs other crates' own tests twice: with the reader-writer lock they come with, then with ours.
//!
//! cargo gets their sources from the registry; they are copied below target/ and changed there.
//! What uses `parking_lot::RwLock` is built against a copy of parking_lot whose `RwLock` is
//! `stillpoint::lock::v04::RwLock`; what has a lock of its own gets ours in its place.
//!
//! Exit codes: 0, what passes with the original passes with ours; 1, something does not; 2, wrong
//! usage; 77, the sources cannot be had here.

mod programs;
mod sources;
mod tests;

use anyhow::{Context, Result};
use clap::Parser;
use programs::{PROGRAMS, Program};
use sources::{Absent, Lock};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Runs other crates' own tests with their reader-writer lock, and with stillpoint's.
#[derive(Debug, Parser)]
#[command(name = "swap")]
struct Options {
    /// Which crates; all, if none is named
    #[arg(value_parser = program)]
    crates: Vec<&'static Program>,

    /// Where sources, builds and logs are kept
    #[arg(long, default_value = "target/swap")]
    work: PathBuf,

    /// Tests that take longer, in seconds, hang
    #[arg(long, default_value = "300", value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
}

fn program(name: &str) -> Result<&'static Program, String> {
    PROGRAMS.iter().find(|program| program.name == name).ok_or_else(|| {
        let names: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
        format!("one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Absent>() => {
            println!("SKIPPED swap: {error:#}");
            ExitCode::from(77)
        }
        Err(error) => {
            eprintln!("swap: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if nothing passes with the original that fails with ours.
fn run(options: &Options) -> Result<bool> {
    std::fs::create_dir_all(&options.work).context("the folder for sources and builds")?;
    let work = options.work.canonicalize()?;
    let all: Vec<_> = PROGRAMS.iter().collect();
    let chosen = if options.crates.is_empty() { &all } else { &options.crates };
    let mut good = true;
    for program in chosen {
        good &= both(&work, program, Duration::from_secs(options.patience))?;
    }
    Ok(good)
}

fn both(work: &Path, program: &Program, patience: Duration) -> Result<bool> {
    let [original, ours] = [Lock::Original, Lock::Ours].map(|lock| {
        let source = sources::prepare(work, program, lock)?;
        let outcome = tests::run(work, program, &source, lock, patience)?;
        println!("{} {}, {lock} lock: {outcome}", program.name, source.version);
        Ok::<_, anyhow::Error>(outcome)
    });
    let (original, ours) = (original?, ours?);
    if !original.is_good() {
        println!("{}: says nothing, for it fails with its own lock here", program.name);
        return Ok(true);
    }
    let left_out = original.passed - original.passed.min(ours.passed);
    if left_out > program.left_out {
        println!("{}: {left_out} tests less with our lock", program.name);
    }
    Ok(ours.is_good() && left_out <= program.left_out)
}

//! Runs the library under debuggers, profilers and checkpoints, unloads it, and builds it every way
//! there is.
//!
//! Each check says what ran and what was skipped, and why. Exit codes: 0, all that ran was well; 1,
//! something was not; 2, wrong usage; 77, nothing could run here.

mod builds;
mod cargo;
mod checkpoint;
mod gdb;
mod patch;
mod process;
mod profile;
#[allow(dead_code, reason = "tests/elf.rs and tests/instructions.rs use the rest")]
#[path = "../../../tests/support/sections/mod.rs"]
mod sections;
mod unload;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use process::Absent;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the library under debuggers, profilers and checkpoints, unloads it, builds it every way.
#[derive(Debug, Parser)]
#[command(name = "around")]
struct Options {
    /// Which checks; all, if none is named
    checks: Vec<Check>,

    /// Where builds and recordings are kept
    #[arg(long, default_value = "target/around")]
    work: PathBuf,

    /// The command that runs CRIU, if not the system's own
    #[arg(long, value_name = "COMMAND")]
    criu: Option<String>,

    /// What the check of unloading runs: this object is opened, used and closed
    #[arg(long, hide = true, value_name = "FILE", exclusive = true)]
    open_and_close: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Step over sections
    Gdb,
    /// Sample a torture run
    Perf,
    /// Readers where rseq is missing
    Valgrind,
    /// Record and replay
    Rr,
    /// Checkpoint and restore a torture run
    Criu,
    /// Open a shared object that contains the library, use it, close it
    Unload,
    /// Optimisations, linkages, relocation models: audit and stress
    Builds,
}

impl Check {
    fn run(self, options: &Options, work: &Path) -> Result<()> {
        match self {
            Check::Gdb => gdb::check(work),
            Check::Perf => profile::perf(work),
            Check::Valgrind => profile::valgrind(),
            Check::Rr => profile::rr(work),
            Check::Criu => checkpoint::check(work, options.criu.as_deref()),
            Check::Unload => unload::check(work),
            Check::Builds => builds::check(work),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(object) = &options.open_and_close {
        return match unload::open_and_close(object) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("around: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match all(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("around: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all(options: &Options) -> Result<ExitCode> {
    std::fs::create_dir_all(&options.work).context("the folder for builds and recordings")?;
    let work = options.work.canonicalize()?;
    let checks = if options.checks.is_empty() { Check::value_variants() } else { &options.checks };
    let (mut ran, mut failed) = (0, 0);
    for check in checks {
        let name = check.name();
        match check.run(options, &work) {
            Ok(()) => {
                ran += 1;
                println!("around {name}: well");
            }
            Err(error) if error.is::<Absent>() => println!("SKIPPED around {name}: {error:#}"),
            Err(error) => {
                failed += 1;
                println!("around {name}: FAILED: {error:#}");
            }
        }
    }
    Ok(match (failed, ran) {
        (1.., _) => ExitCode::FAILURE,
        (0, 0) => ExitCode::from(77),
        _ => ExitCode::SUCCESS,
    })
}

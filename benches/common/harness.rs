//! The `main` of the benchmarks: criterion's groups, the summary, or both.

use crate::record::{self, Bench};
use clap::{Args, Parser, Subcommand};
use criterion::Criterion;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What is asked for in a word that is not criterion's.
#[derive(Parser)]
struct Asked<O: Args> {
    #[command(subcommand)]
    mode: Mode<O>,
}

#[derive(Subcommand)]
enum Mode<O: Args> {
    /// Compare all of them in interleaved rounds
    Summary {
        #[command(flatten)]
        options: O,
        /// Writes what was measured to a file, for programs to read
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// The options of a summary that has no other.
#[allow(dead_code, reason = "some have others")]
#[derive(Args)]
pub(crate) struct Quick {
    /// A tenth of the rounds
    #[arg(long)]
    quick: bool,
}

#[allow(dead_code, reason = "some have others")]
impl Quick {
    /// So many, or a tenth of them.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        if self.quick { rounds.div_ceil(10).max(3) } else { rounds }
    }
}

/// Runs what the command line asks for: `summary` with its options; words and options for
/// criterion; or nothing, and then all of it.
pub(crate) fn main<O: Args>(
    bench: &'static Bench,
    groups: impl FnOnce(&mut Criterion),
    summary: impl FnOnce(&O),
) -> ExitCode {
    // Cargo adds `--bench`, except under `cargo test`.
    let (cargo, asked): (Vec<_>, Vec<_>) = std::env::args().partition(|arg| arg == "--bench");
    record::begin(bench);
    // A word for criterion is none of ours.
    if asked.get(1).is_some_and(|word| word == "summary") {
        let Mode::Summary { options, json } = Asked::<O>::parse_from(&asked).mode;
        return recorded(json, || summary(&options));
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    groups(&mut criterion);
    criterion.final_summary();
    if asked.len() == 1 && !cargo.is_empty() {
        summary(&defaults());
    }
    ExitCode::SUCCESS
}

fn defaults<O: Args>() -> O {
    O::augment_args(clap::Command::new("summary"))
        .try_get_matches_from(["summary"])
        .and_then(|matches| O::from_arg_matches(&matches))
        .expect("every option has a default")
}

/// Does it, and writes what it took down to a file, if there is to be one.
pub(crate) fn recorded(json: Option<PathBuf>, work: impl FnOnce()) -> ExitCode {
    work();
    let Some(file) = json else { return ExitCode::SUCCESS };
    match record::write(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cannot write {}: {why}", file.display());
            ExitCode::FAILURE
        }
    }
}

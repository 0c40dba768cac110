//! Has every benchmark run, and makes `docs/performance.md` of what they bring.
//!
//! ```text
//! cargo run --release -p bench-report                      all of it, three runs: an hour and a quarter
//! cargo run --release -p bench-report -- --only locks,map  these groups; the others stay as they are
//! cargo run --release -p bench-report -- --quick           a look, to target/bench-report/docs
//! cargo run --release -p bench-report -- --from docs       runs nothing: the page, of what is saved
//! cargo run --release -p bench-report -- gateway-load      the gateway alone, printed
//! ```
//!
//! Reports of single runs go to `target/bench-report/`, what they come to is
//! `docs/performance.json`, and the page follows from that and from the prose in `text/`.

mod gateway;
mod machine;
mod run;

use anyhow::{Context, Result, bail};
use bench_report::book::{Book, Group, merge};
use bench_report::page::{Page, Prose, render};
use clap::{Parser, Subcommand};
use run::{ALL, Kind, Plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Has every benchmark run, and makes docs/performance.md of what they bring.
#[derive(Parser)]
#[command(name = "bench-report", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,

    /// How many times each group is run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,

    /// One run of a few rounds: to see that it works, not what things cost
    #[arg(long, conflicts_with = "runs")]
    quick: bool,

    /// Only these groups; what is known of others stays
    #[arg(long, value_delimiter = ',', value_name = "GROUPS")]
    only: Vec<String>,

    /// Runs nothing: makes the page of what this directory has in performance.json
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "runs", "only"])]
    from: Option<PathBuf>,

    /// Where page, data and plots go: docs, and for a quick look target/bench-report/docs
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Only the gateway under load: prints the tables, and writes no page
    GatewayLoad {
        /// Short turns
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    match work(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-report: {why:#}");
            ExitCode::from(2)
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default()
}

fn work(cli: &Cli) -> Result<()> {
    let root = root();
    if let Some(Verb::GatewayLoad { quick }) = &cli.verb {
        return gateway_load(&root, *quick);
    }
    let names = ALL.iter().map(|group| group.name).collect::<Vec<_>>();
    if let Some(no) = cli.only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no group {no}: there are {}", names.join(", "));
    }
    let target = root.join("target/bench-report");
    let docs = match &cli.to {
        Some(to) => to.clone(),
        None if cli.quick => target.join("docs"),
        None => root.join("docs"),
    };
    let prose = Prose::read(&root.join("tools/bench-report/text"))?;
    let wanted = |name: &str| cli.only.is_empty() || cli.only.iter().any(|only| only == name);
    fs::create_dir_all(docs.join("plots"))?;
    let mut book = match &cli.from {
        Some(from) => read(&from.join("performance.json"))?,
        None => read(&docs.join("performance.json"))?,
    };
    let begin = Instant::now();
    for group in ALL.iter().filter(|group| cli.from.is_none() && wanted(group.name)) {
        let saved = target.join(if cli.quick { "quick" } else { "runs" });
        fs::create_dir_all(&saved)?;
        let plan =
            Plan { root: &root, saved: &saved, plots: &docs.join("plots"), quick: cli.quick };
        // That is one long run as it is.
        let once = cli.quick || matches!(group.kind, Kind::Resident);
        let runs = if once { 1 } else { cli.runs.into() };
        let conditions = machine::conditions(command(cli, group.name));
        let reports = (1..=runs).map(|run| plan.run(group, run)).collect::<Result<Vec<_>>>()?;
        let report = merge(&reports).context("no runs")?;
        book.0.insert(group.name.to_owned(), Group { conditions, runs, quick: cli.quick, report });
        // After each: what is there stays, if the next one fails.
        write(&docs, &book, &render(&book, &prose)?)?;
    }
    write(&docs, &book, &render(&book, &prose)?)?;
    eprintln!(
        "wrote {} after {} s",
        docs.join("performance.md").display(),
        begin.elapsed().as_secs()
    );
    Ok(())
}

/// What brings a group again.
fn command(cli: &Cli, group: &str) -> String {
    let how = if cli.quick { "--quick".to_owned() } else { format!("--runs {}", cli.runs) };
    format!("cargo run --release -p bench-report -- {how} --only {group}")
}

/// A book that is not there yet is empty.
fn read(file: &Path) -> Result<Book> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("in {}", file.display())),
        Err(_) => Ok(Book::default()),
    }
}

fn write(docs: &Path, book: &Book, page: &Page) -> Result<()> {
    // A line for each group: what was not measured again does not change.
    let line = |(name, group)| Ok(format!("\"{name}\":{}", serde_json::to_string(group)?));
    let lines = book.0.iter().map(line).collect::<Result<Vec<_>>>()?;
    fs::write(docs.join("performance.json"), format!("{{\n{}\n}}\n", lines.join(",\n")))?;
    fs::write(docs.join("performance.md"), &page.text)?;
    for (name, svg) in &page.plots {
        fs::write(docs.join("plots").join(name), svg)?;
    }
    Ok(())
}

fn gateway_load(root: &Path, quick: bool) -> Result<()> {
    let conditions = machine::conditions("cargo run --release -p bench-report".to_owned());
    let report = gateway::measure(root, quick)?;
    let group = Group { conditions, runs: 1, quick, report };
    print!("{}", bench_report::page::all_tables(&group));
    Ok(())
}

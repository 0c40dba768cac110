//! The groups, and how they are run.

use anyhow::{Context, Result, bail};
use bench_report::data::Report;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// One group of the page.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// A benchmark's `summary`.
    Summary,
    /// `reclaim`'s resident memory over 10^8 retirements.
    Resident,
    /// The gateway under load from another process.
    Gateway,
}

const fn summary(name: &'static str) -> Group {
    Group { name, kind: Kind::Summary }
}

/// In the order in which they are run.
pub(crate) const ALL: [Group; 13] = [
    summary("read_side"),
    summary("reclaim"),
    Group { name: "resident", kind: Kind::Resident },
    summary("rwlock"),
    summary("locks"),
    summary("cohort"),
    summary("percpu"),
    summary("snapshot"),
    summary("floor"),
    summary("map"),
    summary("interrupt"),
    summary("memory"),
    Group { name: "gateway", kind: Kind::Gateway },
];

/// What shall be measured, and how well.
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a Path,
    /// Where reports of single runs go.
    pub(crate) saved: &'a Path,
    /// Where the plots of benchmarks go.
    pub(crate) plots: &'a Path,
    pub(crate) quick: bool,
}

impl Plan<'_> {
    /// One run of a group: its report.
    pub(crate) fn run(&self, group: &Group, run: usize) -> Result<Report> {
        let file = self.saved.join(format!("{}-{run}.json", group.name));
        let begin = Instant::now();
        eprintln!("=== {}, run {run}", group.name);
        match group.kind {
            Kind::Summary => self.bench(group.name, &["summary"], &["--quick"], &file)?,
            Kind::Resident => {
                let plot = self.plots.join("reclaim-memory.svg");
                let plot = plot.to_str().context("a path that is no text")?;
                let arguments = ["memory", "--plot", plot];
                self.bench("reclaim", &arguments, &["--retires", "2000000"], &file)?;
            }
            Kind::Gateway => {
                let report = crate::gateway::measure(self.root, self.quick)?;
                fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
            }
        }
        eprintln!("=== {}, run {run}: {} s", group.name, begin.elapsed().as_secs());
        let mut report = read(&file)?;
        report.bench = group.name.to_owned();
        Ok(report)
    }

    fn bench(&self, bench: &str, arguments: &[&str], quick: &[&str], file: &Path) -> Result<()> {
        // Paths are relative to the benchmarks' package, where cargo runs them.
        let mut command = Command::new(env!("CARGO"));
        // Peers at their best: the allocators that have to be built, too.
        command.args(["bench", "--quiet", "-p", "benches", "--features", "peers/allocators"]);
        command.args(["--bench", bench, "--"]).args(arguments).arg("--json").arg(file);
        if self.quick {
            command.args(quick);
        }
        let status = command.current_dir(self.root).status().context("cargo does not start")?;
        if !status.success() {
            bail!("the benchmark {bench} failed: {status}");
        }
        Ok(())
    }
}

/// A report of one run.
pub(crate) fn read(file: &Path) -> Result<Report> {
    let text = fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))
}

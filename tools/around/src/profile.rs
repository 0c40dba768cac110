//! perf, valgrind, rr: programs that watch others.

use crate::cargo;
use crate::process::{self, absent, need};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// Samples by a software clock interrupt a torture run some thousand times a second, on each CPU.
/// Whatever that does to its sections, the run must be clean.
pub(crate) fn perf(work: &Path) -> Result<()> {
    need("perf")?;
    let (data, log) = (work.join("perf.data"), work.join("perf.log"));
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "-e", "cpu-clock", "-F", "5000", "-o"]).arg(&data);
    let try_it = perf.args(["--", "true"]);
    let outcome = process::run(try_it, &log, PATIENCE)?;
    if !outcome.status.success() {
        return absent(format!("perf record: {}", first_line(&outcome.output)));
    }
    let torture = cargo::release("torture")?.join("torture");
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "-e", "cpu-clock", "-F", "5000", "-o"]).arg(&data).arg("--");
    perf.arg(&torture).args(["--tier", "rseq", "--seconds", "4"]);
    // perf ends with its program's code.
    let output = process::run(&mut perf, &log, PATIENCE)?.good("torture under perf")?;
    ensure!(output.contains("clean: no violation"), "{output}");
    let mut report = Command::new("perf");
    report.args(["report", "--stdio", "--header-only", "-i"]).arg(&data);
    process::run(&mut report, &log, PATIENCE)?.good("perf report")?;
    let mut script = Command::new("perf");
    script.args(["script", "-F", "ip,sym", "-i"]).arg(&data);
    let samples = process::run(&mut script, &log, PATIENCE)?.good("perf script")?;
    let count = samples.lines().count();
    let ours = samples.lines().filter(|line| line.contains("stillpoint")).count();
    ensure!(count > 1000 && ours > 0, "{count} samples, {ours} in the library");
    println!("perf: torture is clean; {count} samples of cpu-clock, {ours} in the library by name");
    std::fs::remove_file(&data)?;
    std::fs::remove_file(&log)?;
    Ok(())
}

/// Without rseq, the process is one tier lower, and says why.
pub(crate) fn valgrind() -> Result<()> {
    need("valgrind")?;
    let program = cargo::subject()?;
    let log = program.with_extension("valgrind");
    for tier in ["", "fence"] {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
        // What a thread that still runs holds is "possibly lost".
        valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
        valgrind.arg(&program);
        valgrind.args(["stress", "1"]).env("STILLPOINT_TIER", tier);
        let output = process::run(&mut valgrind, &log, PATIENCE)?.good("stress under valgrind")?;
        let lines = ["tier: ", "reason: "]
            .map(|start| output.lines().find(|line| line.starts_with(start)).unwrap_or_default());
        println!("valgrind, STILLPOINT_TIER={tier:?}: {}", lines.join("; "));
        let expected = if tier.is_empty() { "tier: membarrier" } else { "tier: fence" };
        ensure!(lines[0] == expected, "{output}");
        ensure!(!tier.is_empty() || lines[1].contains("rseq refused"), "{output}");
    }
    Ok(())
}

/// Recorded and replayed, the program does the same.
pub(crate) fn rr(work: &Path) -> Result<()> {
    need("rr")?;
    let program = cargo::subject()?;
    let (trace, log) = (work.join("rr-trace"), work.join("rr.log"));
    let _ = std::fs::remove_dir_all(&trace);
    let mut record = Command::new("rr");
    record.args(["record", "--output-trace-dir"]).arg(&trace);
    record.arg(&program).args(["stress", "1"]);
    let outcome = process::run(&mut record, &log, PATIENCE)?;
    let refusals = ["PerfCounters", "perf_event_open", "performance counter", "HW_"];
    if !outcome.status.success() && refusals.iter().any(|r| outcome.output.contains(r)) {
        return absent(first_line(&outcome.output));
    }
    let recorded = outcome.good("rr record")?;
    let mut replay = Command::new("rr");
    replay.args(["replay", "--autopilot"]).arg(&trace);
    let replayed = process::run(&mut replay, &log, PATIENCE)?.good("rr replay")?;
    let books = |text: &str| -> Result<String> {
        let line = text.lines().find(|line| line.contains(" counted, "));
        Ok(line.with_context(|| text.to_owned())?.to_owned())
    };
    let (first, again) = (books(&recorded)?, books(&replayed)?);
    ensure!(first == again, "{first}, replayed: {again}");
    println!("rr: {first}; the same when replayed");
    Ok(())
}

/// The first words of a refusal.
fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given")
}

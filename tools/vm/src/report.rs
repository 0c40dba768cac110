//! The table of a run, for `docs/testing.md`.

use crate::guest::{Outcome, field};
use crate::matrix::Row;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BEGIN: &str = "<!-- machines: begin -->";
const END: &str = "<!-- machines: end -->";

/// How a row went.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It booted and came to its end.
    Ran { outcome: Outcome, log: String, took: Duration },
    /// It did not, or something was wrong on the way; the reason.
    Failed(String),
    /// It could not be tried; the reason.
    Skipped(String),
}

impl Verdict {
    /// True if something is wrong.
    pub(crate) fn is_bad(&self) -> bool {
        match self {
            Verdict::Ran { outcome, .. } => outcome.failed > 0,
            Verdict::Failed(_) => true,
            Verdict::Skipped(_) => false,
        }
    }
}

/// One line of the table.
fn line(row: &Row, verdict: &Verdict) -> String {
    let (kernel, tier, rseq, result) = match verdict {
        Verdict::Skipped(why) => ("", "", "", format!("SKIPPED: {}", brief(why))),
        Verdict::Failed(why) => ("", "", "", format!("**FAILED**: {}", brief(why))),
        Verdict::Ran { outcome, log, took } => {
            let get = |name| field(log, name).unwrap_or("?");
            let kernel = get("kernel").split(' ').nth(1).unwrap_or("?");
            let (failed, seconds) = (outcome.failed, took.as_secs());
            let result = match failed {
                0 => format!("{} passed, {seconds} s", outcome.ran),
                _ => format!("**{failed} of {} FAILED**", outcome.ran),
            };
            (kernel, get("tier"), get("rseq"), result)
        }
    };
    let rseq = rseq.trim_start_matches("registered ");
    format!(
        "| {} | {kernel} | {} | {} | {} | {tier} | {rseq} | {result} |",
        row.name,
        row.shape_name(),
        row.mode.name(),
        row.libc_name(),
    )
}

fn brief(why: &str) -> &str {
    why.lines().next().unwrap_or_default()
}

/// Puts the table of a run between the marks in `file`.
pub(crate) fn write(file: &Path, rows: &[(&Row, Verdict)], took: Duration) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let marks = || format!("no {BEGIN} and {END} in {}", file.display());
    let (before, rest) = text.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    let said = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output().ok()?;
        let line = String::from_utf8(out.stdout).ok()?.lines().next()?.to_owned();
        Some(line)
    };
    let unknown = || "unknown".to_owned();
    let date = said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(unknown);
    let emulator = said("qemu-system-x86_64", &["--version"]).unwrap_or_else(unknown);
    let emulator = emulator.split(" (").next().unwrap_or_default();
    let commit = said("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown);
    let compiler = said("rustc", &["--version"]).unwrap_or_else(unknown);
    let bad = rows.iter().filter(|(_, verdict)| verdict.is_bad()).count();
    let skipped = rows.iter().filter(|(_, v)| matches!(v, Verdict::Skipped(_))).count();
    let mut table = format!(
        "{BEGIN}\nRun of {date} at {commit}: {} machines, {bad} bad, {skipped} skipped, {} minutes; {emulator}, {compiler}.\n\n\
         | machine | kernel | shape | execution | C library | tier | rseq registered | programs |\n\
         |---|---|---|---|---|---|---|---|\n",
        rows.len(),
        took.as_secs().div_ceil(60),
    );
    for (row, verdict) in rows {
        table += &line(row, verdict);
        table.push('\n');
    }
    fs::write(file, format!("{before}{table}{END}{after}"))?;
    Ok(())
}

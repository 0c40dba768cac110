//! The table of the machines, for `docs/testing.md`.

use crate::guest::{Outcome, field};
use crate::matrix::Row;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
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
        "| {} | {kernel} | {} | {} | {} | {tier} | {rseq} | {result} | {} |",
        row.name,
        row.shape_name(),
        row.mode.name(),
        row.libc_name(),
        said("git", &["rev-parse", "--short", "HEAD"]),
    )
}

fn brief(why: &str) -> &str {
    why.lines().next().unwrap_or_default()
}

/// The first line that a program prints.
fn said(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().ok();
    let line =
        out.and_then(|out| Some(String::from_utf8(out.stdout).ok()?.lines().next()?.to_owned()));
    line.unwrap_or_else(|| "unknown".to_owned())
}

fn kept(cache: &Path, row: &Row) -> PathBuf {
    cache.join("results").join(row.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

/// Keeps what became of a machine, for the table.
pub(crate) fn keep(cache: &Path, row: &Row, verdict: &Verdict) -> Result<()> {
    let file = kept(cache, row);
    fs::create_dir_all(file.parent().context("a folder")?)?;
    fs::write(file, line(row, verdict))?;
    Ok(())
}

/// Puts the table of all machines, each as of its last run, between the marks in `file`.
pub(crate) fn write(cache: &Path, file: &Path, rows: &[Row]) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let marks = || format!("no {BEGIN} and {END} in {}", file.display());
    let (before, rest) = text.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let emulator = said("qemu-system-x86_64", &["--version"]);
    let emulator = emulator.split(" (").next().unwrap_or_default();
    let mut table = format!(
        "{BEGIN}\nAs of {date}; {emulator}; {}; for aarch64 and musl {}. The last column is the commit that ran.\n\n\
         | machine | kernel | shape | execution | C library | tier | rseq registered | programs | commit |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        said("rustc", &["--version"]),
        said("/usr/bin/rustc", &["--version"]),
    );
    for row in rows {
        let not_run = || format!("| {} | | | | | | | not run | |", row.name);
        table += &fs::read_to_string(kept(cache, row)).unwrap_or_else(|_| not_run());
        table.push('\n');
    }
    fs::write(file, format!("{before}{table}{END}{after}"))?;
    Ok(())
}

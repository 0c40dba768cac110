//! spin, and what it says: it translates the model to a program, the C compiler builds that, and
//! the program searches.

use crate::table::{Asks, Row, Verdict};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/grace.pml");
/// What one search may take.
const MEGABYTES: u32 = 2000;

/// What the models need is not here.
#[derive(Debug)]
pub(crate) struct Absent(String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

#[derive(Debug)]
pub(crate) struct Spin {
    program: PathBuf,
    cache: PathBuf,
}

/// What a search came to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) verdict: Verdict,
    pub(crate) states: u64,
    pub(crate) depth: u64,
    pub(crate) megabytes: u64,
    pub(crate) time: Duration,
}

impl Spin {
    /// The one that is installed, or else Debian's, unpacked below `cache`.
    pub(crate) fn find(cache: &Path) -> Result<Spin> {
        fs::create_dir_all(cache).context("the folder for packages and programs")?;
        let cache = cache.canonicalize()?;
        if Command::new("cc").arg("--version").output().is_err() {
            bail!(Absent("no C compiler".to_owned()));
        }
        let unpacked = cache.join("usr/bin/spin");
        for program in [PathBuf::from("spin"), unpacked.clone()] {
            if Command::new(&program).arg("-V").output().is_ok_and(|out| out.status.success()) {
                return Ok(Spin { program, cache });
            }
        }
        match unpack(&cache) {
            Ok(()) => Ok(Spin { program: unpacked, cache }),
            Err(error) => {
                bail!(Absent(format!("spin is not installed, and cannot be had: {error:#}")))
            }
        }
    }

    /// Searches all states of a configuration, up to the first error.
    pub(crate) fn run(&self, row: &Row) -> Result<Found> {
        let begin = Instant::now();
        let dir = self.folder(row);
        fs::create_dir_all(&dir)?;
        let of = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&dir);
            command
        };
        succeed(of(&self.program).args(row.defines()).args(["-a", MODEL]))?;
        let mut compile = of(Path::new("cc"));
        compile.args(["-O2", "-w", "-o", "pan", "pan.c"]).arg(format!("-DMEMLIM={MEGABYTES}"));
        match row.asks {
            Asks::Safety => compile.args(["-DSAFETY", "-DNOCLAIM"]),
            // One flag for each process, and one to spare.
            Asks::Progress => compile.arg("-DNFAIR=3"),
        };
        succeed(&mut compile)?;
        let mut search = of(&dir.join("pan"));
        search.arg(format!("-m{}", row.depth));
        if row.asks == Asks::Progress {
            // Acceptance cycles, under weak fairness.
            search.args(["-a", "-f"]);
        }
        let out = search.output().context("the search")?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        fs::write(dir.join("said"), &text)?;
        let number = |before: &str, after: &str| number(&text, before, after);
        Ok(Found {
            verdict: verdict(&text, row)?,
            states: number("", " states, stored")?,
            depth: number("depth reached ", ",")?,
            megabytes: number("", "total actual memory usage")?,
            time: begin.elapsed(),
        })
    }

    /// The last counterexample of a configuration.
    pub(crate) fn trail(&self, row: &Row) -> Result<String> {
        let mut replay = Command::new(&self.program);
        replay.current_dir(self.folder(row)).args(row.defines()).args(["-t", "-p", "-g", MODEL]);
        Ok(String::from_utf8_lossy(&succeed(&mut replay)?.stdout).into_owned())
    }

    fn folder(&self, row: &Row) -> PathBuf {
        self.cache.join(row.name.replace([' ', ',', ':'], "-"))
    }
}

fn unpack(cache: &Path) -> Result<()> {
    succeed(Command::new("apt-get").current_dir(cache).args(["download", "-qq", "spin"]))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let entries = fs::read_dir(cache)?.collect::<std::io::Result<Vec<_>>>()?;
    let package = entries
        .into_iter()
        .map(|entry| entry.path())
        .find(is_package)
        .context("no package came")?;
    succeed(Command::new("dpkg-deb").arg("-x").arg(package).arg(cache)).map(drop)
}

/// Runs a command; what it said is in the error.
fn succeed(command: &mut Command) -> Result<Output> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let words = [&out.stdout[..], &out.stderr].map(String::from_utf8_lossy).concat();
    ensure!(out.status.success(), "{command:?}: {}\n{}", out.status, words.trim_end());
    Ok(out)
}

/// What the search says, if it was one: complete, or with an error of the kind that was asked for.
fn verdict(text: &str, row: &Row) -> Result<Verdict> {
    if text.contains("assertion violated valid[") {
        return Ok(Verdict::Freed);
    }
    if text.contains("assertion violated (late[") {
        return Ok(Verdict::Late);
    }
    if text.contains("acceptance cycle (at depth") {
        return Ok(Verdict::Hangs);
    }
    let complete = !text.contains("Search not completed") && !text.contains("depth too small");
    ensure!(text.contains(", errors: 0"), "{}: another error than those known:\n{text}", row.name);
    Ok(if complete { Verdict::Holds } else { Verdict::Unknown })
}

/// The whole part of the number between two texts.
fn number(text: &str, before: &str, after: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| {
        let rest = &line[line.find(before)? + before.len()..];
        Some(rest[..rest.find(after)?].trim())
    });
    let digits = line.with_context(|| format!("no {before}…{after} in:\n{text}"))?;
    Ok(digits.parse::<f64>().with_context(|| digits.to_owned())? as u64)
}

#[cfg(test)]
mod tests {
    use super::{Row, Verdict, number, verdict};
    use crate::table::ROWS;

    const SAID: &str = "State-vector 116 byte, depth reached 129675, errors: 0\n   \
                        973661 states, stored\n  350.339\ttotal actual memory usage\n";

    fn row() -> &'static Row {
        &ROWS[0]
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(number(SAID, "", " states, stored").unwrap(), 973_661);
        assert_eq!(number(SAID, "depth reached ", ",").unwrap(), 129_675);
        assert_eq!(number(SAID, "", "total actual memory usage").unwrap(), 350);
        assert!(number(SAID, "", " states, matched").is_err());
    }

    #[test]
    fn what_was_not_searched_does_not_hold() {
        assert_eq!(verdict(SAID, row()).unwrap(), Verdict::Holds);
        for incomplete in ["error: max search depth too small\n", "Warning: Search not completed\n"]
        {
            let said = format!("{incomplete}{SAID}");
            assert_eq!(verdict(&said, row()).unwrap(), Verdict::Unknown);
        }
    }

    #[test]
    fn other_errors_are_not_ours() {
        let said = "pan:1: invalid end state (at depth 1)\n, errors: 1\n";
        assert!(verdict(said, row()).is_err());
        let said = "pan:1: assertion violated valid[object[i]] (at depth 1)\n, errors: 1\n";
        assert_eq!(verdict(said, row()).unwrap(), Verdict::Freed);
    }
}

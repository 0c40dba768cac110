//! Building and running a program's tests.

use crate::programs::Program;
use crate::sources::{Absent, Lock, Source};
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How the tests went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    failed: u32,
    /// Not if it does not build, crashes or hangs.
    ended_well: bool,
    took: Duration,
    log: PathBuf,
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.ended_well && self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { passed, failed, took, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {:.1} s", took.as_secs_f64())?;
        if self.is_good() { Ok(()) } else { write!(f, "; NOT GOOD: see {}", self.log.display()) }
    }
}

/// Runs the tests, all output to a log. Builds before the clock starts.
pub(crate) fn run(
    work: &Path,
    program: &Program,
    source: &Source,
    lock: Lock,
    patience: Duration,
) -> Result<Outcome> {
    let cargo = |verb: &str| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&source.folder).env("CARGO_TARGET_DIR", work.join("build")).arg(verb);
        if let Some(folder) = &source.parking_lot {
            cargo.arg("--config").arg(format!("patch.crates-io.parking_lot.path={folder:?}"));
        }
        cargo
    };
    let fetched = cargo("fetch").output().context("starting cargo")?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        return Err(Absent::because(&format!("what {} needs", program.name), &said).into());
    }
    if lock == Lock::Ours {
        let tree = cargo("tree").args(["--invert", "stillpoint"]).output()?;
        ensure!(tree.status.success(), "{} does not depend on our lock", program.name);
    }
    let log = work.join(format!("{}-{lock}.log", program.name));
    let file = File::create(&log).context("creating a log")?;
    let logged = |mut command: Command, patience| -> Result<bool> {
        command.args(program.arguments).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        ends_well(&mut command, patience)
    };
    let mut build = cargo("test");
    build.arg("--no-run");
    let builds = logged(build, Duration::MAX)?;
    let begin = Instant::now();
    let ended_well = builds && logged(cargo("test"), patience)?;
    let took = begin.elapsed();
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let sum = |what| text.lines().map(|line| number_before(what, line)).sum();
    Ok(Outcome { passed: sum(" passed;"), failed: sum(" failed;"), ended_well, took, log })
}

/// In `test result: ok. 4 passed; 0 failed; ...`.
fn number_before(what: &str, line: &str) -> u32 {
    let results = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(what));
    let number = results.and_then(|(before, _)| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs a command; kills it, and all it has started, if it takes too long.
fn ends_well(command: &mut Command, patience: Duration) -> Result<bool> {
    let mut child = command.process_group(0).spawn().context("starting cargo")?;
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if begin.elapsed() > patience {
            // SAFETY: a signal to the group that the child, which we have not waited for, leads.
            unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod test {
    use super::number_before;

    #[test]
    fn results_are_read() {
        let line = "test result: FAILED. 53 passed; 2 failed; 1 ignored; 0 measured";
        assert_eq!([" passed;", " failed;"].map(|what| number_before(what, line)), [53, 2]);
        assert_eq!(number_before(" passed;", "3 passed; or so"), 0);
    }
}

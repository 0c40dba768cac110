//! Other programs, with a time limit.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// This machine cannot do that: a skip.
#[derive(Debug)]
pub(crate) struct Absent(pub(crate) String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// A skip, for that reason.
pub(crate) fn absent<T>(why: impl Into<String>) -> Result<T> {
    Err(Absent(why.into()).into())
}

/// What a program did, and all that it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

impl Outcome {
    /// Its output, if it ended with 0.
    pub(crate) fn good(self, what: &str) -> Result<String> {
        ensure!(self.status.success(), "{what}: {}\n{}", self.status, self.output.trim_end());
        Ok(self.output)
    }
}

/// Runs a command, whose output goes to `log`; it is killed when the time is over.
pub(crate) fn run(command: &mut Command, log: &Path, patience: Duration) -> Result<Outcome> {
    let child = start(command, log)?;
    let (status, output) = (wait(child, patience)?, read(log)?);
    Ok(Outcome { status, output })
}

/// Starts a command, whose output goes to `log`.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Child> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("{command:?}"))
}

/// How it ended; killed, and an error, when the time is over.
pub(crate) fn wait(mut child: Child, patience: Duration) -> Result<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("not done after {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A log, whatever is in it.
pub(crate) fn read(log: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(log)?).into_owned())
}

/// Skips, unless that program answers.
pub(crate) fn need(program: &str) -> Result<()> {
    let quiet = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    match quiet(Command::new(program).arg("--version")) {
        Ok(_) => Ok(()),
        Err(_) => absent(format!("{program} is not installed")),
    }
}

//! Runs a scenario in a child process, and notices however it ends.

use super::surrounding::Surrounding;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The line that a scenario prints last.
pub(crate) const DONE: &str = "scenario done";
/// Whoever has not ended by then hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did everything and exited with 0.
    Well,
    /// It exited with this code; 0 if it did not do everything.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
    /// It was still there, and we killed it.
    Hung,
}

/// A child that has ended, and all it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) output: String,
}

impl Outcome {
    /// What stands behind `name: ` in the machine's report.
    pub(crate) fn field(&self, name: &str) -> &str {
        let line = self.output.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no line {name:?}: {}", self.output))
    }

    pub(crate) fn assert_well(&self, what: &str) {
        assert_eq!(self.end, End::Well, "{what}; the child printed:\n{}", self.output);
    }
}

/// Runs a scenario. `None`, and a printed reason, if its surrounding cannot be made here.
pub(crate) fn run(scenario: &str, surrounding: &Surrounding) -> Option<Outcome> {
    run_for(PATIENCE, scenario, surrounding)
}

/// [`run`] with another patience.
pub(crate) fn run_for(
    patience: Duration,
    scenario: &str,
    surrounding: &Surrounding,
) -> Option<Outcome> {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The command's own ends of the pipe are gone with it: then the child's are the last.
    let spawned = surrounding.command(scenario).and_then(|mut command| {
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()
    });
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            println!("SKIPPED {scenario} in {surrounding:?}: {e}");
            return None;
        }
    };
    let output = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let status = wait(&mut child, patience);
    // Its own children would keep the pipe open.
    kill_group(&child);
    let output = output.join().unwrap().unwrap();
    let end = match status {
        None => End::Hung,
        Some(status) => match (status.code(), status.signal()) {
            (Some(0), _) if output.lines().any(|line| line == DONE) => End::Well,
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Killed(signal.unwrap_or(0)),
        },
    };
    Some(Outcome { end, output })
}

/// Waits for the child to end; kills it, and says `None`, if it takes too long.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_group(child);
    child.wait().unwrap();
    None
}

fn kill_group(child: &Child) {
    // SAFETY: a signal to the group that the child was made the leader of. If the group is gone, so
    // is whatever could be hit: a group's number is not given away while the group exists, nor
    // soon after.
    unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
}

//! Runs one program, with what goes on around it, within a time limit.

use crate::plan::{Step, With};
use crate::{hotplug, limits};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Runs it and tells how it ended. True if well.
pub(crate) fn run(step: &Step) -> bool {
    println!("GUEST {}: begins", step.name);
    let begin = Instant::now();
    let mut command = Command::new(&step.args[0]);
    command.args(&step.args[1..]).envs(step.env.iter().map(|(n, v)| (n, v))).process_group(0);
    let outcome = match step.with {
        With::Nothing => run_alone(&mut command, step.limit),
        With::Hotplug => hotplug::during(|| run_alone(&mut command, step.limit)),
        With::Limits => limits::within(&mut command, |command| run_alone(command, step.limit)),
    };
    let status = match outcome {
        Ok(status) => status,
        Err(error) => format!("could not run: {error}"),
    };
    let well = status == format!("status {}", step.want);
    let word = if well { "ok" } else { "FAILED" };
    println!("GUEST {}: {word}: {status}, {:.1} s", step.name, begin.elapsed().as_secs_f64());
    well
}

fn run_alone(command: &mut Command, limit: u64) -> io::Result<String> {
    let mut child = command.spawn()?;
    let end = Instant::now() + Duration::from_secs(limit);
    loop {
        if let Some(status) = reap(&child)? {
            return Ok(match status {
                s if libc::WIFEXITED(s) => format!("status {}", libc::WEXITSTATUS(s)),
                s => format!("signal {}", libc::WTERMSIG(s)),
            });
        }
        if Instant::now() > end {
            // SAFETY: the child has not been waited for, so its group's number is still its own.
            unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
            let _ = child.wait();
            return Ok(format!("killed after {limit} s"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The child's status if it has ended. On the way, buries orphans: all of them come to the first
/// process.
fn reap(child: &Child) -> io::Result<Option<i32>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            0 => return Ok(None),
            -1 => return Err(io::Error::last_os_error()),
            pid if pid == child.id() as libc::pid_t => return Ok(Some(status)),
            _orphan => {}
        }
    }
}

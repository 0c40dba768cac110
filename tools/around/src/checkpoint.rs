//! CRIU: a torture run is written to disk in the midst of it, ends, is restored, and goes on.
//!
//! Torture's clocks run on while it is on disk, so it is restored at once. It must end by itself,
//! with 0. CRIU moves a thread that is inside a section to its abort landing, and registers each
//! thread's area again.

use crate::cargo;
use crate::process::{self, absent};
use anyhow::{Context, Result, ensure};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
const SECONDS: &str = "6";

pub(crate) fn check(work: &Path, command: Option<&str>) -> Result<()> {
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        return absent("CRIU needs root");
    }
    let criu = Criu { words: command.unwrap_or("criu").split(' ').map(str::to_owned).collect() };
    let log = work.join("criu.log");
    match process::run(criu.command("check").arg("-v1"), &log, PATIENCE) {
        Err(_) => return absent("criu is not installed"),
        Ok(outcome) if !outcome.status.success() => {
            let last = outcome.output.lines().last().unwrap_or_default().trim().to_owned();
            return absent(format!("criu check: {last}"));
        }
        Ok(_) => {}
    }
    let torture = cargo::release("torture")?.join("torture");
    let program = cargo::subject()?;
    let off = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
    for (name, variable) in [("stress", None), ("stress, registered by itself", Some(off))] {
        let mut command = Command::new(&program);
        cycle(&criu, work, name, command.args(["stress", SECONDS]).envs(variable))?;
    }
    for tier in ["rseq", "membarrier"] {
        let mut command = Command::new(&torture);
        command.args(["--tier", tier, "--seconds", SECONDS, "--duel", "1"]);
        cycle(&criu, work, &format!("torture, {tier}"), &mut command)?;
    }
    Ok(())
}

struct Criu {
    words: Vec<String>,
}

impl Criu {
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(what);
        command
    }
}

/// Starts a program, writes it to disk twice, restores it each time, and waits for its good end.
fn cycle(criu: &Criu, work: &Path, name: &str, program: &mut Command) -> Result<()> {
    let log = work.join("restored.log");
    // A session of its own: CRIU writes those whole.
    // SAFETY: setsid is async-signal-safe, and may fail.
    unsafe {
        program.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    // What is restored is nobody's child when CRIU has ended: it becomes ours, so that we can wait.
    // SAFETY: no memory is involved.
    ensure!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } == 0, "no subreaper");
    let pid = process::start(program, &log)?.id();
    let mut tasks = 0;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1500));
        tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .with_context(|| process::read(&log).unwrap_or_default())?
            .count();
        let images = images(work)?;
        let mut dump = criu.command("dump");
        dump.args(["-v2", "-o", "dump.log", "-t", &pid.to_string(), "-D"]).arg(&images);
        let outcome = process::run(&mut dump, &work.join("criu.log"), PATIENCE);
        told(outcome, &images, "dump.log")?;
        // CRIU has killed it. Its number is free only then.
        wait(pid).with_context(|| "after the dump")?;
        let mut restore = criu.command("restore");
        restore.args(["-v2", "-o", "restore.log", "--restore-detached", "-D"]).arg(&images);
        let outcome = process::run(&mut restore, &work.join("criu.log"), PATIENCE);
        told(outcome, &images, "restore.log")?;
    }
    let status = wait(pid)?;
    let output = process::read(&log)?;
    let good = match name {
        _ if name.starts_with("stress") => {
            let registered = output.contains("4 of 4 readers are registered");
            let needed = output.contains("tier: rseq");
            output.contains(" 0 torn or freed") && even(&output) && (registered || !needed)
        }
        _ => output.contains("clean: no violation"),
    };
    ensure!(good && status.success(), "{name}: {status}: {output}");
    let last = output.lines().last().unwrap_or_default();
    println!("criu, {name}: {tasks} threads, twice to disk and back, well: {}", last.trim());
    Ok(())
}

/// As many reads as were counted.
fn even(output: &str) -> bool {
    let line = output.lines().find(|line| line.contains(" counted, ")).unwrap_or_default();
    let mut numbers = line.split(' ').filter_map(|word| word.parse::<u64>().ok());
    numbers.next().is_some_and(|reads| numbers.next() == Some(reads))
}

fn images(work: &Path) -> Result<PathBuf> {
    let images = work.join("images");
    let _ = std::fs::remove_dir_all(&images);
    std::fs::create_dir_all(&images)?;
    Ok(images)
}

fn told(outcome: Result<process::Outcome>, images: &Path, log: &str) -> Result<()> {
    let outcome = outcome?;
    let words = || {
        let text = process::read(&images.join(log)).unwrap_or_default();
        let errors = text.lines().filter(|line| line.contains("rror")).take(10);
        errors.collect::<Vec<_>>().join("\n")
    };
    ensure!(outcome.status.success(), "{log}: {}\n{}{}", outcome.status, outcome.output, words());
    Ok(())
}

/// How a child of ours ended.
fn wait(pid: u32) -> Result<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut status = 0;
        // SAFETY: `status` lives.
        match unsafe { libc::waitpid(pid.cast_signed(), &mut status, libc::WNOHANG) } {
            0 => {}
            -1 => return Err(std::io::Error::last_os_error().into()),
            _ => return Ok(ExitStatus::from_raw(status)),
        }
        ensure!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

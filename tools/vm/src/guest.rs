//! Boots an emulated machine and reads what it says.

use anyhow::{Context, Result, bail};
use cpio::newc;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fast; never interrupts a straight line of instructions.
    Plain,
    /// Counts instructions, each taking 2^shift ns: interrupts come anywhere, and every run is the
    /// same. Another shift is another schedule.
    Counted(u8),
    /// A host thread for each CPU: their memory accesses are reordered as this machine's are.
    Parallel,
}

impl Mode {
    pub(crate) fn name(self) -> String {
        match self {
            Mode::Plain => "plain".to_owned(),
            Mode::Counted(shift) => format!("counted, shift {shift}"),
            Mode::Parallel => "parallel".to_owned(),
        }
    }
}

/// A kind of machine, in its emulator's words.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) emulator: &'static str,
    /// Between blanks.
    pub(crate) options: &'static str,
    pub(crate) console: &'static str,
}

/// A machine to boot.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) machine: &'a Machine,
    /// Where the emulator was unpacked; none if it is installed.
    pub(crate) unpacked: Option<&'a Path>,
    pub(crate) kernel: &'a Path,
    pub(crate) cpus: u32,
    pub(crate) nodes: u32,
    pub(crate) mode: Mode,
    /// More words of the kernel's command line.
    pub(crate) words: &'a [String],
    /// Files: place in the machine, file here.
    pub(crate) files: &'a [(String, PathBuf)],
    pub(crate) plan: &'a str,
    pub(crate) limit: Duration,
}

impl Guest<'_> {
    /// Boots it, waits until it is off or the time is up, and gives what it printed. `work` is a
    /// directory that nobody else uses; the log stays there.
    pub(crate) fn run(&self, work: &Path) -> Result<String> {
        fs::create_dir_all(work)?;
        let archive = work.join("initramfs");
        self.pack(&archive).context("the initial file system")?;
        let log = work.join("log");
        let output = File::create(&log)?;
        let mut emulator = self.emulator(&archive);
        emulator.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = emulator.spawn().with_context(|| format!("{emulator:?}"))?;
        let end = Instant::now() + self.limit;
        let mut in_time = true;
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                in_time = false;
                child.kill()?;
            }
            thread::sleep(Duration::from_millis(50));
        }
        fs::remove_file(archive)?;
        let mut text = String::from_utf8_lossy(&fs::read(log)?).replace('\r', "");
        if !in_time {
            text += &format!("\nGUEST-BAD: not off after {} s\n", self.limit.as_secs());
        }
        Ok(text)
    }

    fn emulator(&self, archive: &Path) -> Command {
        let Machine { emulator, options, console } = self.machine;
        let mut qemu = Command::new(emulator);
        if let Some(usr) = self.unpacked {
            qemu = Command::new(usr.join("bin").join(emulator));
            // Firmware is looked for there before it is where the installed ones have it.
            qemu.arg("-L").arg(usr.join("share/qemu"));
        }
        qemu.args(options.split(' '));
        let threads = if self.mode == Mode::Parallel { "multi" } else { "single" };
        // Named, always: other accelerators may look as if they worked, and hang.
        qemu.args(["-accel", &format!("tcg,thread={threads}")]);
        qemu.args(["-smp", &self.cpus.to_string()]);
        self.memory(&mut qemu);
        let mut words = vec![format!("console={console}"), "panic=-1 nokaslr".to_owned()];
        if let Mode::Counted(shift) = self.mode {
            qemu.args(["-icount", &format!("shift={shift},sleep=off")]);
            qemu.args(["-rtc", "base=2020-01-01,clock=vm", "-seed", "1"]);
            words.push("norandmaps nowatchdog cryptomgr.notests".to_owned());
        }
        words.push("quiet loglevel=4".to_owned());
        words.extend_from_slice(self.words);
        qemu.args("-nodefaults -no-user-config -display none -no-reboot -serial stdio".split(' '));
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(archive);
        qemu.args(["-append", &words.join(" ")]);
        qemu
    }

    /// Memory, on nodes if there are several, the CPUs in even parts among them. There are machines
    /// that take it in units of 256 MiB.
    fn memory(&self, qemu: &mut Command) {
        let (nodes, cpus) = (self.nodes, self.cpus);
        let each = ((1536 + 8 * cpus).max(512 * nodes) / nodes).next_multiple_of(256);
        qemu.args(["-m", &(each * nodes).to_string()]);
        for node in (0..nodes).filter(|_| nodes > 1) {
            let first = node * cpus / nodes;
            let last = (node + 1) * cpus / nodes - 1;
            qemu.args(["-object", &format!("memory-backend-ram,id=m{node},size={each}M")]);
            let of_node = format!("node,nodeid={node},cpus={first}-{last},memdev=m{node}");
            qemu.args(["-numa", &of_node]);
        }
    }

    /// The initial file system: directories, a console, our files, the plan.
    fn pack(&self, archive: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(archive)?);
        let mut number = 0;
        let mut entry = |name: &str, mode: u32, device: (u32, u32), data: &[u8]| -> Result<()> {
            number += 1;
            let header = newc::Builder::new(name)
                .ino(number)
                .mode(mode)
                .rdev_major(device.0)
                .rdev_minor(device.1);
            let size = u32::try_from(data.len())?;
            let mut writer = header.write(&mut out, size);
            writer.write_all(data)?;
            writer.finish()?;
            Ok(())
        };
        let folders = ["proc", "sys", "dev", "tmp", "t", "bin", "lib", "lib64"];
        let deeper = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"];
        for folder in folders.iter().chain(&deeper) {
            entry(folder, 0o40755, (0, 0), &[])?;
        }
        // So that the first process has a console even before /dev is mounted.
        entry("dev/console", 0o20600, (5, 1), &[])?;
        for (place, file) in self.files {
            let data = fs::read(file).with_context(|| file.display().to_string())?;
            entry(place, 0o100755, (0, 0), &data)?;
        }
        entry("plan", 0o100644, (0, 0), self.plan.as_bytes())?;
        newc::trailer(&mut out)?.flush()?;
        Ok(())
    }
}

/// What a machine's log says.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ran: usize,
    pub(crate) failed: usize,
    /// The step lines that tell of a failure.
    pub(crate) faults: Vec<String>,
}

/// Reads a log. An error if the machine did not come to the end of its plan.
pub(crate) fn outcome(log: &str) -> Result<Outcome> {
    let last = log.lines().rev().find_map(|line| {
        line.strip_prefix("GUEST-OK: ").or_else(|| line.strip_prefix("GUEST-BAD: "))
    });
    let Some(last) = last else { bail!("no last word") };
    let counts: Vec<usize> = last.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let [ran, failed] = counts[..] else { bail!("{last}") };
    let fault = |line: &&str| line.starts_with("GUEST ") && line.contains(": FAILED: ");
    let faults = log.lines().filter(fault).map(str::to_owned).collect();
    Ok(Outcome { ran, failed, faults })
}

/// The value of a line `name: value` of the doctor's report.
pub(crate) fn field<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    log.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::{field, outcome};

    #[test]
    fn logs() {
        let log = "GUEST a: begins\ntier: rseq\nGUEST a: ok: status 0, 1.0 s\nGUEST b: FAILED: signal 11, 2.0 s\n\
                   GUEST-BAD: 2 ran, 1 failed\n";
        let end = outcome(log).unwrap();
        assert_eq!((end.ran, end.failed), (2, 1));
        assert_eq!(end.faults, ["GUEST b: FAILED: signal 11, 2.0 s"]);
        assert_eq!(field(log, "tier"), Some("rseq"));
        assert!(outcome("Kernel panic").is_err());
        assert!(outcome("GUEST-BAD: not off after 9 s").is_err());
    }
}

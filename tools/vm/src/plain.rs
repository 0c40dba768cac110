//! Architectures without sequences: the library's portable tiers, compiled with their standard
//! library, and run.
//!
//! On this kernel: by itself, or under user emulation, which emulates a processor and hands system
//! calls on. There is no registration then, and needs to be none; `membarrier` is this kernel's.
//! Or on a kernel of their own, under full emulation, where scheduler, futexes, signals and
//! `membarrier` are that architecture's. Neither shows weak memory.

use crate::guest::{self, Guest, Machine, Mode};
use crate::{archive, kernels, run};
use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use std::fmt::Write;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Such an architecture, and what stands for it.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) name: &'static str,
    triple: &'static str,
    /// Of the compiler that links: `gcc-PREFIX`, `PREFIX-gcc`.
    prefix: &'static str,
    /// As the archive says it.
    debian: &'static str,
    /// The emulator of its programs; none where this processor will do.
    emulator: Option<&'static str>,
    /// How it is booted.
    pub(crate) own_kernel: Option<OwnKernel>,
    /// True for those that CI has time for.
    pub(crate) short: bool,
}

/// A machine of that architecture.
#[derive(Debug)]
pub(crate) struct OwnKernel {
    /// What its package's name ends with.
    flavour: &'static str,
    machine: Machine,
    /// What brings the emulator, if it is not one that all other machines have as well.
    packages: &'static [&'static str],
    cpus: u32,
}

/// 32 bits; big-endian; weakly ordered with 4 KiB pages, with 64 KiB pages; 32 bits elsewhere.
pub(crate) static PLAIN: &[Plain] = &[
    Plain {
        name: "i686",
        triple: "i686-unknown-linux-gnu",
        prefix: "i686-linux-gnu",
        debian: "i386",
        emulator: None,
        own_kernel: None,
        short: true,
    },
    Plain {
        name: "s390x",
        triple: "s390x-unknown-linux-gnu",
        prefix: "s390x-linux-gnu",
        debian: "s390x",
        emulator: Some("qemu-s390x-static"),
        own_kernel: Some(OwnKernel {
            flavour: "s390x",
            machine: Machine {
                emulator: "qemu-system-s390x",
                options: "-M s390-ccw-virtio",
                console: "ttysclp0",
            },
            packages: &["qemu-system-s390x"],
            cpus: 4,
        }),
        short: false,
    },
    Plain {
        name: "riscv64",
        triple: "riscv64gc-unknown-linux-gnu",
        prefix: "riscv64-linux-gnu",
        debian: "riscv64",
        emulator: Some("qemu-riscv64-static"),
        own_kernel: Some(OwnKernel {
            flavour: "riscv64",
            machine: Machine {
                emulator: "qemu-system-riscv64",
                options: "-M virt",
                console: "ttyS0",
            },
            packages: &["qemu-system-riscv", "opensbi"],
            // The test of a thousand threads takes 32 s there with one, 43 s with two, 98 s with four.
            cpus: 2,
        }),
        short: false,
    },
    Plain {
        name: "ppc64le",
        triple: "powerpc64le-unknown-linux-gnu",
        prefix: "powerpc64le-linux-gnu",
        debian: "ppc64el",
        emulator: Some("qemu-ppc64le-static"),
        own_kernel: Some(OwnKernel {
            flavour: "powerpc64le-64k",
            machine: Machine {
                emulator: "qemu-system-ppc64",
                // Without mitigations that emulation has not.
                options: "-M pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,\
                          cap-ccf-assist=off",
                console: "hvc0",
            },
            packages: &["qemu-system-ppc"],
            cpus: 4,
        }),
        short: false,
    },
    Plain {
        name: "armv7",
        triple: "armv7-unknown-linux-gnueabihf",
        prefix: "arm-linux-gnueabihf",
        debian: "armhf",
        emulator: Some("qemu-arm-static"),
        own_kernel: Some(OwnKernel {
            flavour: "armmp",
            machine: Machine {
                emulator: "qemu-system-arm",
                options: "-M virt,highmem=off -cpu cortex-a15",
                console: "ttyAMA0",
            },
            packages: &[],
            // With four, this kernel hung on that machine.
            cpus: 1,
        }),
        short: false,
    },
];

/// What runs there; `lib` are the unit tests.
const TESTS: &[&str] = &["lib", "rcu", "locks"];
/// A program that does not end in this time hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// How one of them went.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// What the doctor said there.
    Passed(String),
    Skipped(String),
    Failed(String),
}

/// Builds and runs everything for one.
pub(crate) fn check(cache: &Path, plain: &Plain, booted: bool) -> Verdict {
    let supplied = supplies(cache, plain).and_then(|()| {
        let own = plain.own_kernel.as_ref().filter(|_| booted);
        own.map(|own| own.supply(cache, plain)).transpose()
    });
    let supply = match supplied {
        Ok(supply) => supply,
        Err(why) => return Verdict::Skipped(format!("{why:#}")),
    };
    let said = build(cache, plain, booted).and_then(|programs| match &supply {
        Some(supply) => supply.boot(cache, plain, &programs),
        None => programs
            .iter()
            .map(|(name, program)| execute(plain, program).with_context(|| name.clone()))
            .collect(),
    });
    match said {
        Ok(said) => {
            let get = |name| guest::field(&said, name).unwrap_or("?");
            let (kernel, tier, reason) = (get("kernel"), get("tier"), get("reason"));
            Verdict::Passed(format!("{kernel}; tier {tier}, {reason}; {}", get("rseq")))
        }
        Err(why) => Verdict::Failed(format!("{why:#}")),
    }
}

/// Compiler, linker and emulator: those that are not there are installed.
fn supplies(cache: &Path, plain: &Plain) -> Result<()> {
    let mut packages = vec!["rustc-web".to_owned(), "rust-web-src".to_owned()];
    packages.push(format!("gcc-{}", plain.prefix));
    packages.push(format!("libc6-dev-{}-cross", plain.debian));
    packages.extend(plain.emulator.map(|_| "qemu-user-static".to_owned()));
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let installed = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}\n"])
        .args(&packages)
        .output()?;
    let words = String::from_utf8_lossy(&installed.stdout);
    if words.lines().filter(|status| *status == "installed").count() < packages.len() {
        archive::install(cache, &packages).context("compiler and emulator")?;
    }
    // The sources are of the compiler's own version, or will not do.
    let out = Command::new("dpkg-query")
        .args(["-W", "-f=${Version}\n", "rustc-web", "rust-web-src"])
        .output()?;
    let versions = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut versions = versions.lines();
    ensure!(versions.next() == versions.next(), "compiler and standard library differ in version");
    Ok(())
}

type Programs = Vec<(String, PathBuf)>;

/// The programs, by name; the first process of a machine, if there is one.
fn build(cache: &Path, plain: &Plain, booted: bool) -> Result<Programs> {
    let mut tests = vec!["test", "--no-run", "-p", "plain-tests"];
    for test in TESTS {
        match *test {
            "lib" => tests.push("--lib"),
            test => tests.extend(["--test", test]),
        }
    }
    let mut programs = cargo(cache, plain, &tests)?;
    if booted {
        programs.extend(cargo(cache, plain, &["build", "-p", run::INIT])?);
    }
    // The doctor comes along: tests may run the binaries of their package.
    ensure!(programs.len() == TESTS.len() + 1 + usize::from(booted), "made only {programs:?}");
    programs.sort();
    Ok(programs)
}

/// Runs cargo; gives the executables it made. What the compiler said is in the error.
fn cargo(cache: &Path, plain: &Plain, args: &[&str]) -> Result<Programs> {
    let linker = plain.triple.to_uppercase().replace('-', "_");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args(args)
        .args(["--quiet", "--message-format", "json", "-Zbuild-std", "--target", plain.triple])
        .arg("--target-dir")
        .arg(cache.join("target-plain"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env(format!("CARGO_TARGET_{linker}_LINKER"), format!("{}-gcc", plain.prefix));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (mut programs, mut words) = (Programs::new(), String::new());
    for message in Message::parse_stream(BufReader::new(child.stdout.take().expect("a pipe"))) {
        match message? {
            Message::CompilerArtifact(artifact) => {
                let Some(path) = artifact.executable else { continue };
                programs.push((artifact.target.name, path.into()));
            }
            Message::CompilerMessage(message) => {
                writeln!(words, "{}", message.message.rendered.unwrap_or_default())?;
            }
            _ => {}
        }
    }
    ensure!(child.wait()?.success(), "does not build:\n{words}");
    Ok(programs)
}

/// Runs one program; its words, in the error as well.
fn execute(plain: &Plain, program: &Path) -> Result<String> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT.as_secs().to_string()).args(plain.emulator).arg(program);
    let out = command.stdin(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}:\n{words}", out.status);
    Ok(words.into_owned())
}

/// What a machine boots with.
#[derive(Debug)]
struct Supply<'a> {
    own: &'a OwnKernel,
    unpacked: Option<PathBuf>,
    kernel: PathBuf,
}

impl OwnKernel {
    /// Fetches what it boots with.
    fn supply(&self, cache: &Path, plain: &Plain) -> Result<Supply<'_>> {
        run::emulator(cache)?;
        let unpacked = match self.packages {
            [] => None,
            packages => Some(archive::emulators(cache, packages)?),
        };
        let package = format!(r"linux-image-6\.12\.[^-]*-{}", self.flavour);
        let kernel = kernels::image(cache, plain.debian, &["trixie"], &package)?;
        Ok(Supply { own: self, unpacked, kernel })
    }
}

impl Supply<'_> {
    /// Runs all programs there; what the machine said, in the error as well.
    fn boot(&self, cache: &Path, plain: &Plain, programs: &Programs) -> Result<String> {
        let (mut files, mut plan) = (Vec::new(), String::new());
        for (name, file) in programs {
            if name == run::INIT {
                files.extend(["init", "bin/true"].map(|place| (place.to_owned(), file.clone())));
                continue;
            }
            files.push((format!("t/{name}"), file.clone()));
            // One test at a time: emulated CPUs take turns, and a test that has not ended after two
            // minutes says that it hangs. `locks` took 270 s on riscv64, on a busy host.
            let limit = run::LIMIT.as_secs();
            writeln!(plan, "name={name}\tlimit={limit}\tenv=RUST_TEST_THREADS=1\targ=/t/{name}")?;
        }
        let guest = Guest {
            machine: &self.own.machine,
            unpacked: self.unpacked.as_deref(),
            kernel: &self.kernel,
            cpus: self.own.cpus,
            nodes: 1,
            mode: Mode::Plain,
            words: &[],
            files: &files,
            plan: &plan,
            limit: run::LIMIT,
        };
        let log = guest.run(&cache.join("runs").join(plain.name))?;
        let outcome = guest::outcome(&log).with_context(|| log.clone())?;
        ensure!(outcome.failed == 0, "{log}");
        // Every such kernel broadcasts; without that, the tests would have been of the lowest tier.
        let tier = guest::field(&log, "tier").unwrap_or("?");
        ensure!(tier == "membarrier", "on tier {tier}:\n{log}");
        Ok(log)
    }
}

/// Checks those that are wanted, one after the other, and prints a line for each. The exit code.
pub(crate) fn run(cache: &Path, booted: bool, wanted: impl Fn(&Plain) -> bool) -> Result<u8> {
    let (begin, mut bad) = (Instant::now(), 0);
    for plain in PLAIN.iter().filter(|plain| wanted(plain)) {
        let at = Instant::now();
        let verdict = check(cache, plain, booted);
        let seconds = at.elapsed().as_secs();
        match verdict {
            Verdict::Passed(said) => {
                println!("machine {}: passed, {seconds} s; {said}", plain.name);
            }
            Verdict::Skipped(why) => println!("SKIPPED machine {}: {why}", plain.name),
            Verdict::Failed(words) => {
                println!("machine {}: FAILED\n{words}", plain.name);
                bad += 1;
            }
        }
    }
    println!("machines: without sequences, in {} s, {bad} bad", begin.elapsed().as_secs());
    Ok(u8::from(bad > 0))
}

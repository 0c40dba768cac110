//! Architectures without sequences: the library's portable tiers, compiled with their standard
//! library, and run here, on this kernel: by itself, or under user emulation, which emulates a
//! processor and hands system calls on.
//!
//! There is no registration under user emulation, and needs to be none. `membarrier` is this
//! kernel's; weak memory is not shown.

use crate::archive;
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
    /// Its C library's package, between `libc6-dev-` and `-cross`.
    c_library: &'static str,
    /// The emulator; none where this processor will do.
    emulator: Option<&'static str>,
    /// True for those that CI has time for.
    pub(crate) short: bool,
}

const fn plain(
    name: &'static str,
    triple: &'static str,
    prefix: &'static str,
    c_library: &'static str,
    emulator: Option<&'static str>,
    short: bool,
) -> Plain {
    Plain { name, triple, prefix, c_library, emulator, short }
}

/// 32 bits; big-endian; weakly ordered with 4 KiB pages, with 64 KiB pages; 32 bits elsewhere.
pub(crate) static PLAIN: &[Plain] = &[
    plain("i686", "i686-unknown-linux-gnu", "i686-linux-gnu", "i386", None, true),
    plain(
        "s390x",
        "s390x-unknown-linux-gnu",
        "s390x-linux-gnu",
        "s390x",
        Some("qemu-s390x-static"),
        false,
    ),
    plain(
        "riscv64",
        "riscv64gc-unknown-linux-gnu",
        "riscv64-linux-gnu",
        "riscv64",
        Some("qemu-riscv64-static"),
        false,
    ),
    plain(
        "ppc64le",
        "powerpc64le-unknown-linux-gnu",
        "powerpc64le-linux-gnu",
        "ppc64el",
        Some("qemu-ppc64le-static"),
        false,
    ),
    plain(
        "armv7",
        "armv7-unknown-linux-gnueabihf",
        "arm-linux-gnueabihf",
        "armhf",
        Some("qemu-arm-static"),
        false,
    ),
];

/// What runs there; `lib` are the unit tests.
const TESTS: &[&str] = &["lib", "rcu", "locks"];
/// A program that does not end in this time hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// How one of them went.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Builds and runs everything for one.
pub(crate) fn check(cache: &Path, plain: &Plain) -> Result<Verdict> {
    if let Err(why) = supplies(cache, plain) {
        return Ok(Verdict::Skipped(format!("{why:#}")));
    }
    let programs = match build(cache, plain)? {
        Ok(programs) => programs,
        Err(words) => return Ok(Verdict::Failed(words)),
    };
    for (name, program) in programs {
        if let Err(words) = execute(plain, &program).with_context(|| name) {
            return Ok(Verdict::Failed(format!("{words:#}")));
        }
    }
    Ok(Verdict::Passed)
}

/// Compiler, linker and emulator: those that are not there are installed.
fn supplies(cache: &Path, plain: &Plain) -> Result<()> {
    let mut packages = vec!["rustc-web".to_owned(), "rust-web-src".to_owned()];
    packages.push(format!("gcc-{}", plain.prefix));
    packages.push(format!("libc6-dev-{}-cross", plain.c_library));
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

/// The programs, or what the compiler said.
fn build(cache: &Path, plain: &Plain) -> Result<Result<Programs, String>> {
    let linker = plain.triple.to_uppercase().replace('-', "_");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command
        .args(["test", "--no-run", "--quiet", "--message-format", "json", "-Zbuild-std"])
        .args(["-p", "plain-tests", "--target", plain.triple, "--target-dir"])
        .arg(cache.join("target-plain"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env(format!("CARGO_TARGET_{linker}_LINKER"), format!("{}-gcc", plain.prefix));
    for test in TESTS {
        match *test {
            "lib" => command.arg("--lib"),
            test => command.args(["--test", test]),
        };
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (mut programs, mut words) = (Vec::new(), String::new());
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
    // The doctor comes along: tests may run the binaries of their package.
    let built = child.wait()?.success() && programs.len() == TESTS.len() + 1;
    Ok(if built { Ok(programs) } else { Err(format!("does not build:\n{words}")) })
}

/// Runs one program; its words are in the error.
fn execute(plain: &Plain, program: &Path) -> Result<()> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT.as_secs().to_string()).args(plain.emulator).arg(program);
    let out = command.stdin(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}:\n{words}", out.status);
    Ok(())
}

/// Checks those that are wanted, one after the other, and prints a line for each. The exit code.
pub(crate) fn run(cache: &Path, wanted: impl Fn(&Plain) -> bool) -> Result<u8> {
    let (begin, mut bad) = (Instant::now(), 0);
    for plain in PLAIN.iter().filter(|plain| wanted(plain)) {
        let at = Instant::now();
        let verdict = check(cache, plain)?;
        let seconds = at.elapsed().as_secs();
        match verdict {
            Verdict::Passed => println!("machine {}: passed, {seconds} s", plain.name),
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

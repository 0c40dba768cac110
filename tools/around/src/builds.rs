//! One program, built every way that changes how sections, arrays and landings get into it. The
//! audit must find nothing, and a stress must be well.
//!
//! A build that loses the arrays, whose signature is wrong, or whose tables are incomplete must be
//! noticed.

use crate::cargo::{self, cargo};
use crate::patch::{self, Defect};
use crate::process;
use crate::sections::audit;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A way to build.
struct Way {
    name: &'static str,
    level: &'static str,
    units: &'static str,
    lto: &'static str,
    panic: &'static str,
    flags: &'static str,
    /// As the ELF header says it: EXEC, or DYN.
    fixed: bool,
    /// No loader is named.
    alone: bool,
}

const STATIC: &str = "-Ctarget-feature=+crt-static";
const FIXED: &str = "-Crelocation-model=static";
const BOTH: &str = "-Ctarget-feature=+crt-static -Crelocation-model=static";

/// Each setting is here at least twice, and beside another one each time.
#[rustfmt::skip]
const WAYS: &[Way] = &[
    way("unoptimised",   "0", "16", "off",  "unwind", "",                       false, false),
    way("fat",           "3", "1",  "fat",  "abort",  "-Crelocation-model=pie", false, false),
    way("thin",          "3", "16", "thin", "unwind", "-Crelocation-model=pic", false, false),
    way("small, fixed",  "s", "1",  "off",  "unwind", FIXED,                    true,  false),
    way("static-pie",    "3", "1",  "off",  "unwind", STATIC,                   false, true),
    way("static",        "s", "16", "thin", "abort",  BOTH,                     true,  true),
    way("static, fat",   "0", "16", "fat",  "abort",  BOTH,                     true,  true),
    way("small, fat",    "s", "16", "fat",  "unwind", "-Crelocation-model=pie", false, false),
];

#[rustfmt::skip]
#[allow(clippy::too_many_arguments, reason = "the columns of the table")]
const fn way(name: &'static str, level: &'static str, units: &'static str, lto: &'static str,
    panic: &'static str, flags: &'static str, fixed: bool, alone: bool) -> Way {
    Way { name, level, units, lto, panic, flags, fixed, alone }
}

pub(crate) fn check(work: &Path) -> Result<()> {
    let kept = work.join("builds");
    std::fs::create_dir_all(&kept)?;
    println!("| build | level | units | lto | panic | flags | sections | took |");
    println!("|---|---|---|---|---|---|---|---|");
    for way in WAYS {
        one(way, work, &kept).with_context(|| format!("{}, {}", way.name, way.flags))?;
    }
    object(work)?;
    spoilt(&kept)?;
    collected(work)
}

/// Builds, audits and runs.
fn one(way: &Way, work: &Path, kept: &Path) -> Result<()> {
    let begin = Instant::now();
    let built = build(way, cargo(), &work.join("ways"), "subject")?;
    let took = begin.elapsed().as_secs_f64();
    let program = kept.join(way.name.replace(", ", "-"));
    std::fs::copy(built.join("subject"), &program)?;
    let bytes = std::fs::read(&program)?;
    let kind = u16::from_le_bytes([bytes[16], bytes[17]]);
    ensure!(kind == if way.fixed { 2 } else { 3 }, "ELF type {kind}");
    let file = object::File::parse(&*bytes)?;
    ensure!(object::Object::section_by_name(&file, ".interp").is_none() == way.alone, "a loader");
    let sections = clean(&bytes)?;
    println!(
        "| {} | {} | {} | {} | {} | {} | {sections} | {took:.0} s |",
        way.name, way.level, way.units, way.lto, way.panic, way.flags,
    );
    stress(&program)
}

/// No faults; how many sections.
fn clean(bytes: &[u8]) -> Result<usize> {
    let image = patch::image(bytes)?;
    let faults = audit(&image);
    ensure!(faults.is_empty(), "{faults:#?}");
    // The program has readers, a counter, and cells: enter and leave, inlined and in cold paths.
    ensure!(image.count() >= 5, "only {} sections", image.count());
    Ok(image.count())
}

fn stress(program: &Path) -> Result<()> {
    let log = program.with_extension("log");
    process::run(Command::new(program).args(["stress", "0.5"]), &log, PATIENCE)?.good("stress")?;
    Ok(())
}

/// Runs cargo; gives the folder of what was built.
fn build(way: &Way, mut cargo: Command, target: &Path, package: &str) -> Result<PathBuf> {
    let host = host()?;
    cargo.args(["build", "--quiet", "--release", "--package", package, "--target", &host]);
    cargo.arg("--target-dir").arg(target);
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", way.level);
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", way.units);
    cargo.env("CARGO_PROFILE_RELEASE_LTO", way.lto);
    cargo.env("CARGO_PROFILE_RELEASE_PANIC", way.panic);
    cargo.env("CARGO_PROFILE_RELEASE_INCREMENTAL", "false");
    cargo.env("RUSTFLAGS", way.flags);
    cargo::finish(&mut cargo, package)?;
    Ok(target.join(host).join("release"))
}

/// Named, so that flags are not those of build scripts as well.
fn host() -> Result<String> {
    let out = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(out.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("no host")?;
    Ok(host.to_owned())
}

/// A shared object, optimised for size by all of LTO.
fn object(work: &Path) -> Result<()> {
    let way = way("object", "s", "1", "fat", "abort", "-Crelocation-model=pic", false, true);
    let built = build(&way, cargo(), &work.join("ways"), "shared-object")?;
    let sections = clean(&std::fs::read(built.join("libshared_object.so"))?)?;
    println!("| shared object | s | 1 | fat | abort | {} | {sections} | |", way.flags);
    Ok(())
}

/// Spoilt builds: the audit fails, and one without signatures dies at its first abort.
fn spoilt(kept: &Path) -> Result<()> {
    for program in ["thin", "static"].map(|name| kept.join(name)) {
        let good = std::fs::read(&program)?;
        for (defect, fault) in [
            (Defect::Signature, "signature"),
            (Defect::Exits, "no exit point"),
            (Defect::Pointer, "0 pointers"),
        ] {
            let bad = patch::spoil(&good, defect)?;
            let faults = audit(&patch::image(&bad)?);
            ensure!(faults.iter().any(|f| f.contains(fault)), "{defect:?}: {faults:?}");
            println!("{}, {defect:?}: {} faults found", program.display(), faults.len());
            if defect == Defect::Signature {
                let spoilt = program.with_extension("spoilt");
                std::fs::copy(&program, &spoilt)?;
                std::fs::write(&spoilt, bad)?;
                let log = program.with_extension("log");
                let mut command = Command::new(&spoilt);
                let outcome = process::run(command.args(["stress", "0.5"]), &log, PATIENCE)?;
                ensure!(!outcome.status.success(), "it lives: {}", outcome.output);
                println!("{}, {defect:?}: {}", program.display(), outcome.status);
            }
        }
    }
    Ok(())
}

/// The library without the `.reloc` lines that keep the arrays where the linker collects what
/// nobody refers to.
fn collected(work: &Path) -> Result<()> {
    let copy = work.join("collected");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir_all(&copy)?;
    let mut cp = Command::new("cp");
    cp.current_dir(cargo::root())
        .args(["-r", "src", "asm", "build.rs", "Cargo.lock", "README.md"])
        .arg(&copy);
    cargo::finish(&mut cp, "a copy")?;
    std::fs::copy(
        cargo::root().join("tools/around/subject/src/main.rs"),
        copy.join("src/subject.rs"),
    )?;
    std::fs::write(copy.join("Cargo.toml"), manifest()?)?;
    let mut changed = 0;
    for entry in std::fs::read_dir(copy.join("asm").join(std::env::consts::ARCH))? {
        let path = entry?.path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path)?;
            let kept: Vec<&str> = text.lines().filter(|l| !l.starts_with(".reloc")).collect();
            changed += text.lines().count() - kept.len();
            std::fs::write(&path, kept.join("\n") + "\n")?;
        }
    }
    ensure!(changed > 0, "no .reloc lines");
    let way = way("collected", "3", "16", "off", "unwind", "", false, false);
    let mut command = cargo();
    command.current_dir(&copy);
    let built = build(&way, command, &copy.join("target"), "stillpoint")?;
    let found = match patch::image(&std::fs::read(built.join("subject"))?) {
        Err(why) => why.to_string(),
        Ok(image) => match audit(&image).first() {
            Some(fault) => fault.clone(),
            None => bail!("the audit finds nothing, without the .reloc lines"),
        },
    };
    println!("arrays that nothing keeps: {found}");
    Ok(())
}

/// The library's manifest without what only tests need, and with the program as its own.
fn manifest() -> Result<String> {
    let text = std::fs::read_to_string(cargo::root().join("Cargo.toml"))?;
    let mut kept = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.starts_with('[') {
            let unwanted = ["[workspace]", "[dev-", "[[", "[profile", "[package.metadata"];
            skipping = unwanted.iter().any(|u| line.starts_with(u));
        }
        if !skipping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept + "[workspace]\n[[bin]]\nname = \"subject\"\npath = \"src/subject.rs\"\n")
}

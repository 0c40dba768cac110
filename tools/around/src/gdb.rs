//! Sections under gdb: the standard arrays are there, plain steps abort every attempt, and the
//! commands of `tools/gdb/rseq.py` step over sections.

use crate::process::{self, absent, need};
use crate::sections::{Image, audit};
use crate::{cargo, patch};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// Attempts of each kind. A timer may abort one of them.
const ATTEMPTS: u32 = 20;

pub(crate) fn check(work: &Path) -> Result<()> {
    need("gdb")?;
    let log = work.join("gdb.log");
    let python = process::run(
        Command::new("gdb").args(["-nx", "-batch", "-ex", "python print('py' + 'thon')"]),
        &log,
        PATIENCE,
    )?;
    if !python.output.contains("python") {
        return absent("this gdb was built without Python");
    }
    let program = cargo::subject()?;
    let alone = process::run(Command::new(&program).args(["enter", "1"]), &log, PATIENCE)?;
    if !alone.good("subject")?.contains("registered true") {
        return absent("rseq is not registered");
    }
    let image = patch::image(&std::fs::read(&program)?)?;
    let faults = audit(&image);
    ensure!(faults.is_empty(), "{faults:#?}");

    let runs: [&[(&str, &str)]; 3] = [
        &[("RSEQ_STEP", "stepi")],
        &[("RSEQ_STEP", "rseq-stepi")],
        &[("RSEQ_STEP", "rseq-stepi"), ("RSEQ_BREAK", "inside")],
    ];
    let [plain, ours, beside] = runs.map(|variables| -> Result<u32> {
        let step = variables[0].1;
        let arguments = ["enter", &ATTEMPTS.to_string()];
        let output = script(work, "enter.py", &program, &arguments, variables)?;
        knows_all(&output, &image)?;
        let line = output.lines().find(|line| line.starts_with("registered true"));
        let line = line.with_context(|| output.clone())?;
        let with = if variables.len() > 1 { ", breakpoints inside" } else { "" };
        println!("{step}{with}: {line}");
        // The program has compared what it was told with what was counted.
        let counted = line.rsplit(' ').next().context("no count")?.parse()?;
        if step == "rseq-stepi" {
            let done = output.lines().filter(|l| l.starts_with("section") && l.ends_with(": done"));
            ensure!(done.count() == counted as usize, "{output}");
        }
        Ok(counted)
    });
    let plain = plain?;
    ensure!(plain == 0, "{plain} sections ended, step by step");
    for ended in [ours?, beside?] {
        ensure!(ended >= ATTEMPTS / 2, "only {ended} of {ATTEMPTS} sections ended");
    }

    lines(work, &program)
}

/// `rseq-next` goes from line to line.
fn lines(work: &Path, program: &Path) -> Result<()> {
    let core = work.join("subject.core");
    let core = core.to_string_lossy();
    let output = script(work, "lines.py", program, &["read"], &[("RSEQ_CORE", &core)])?;
    let source = std::fs::read_to_string(cargo::root().join("tools/around/subject/src/main.rs"))?;
    let line = output.lines().find(|line| line.starts_with("lines [")).context("no lines")?;
    println!("rseq-next: {line}");
    // A compiler mixes lines: each must come, and the guard's in their order.
    let first = |name: &str| -> Result<usize> {
        let marked = source.lines().position(|l| l.ends_with(&format!("// line: {name}")));
        let number = (marked.context("no such line")? + 1).to_string();
        let listed = line.trim_start_matches("lines [").trim_end_matches(']').split(", ");
        listed.clone().position(|n| n == number).with_context(|| format!("{name}: {line}"))
    };
    let order = [first("enter")?, first("leave")?, first("end")?];
    ensure!(order.is_sorted(), "{line}");
    ensure!(output.contains("read 1, counted 1"), "{output}");
    ensure!(output.contains("struct rseq at"), "{output}");

    // The same of the core.
    let mut gdb = gdb();
    gdb.args(["-ex", "info rseq", "-ex", "rseq-area"]).arg(program).arg(&*core);
    let outcome = process::run(&mut gdb, &work.join("gdb-core.log"), PATIENCE)?.good("gdb")?;
    std::fs::remove_file(&*core)?;
    knows_all(&outcome, &patch::image(&std::fs::read(program)?)?)?;
    ensure!(outcome.contains("struct rseq at"), "{outcome}");
    println!("a core: sections and area are there");
    Ok(())
}

/// gdb lists as many sections as the file has.
fn knows_all(output: &str, image: &Image) -> Result<()> {
    let count = format!("{} sections", image.count());
    ensure!(output.lines().any(|line| line == count), "not {count}:\n{output}");
    Ok(())
}

fn gdb() -> Command {
    let mut gdb = Command::new("gdb");
    gdb.current_dir(cargo::root()).args(["-nx", "-batch", "-x", "tools/gdb/rseq.py"]);
    gdb.env_remove("DEBUGINFOD_URLS");
    gdb
}

fn script(
    work: &Path,
    name: &str,
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<String> {
    let mut gdb = gdb();
    gdb.arg("-x").arg(Path::new("tools/around/gdb").join(name)).arg("--args").arg(program);
    gdb.args(arguments).envs(variables.iter().copied());
    let log = work.join(format!("gdb-{name}.log"));
    let output = process::run(&mut gdb, &log, PATIENCE)?.good(name)?;
    if output.contains("ptrace: Operation not permitted") {
        return absent("ptrace is not allowed");
    }
    // gdb ends with 0 whatever happens to a script.
    ensure!(!output.contains("Traceback"), "{name}: {output}");
    Ok(output)
}

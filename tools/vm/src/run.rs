//! Gets what the chosen machines need, boots them, tells how they went.

use crate::archive;
use crate::bundle::{self, Build, Libc, Linkage, Programs};
use crate::guest::{self, Guest};
use crate::kernels::Arch;
use crate::litmus;
use crate::matrix::{self, Row};
use crate::report::{self, Verdict};
use crate::{Options, Which};
use anyhow::{Context, Result, bail};
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A machine that does not end in this time hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(1200);

/// The first process of a machine.
pub(crate) const INIT: &str = "vm-init";

/// Runs these rows. The exit code.
pub(crate) fn run(options: &Options, rows: &[Row], which: &Which) -> Result<u8> {
    let begin = Instant::now();
    let cache = match ready(options)? {
        Ok(cache) => cache,
        Err(code) => return Ok(code),
    };
    emulator(&cache)?;
    let mut supplies = Supplies::new(&cache, options.slice_kernel.as_deref(), rows);
    let prepared: Vec<(&Row, Result<Supply, String>)> =
        rows.iter().map(|row| Ok((row, supplies.of(row)?))).collect::<Result<_>>()?;
    println!("prepared in {} s", begin.elapsed().as_secs());
    if which.prepare {
        return Ok(0);
    }
    let jobs = which
        .jobs
        .map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let done = boot_all(prepared, &cache, jobs, which.verbose);
    let bad = done.iter().filter(|(_, verdict)| verdict.is_bad()).count();
    let skipped = done.iter().filter(|(_, v)| matches!(v, Verdict::Skipped(_))).count();
    let seconds = begin.elapsed().as_secs();
    println!("machines: {} in {seconds} s, {bad} bad, {skipped} skipped", done.len());
    Ok(u8::from(bad > 0))
}

/// The emulator: nothing works without it.
pub(crate) fn emulator(cache: &Path) -> Result<()> {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    if on_path("qemu-system-x86_64") && on_path("qemu-system-aarch64") {
        return Ok(());
    }
    archive::install(cache, &["qemu-system-x86", "qemu-system-arm"]).context("the emulator")
}

/// What one row boots with.
#[derive(Clone)]
struct Supply {
    kernel: PathBuf,
    files: Vec<(String, PathBuf)>,
}

/// Kernels, programs and libraries, fetched and built once each.
struct Supplies<'a> {
    cache: &'a Path,
    slice: Option<&'a Path>,
    /// What rows need, of each build.
    wanted: HashMap<(Arch, Linkage), BTreeSet<String>>,
    kernels: HashMap<&'static str, Result<PathBuf, String>>,
    programs: HashMap<(Arch, Linkage), Result<Programs, String>>,
}

impl<'a> Supplies<'a> {
    fn new(cache: &'a Path, slice: Option<&'a Path>, rows: &[Row]) -> Supplies<'a> {
        let mut wanted: HashMap<_, BTreeSet<_>> = HashMap::new();
        for row in rows {
            let programs = wanted.entry((row.kernel.arch, row.libc.linkage())).or_default();
            programs.insert(INIT.to_owned());
            programs.extend(row.steps.iter().map(|step| step.program.clone()));
        }
        Supplies { cache, slice, wanted, kernels: HashMap::new(), programs: HashMap::new() }
    }

    /// The supply of a row, or why it must be skipped. An error if the row has no excuse.
    fn of(&mut self, row: &Row) -> Result<Result<Supply, String>> {
        let (cache, slice) = (self.cache, self.slice);
        let kernel = self.kernels.entry(row.kernel.label).or_insert_with(|| {
            let image = row.kernel.image(cache, slice);
            image.map_err(|error| format!("kernel {}: {error:#}", row.kernel.label))
        });
        let kernel = match kernel {
            Ok(image) => image.clone(),
            Err(why) if row.kernel.is_required() => bail!("{why}"),
            Err(why) => return Ok(Err(why.clone())),
        };
        let (arch, linkage) = (row.kernel.arch, row.libc.linkage());
        let programs = match self.programs.entry((arch, linkage)) {
            Entry::Occupied(built) => built.into_mut(),
            Entry::Vacant(place) => place.insert(match Build::new(cache, arch, linkage) {
                Ok(build) => Ok(build.programs(&self.wanted[&(arch, linkage)])?),
                Err(why) => Err(format!("{linkage:?} programs for {arch:?}: {why:#}")),
            }),
        };
        let programs = match programs {
            Ok(programs) => programs,
            Err(why) => return Ok(Err(why.clone())),
        };
        let mut files = match bundle::libraries(cache, arch, row.libc) {
            Ok(files) => files,
            Err(why) => return Ok(Err(format!("{}: {why:#}", row.libc.name()))),
        };
        let mut add = |place: String, program: &str| -> Result<()> {
            let file = programs.get(program).with_context(|| format!("no program {program}"))?;
            if files.iter().all(|(there, _)| *there != place) {
                files.push((place, file.clone()));
            }
            Ok(())
        };
        add("init".to_owned(), INIT)?;
        add("bin/true".to_owned(), INIT)?;
        for step in &row.steps {
            add(format!("t/{}", step.program), &step.program)?;
        }
        Ok(Ok(Supply { kernel, files }))
    }
}

/// Writes the table of all machines. The exit code.
pub(crate) fn report(options: &Options, file: &Path) -> Result<u8> {
    report::write(&options.cache, file, &matrix::rows())?;
    Ok(0)
}

/// Builds programs and tells where they are. The exit code.
pub(crate) fn build(options: &Options, arch: Arch, libc: Libc, only: &[String]) -> Result<u8> {
    let cache = match ready(options)? {
        Ok(cache) => cache,
        Err(code) => return Ok(code),
    };
    let build = match Build::new(&cache, arch, libc.linkage()) {
        Ok(build) => build,
        Err(why) => {
            println!("SKIPPED programs: {why:#}");
            return Ok(77);
        }
    };
    let wanted = if only.is_empty() { bundle::all() } else { only.iter().cloned().collect() };
    for (name, file) in build.programs(&wanted)? {
        println!("{name} {}", file.display());
    }
    Ok(0)
}

/// Prints the command that runs CRIU. The exit code.
pub(crate) fn criu(options: &Options) -> Result<u8> {
    let cache = match ready(options)? {
        Ok(cache) => cache,
        Err(code) => return Ok(code),
    };
    match archive::criu(&cache) {
        Ok(command) => {
            println!("{}", command.join(" "));
            Ok(0)
        }
        Err(why) => {
            println!("SKIPPED CRIU: {why:#}");
            Ok(77)
        }
    }
}

/// Runs the litmus tests. The exit code.
pub(crate) fn litmus(options: &Options) -> Result<u8> {
    let cache = match ready(options)? {
        Ok(cache) => cache,
        Err(code) => return Ok(code),
    };
    let herd7 = match archive::herd7(&cache) {
        Ok(command) => command,
        Err(why) => {
            println!("SKIPPED litmus tests: {why:#}");
            return Ok(77);
        }
    };
    let begin = Instant::now();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("litmus");
    let outcomes = litmus::run(&herd7, &files)?;
    let missed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.held).collect();
    for outcome in &outcomes {
        let word = if outcome.held { "ok" } else { "FAILED" };
        let (name, expect, places) = (&outcome.name, outcome.expect, outcome.positions);
        println!("litmus {name}: {word}: {expect}, {places} place(s)");
    }
    for outcome in &missed {
        println!("{}:\n{}", outcome.name, outcome.said);
    }
    let seconds = begin.elapsed().as_secs();
    println!("litmus: {} tests in {seconds} s, {} missed", outcomes.len(), missed.len());
    Ok(u8::from(!missed.is_empty()))
}

/// The cache's directory; or, where this machine can do nothing of this, the exit code.
fn ready(options: &Options) -> Result<Result<PathBuf, u8>> {
    if let Some(why) = archive::missing() {
        println!("SKIPPED machines: {why}");
        return Ok(Err(77));
    }
    fs::create_dir_all(&options.cache)?;
    Ok(Ok(fs::canonicalize(&options.cache)?))
}

/// Does something in the cache's directory. The exit code.
pub(crate) fn with_cache(options: &Options, work: impl FnOnce(&Path) -> Result<u8>) -> Result<u8> {
    ready(options)?.map_or_else(Ok, |cache| work(&cache))
}

type Prepared<'a> = Vec<(&'a Row, Result<Supply, String>)>;

/// Boots all, a few at a time, those that may take longest first; verdicts in the order of the rows.
fn boot_all<'a>(
    rows: Prepared<'a>,
    cache: &Path,
    jobs: usize,
    verbose: bool,
) -> Vec<(&'a Row, Verdict)> {
    let mut order: Vec<_> = rows.iter().enumerate().collect();
    order.sort_by_key(|(_, (row, _))| Reverse(row.length()));
    let queue = Mutex::new(order.into_iter());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").next();
                    let Some((number, (row, supply))) = next else { break };
                    let verdict = match supply {
                        Ok(supply) => {
                            boot(row, supply, &cache.join("runs").join(number.to_string()))
                        }
                        Err(why) => Verdict::Skipped(why.clone()),
                    };
                    let mut done = done.lock().expect("no panic");
                    tell(row, &verdict, verbose);
                    if let Err(error) = report::keep(cache, row, &verdict) {
                        println!("vm: the result is not kept: {error:#}");
                    }
                    done.push((number, verdict));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(number, _)| *number);
    rows.into_iter().zip(done).map(|((row, _), (_, verdict))| (row, verdict)).collect()
}

fn boot(row: &Row, supply: &Supply, work: &Path) -> Verdict {
    let plan = row.plan();
    let guest = Guest {
        machine: row.kernel.arch.machine(),
        unpacked: None,
        kernel: &supply.kernel,
        cpus: row.cpus,
        nodes: row.nodes,
        mode: row.mode,
        words: &row.words,
        files: &supply.files,
        plan: &plan,
        limit: LIMIT,
    };
    let begin = Instant::now();
    let log = match guest.run(work) {
        Ok(log) => log,
        Err(error) => return Verdict::Failed(format!("{error:#}")),
    };
    match guest::outcome(&log) {
        Ok(outcome) => Verdict::Ran { outcome, log, took: begin.elapsed() },
        Err(error) => Verdict::Failed(format!("{error:#}\n{log}")),
    }
}

fn tell(row: &Row, verdict: &Verdict, verbose: bool) {
    let what = format!("{} ({}, {})", row.name, row.shape_name(), row.mode.name());
    match verdict {
        Verdict::Skipped(why) => println!("SKIPPED machine {}: {why}", row.name),
        Verdict::Failed(why) => println!("machine {what}: FAILED: {why}"),
        Verdict::Ran { outcome, log, took } => {
            let word = if outcome.failed == 0 { "ok" } else { "FAILED" };
            let (ran, seconds) = (outcome.ran, took.as_secs());
            let get = |name| guest::field(log, name).unwrap_or("?");
            println!(
                "machine {what}: {word}, {ran} ran, {} failed, {seconds} s; {}; tier {}, {}; {}",
                outcome.failed,
                get("kernel"),
                get("tier"),
                get("reason"),
                get("rseq"),
            );
            if outcome.failed > 0 || verbose {
                println!("{log}");
            }
            for fault in &outcome.faults {
                println!("  {fault}");
            }
        }
    }
}

//! Builds our programs for the machines: tests, torture, doctor, and the first process.

use crate::archive::{self, World};
use crate::kernels::Arch;
use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The C library that programs run with, and how they are linked to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Libc {
    /// glibc 2.36, in the programs.
    Static,
    /// glibc 2.41, of Debian 13, as a shared library.
    Trixie,
    /// The newest glibc of Debian, as a shared library.
    Sid,
    /// musl, in the programs.
    Musl,
}

impl Libc {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Libc::Static => "glibc 2.36",
            Libc::Trixie => "glibc 2.41",
            Libc::Sid => "newest glibc",
            Libc::Musl => "musl",
        }
    }

    fn suite(self) -> Option<&'static str> {
        match self {
            Libc::Static | Libc::Musl => None,
            Libc::Trixie => Some("trixie"),
            Libc::Sid => Some("sid"),
        }
    }

    /// How its programs are built.
    pub(crate) fn linkage(self) -> Linkage {
        match self {
            Libc::Static => Linkage::Static,
            Libc::Musl => Linkage::Musl,
            Libc::Trixie | Libc::Sid => Linkage::Dynamic,
        }
    }
}

/// How programs are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Linkage {
    Static,
    Dynamic,
    Musl,
}

/// Programs by name: where they are on this machine.
pub(crate) type Programs = BTreeMap<String, PathBuf>;

/// The tests of the library that machines run; `lib` are its unit tests.
const TESTS: &[&str] = &[
    "machine",
    "instructions",
    "abort_points",
    "interrupt",
    "rcu",
    "percpu",
    "percpu_stress",
    "stack",
    "pool",
    "remote",
    "floor",
    "ring",
    "service",
    "fork",
    "stress",
    "locks",
    "cpu_lock",
    "cohort",
    "slices",
    "perf",
    "surroundings",
];

/// Other programs, and the packages that they are of.
const TOOLS: &[(&str, &str)] = &[
    ("doctor", "lean-tests"),
    ("torture", "torture"),
    ("torture-broken", "torture-broken"),
    ("vm-init", "vm-init"),
];

/// The test of abort points, on broken builds.
const MUTANTS: &str = "mutants-abort_points";

/// All there are.
pub(crate) fn all() -> BTreeSet<String> {
    let tools = TOOLS.iter().map(|(program, _)| program);
    TESTS.iter().chain(tools).chain(&["lib", MUTANTS]).map(|&name| name.to_owned()).collect()
}

/// The settings of one build.
#[derive(Debug)]
pub(crate) struct Build {
    target: String,
    directory: PathBuf,
    env: Vec<(String, String)>,
    args: Vec<&'static str>,
}

impl Build {
    /// Prepares one, with all it needs from the archive.
    pub(crate) fn new(cache: &Path, arch: Arch, linkage: Linkage) -> Result<Build> {
        let mut build = Build {
            target: arch.triple().to_owned(),
            directory: cache.join("target"),
            env: Vec::new(),
            args: Vec::new(),
        };
        let set = |build: &mut Build, name: &str, value: &str| {
            build.env.push((name.to_owned(), value.to_owned()));
        };
        match linkage {
            Linkage::Static => set(&mut build, "RUSTFLAGS", "-C target-feature=+crt-static"),
            // The same target as the static ones, but other programs.
            Linkage::Dynamic => build.directory = cache.join("target-dynamic"),
            Linkage::Musl => {
                ensure!(arch == Arch::X86, "musl is built for x86-64 only");
                build.target = "x86_64-unknown-linux-musl".to_owned();
                build.args = vec!["-Zbuild-std"];
                build.env = musl(cache)?;
            }
        }
        if arch == Arch::Arm {
            set(&mut build, "RUSTC", "/usr/bin/rustc");
            let linker = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER";
            set(&mut build, linker, "aarch64-linux-gnu-gcc");
            cross(cache)?;
        }
        Ok(build)
    }

    /// Builds those programs, and no others.
    pub(crate) fn programs(&self, wanted: &BTreeSet<String>) -> Result<Programs> {
        let is_wanted = |name: &&&str| wanted.contains(**name);
        let mut programs = Programs::new();
        let mut tests = vec!["-p", "lean-tests"];
        tests.extend(wanted.contains("lib").then_some("--lib"));
        tests.extend(TESTS.iter().filter(is_wanted).flat_map(|test| ["--test", *test]));
        if tests.len() > 2 {
            programs.extend(self.cargo("test", &tests)?);
        }
        let tools = TOOLS.iter().filter(|(program, _)| wanted.contains(*program));
        let of_tools: Vec<_> = tools.flat_map(|(_, package)| ["-p", *package]).collect();
        if !of_tools.is_empty() {
            programs.extend(self.cargo("build", &[&of_tools[..], &["--bins"]].concat())?);
        }
        if wanted.contains(MUTANTS) {
            let mutants = ["-p", "stillpoint-mutant-tests", "--test", "abort_points"];
            let built = self.cargo("test", &mutants)?;
            programs.extend(built.into_values().map(|path| (MUTANTS.to_owned(), path)));
        }
        let missing: Vec<_> = wanted.iter().filter(|name| !programs.contains_key(*name)).collect();
        ensure!(missing.is_empty(), "no program {missing:?}");
        Ok(programs)
    }

    /// Runs cargo; gives the executables it made.
    fn cargo(&self, verb: &str, what: &[&str]) -> Result<Programs> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.args([verb, "--release", "--quiet", "--message-format", "json"]);
        command.args((verb == "test").then_some("--no-run"));
        command.args(what).args(&self.args).envs(self.env.iter().map(|(n, v)| (n, v)));
        command.args(["--target", &self.target]).arg("--target-dir").arg(&self.directory);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut programs = Programs::new();
        for message in Message::parse_stream(BufReader::new(child.stdout.take().expect("a pipe"))) {
            match message? {
                Message::CompilerArtifact(artifact) => {
                    let Some(path) = artifact.executable else { continue };
                    let unit = artifact.profile.test && artifact.target.is_lib();
                    let name = if unit { "lib" } else { &artifact.target.name };
                    programs.insert(name.to_owned(), path.into());
                }
                Message::CompilerMessage(message) => {
                    if let Some(text) = message.message.rendered {
                        eprint!("{text}");
                    }
                }
                _ => {}
            }
        }
        ensure!(child.wait()?.success(), "cargo {verb} {what:?} for {}", self.target);
        Ok(programs)
    }
}

/// The compiler for aarch64: Debian's, since its archive has the other architecture's standard
/// library of the very same version.
fn cross(cache: &Path) -> Result<()> {
    let packages = ["rustc-web", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
    let security = ["bookworm", "bookworm-updates", "bookworm-security"];
    archive::install(cache, &packages).context("the cross compiler")?;
    let installed =
        Command::new("dpkg-query").args(["-W", "-f=${Version}", "rustc-web"]).output()?;
    let version = String::from_utf8(installed.stdout)?;
    let world = World::open(cache, "arm64", &security)?;
    let shared = world.newest(r"libstd-rust-web-[0-9.]+")?;
    let root = cache.join("unpacked/rust-arm64");
    for package in [format!("libstd-rust-web-dev={version}"), format!("{shared}={version}")] {
        archive::unpack(&world.download(&package)?, &root, &["./usr/lib/*"])?;
    }
    // Not over what is there: a compiler may be reading it. The files' names tell their versions.
    let library = "lib/rustlib/aarch64-unknown-linux-gnu";
    let (from, to) = (root.join("usr").join(library), Path::new("/usr").join(library));
    let names = |folder: &Path| -> Result<BTreeSet<OsString>> {
        let entries = std::fs::read_dir(folder.join("lib"))?;
        Ok(entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?)
    };
    if names(&to).ok() == Some(names(&from)?) {
        return Ok(());
    }
    archive::run(Command::new("rm").arg("-rf").arg(&to))?;
    archive::run(Command::new("cp").arg("-r").arg(&from).arg(&to))
}

/// The environment of a build for musl, as the script beside us prepares it.
fn musl(cache: &Path) -> Result<Vec<(String, String)>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("musl");
    let out = Command::new(&script).arg(cache.join("musl")).output()?;
    let words = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}: {}", out.status, words.trim_end());
    let text = String::from_utf8(out.stdout)?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Shared libraries that a dynamic program needs: place in the machine, file here.
pub(crate) fn libraries(cache: &Path, arch: Arch, libc: Libc) -> Result<Vec<(String, PathBuf)>> {
    let Some(suite) = libc.suite() else { return Ok(Vec::new()) };
    let (loader, folder) = match arch {
        Arch::X86 => ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu"),
        Arch::Arm => ("lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu"),
    };
    let root = cache.join("unpacked").join(format!("{suite}-{}", arch.debian()));
    let world = World::open(cache, arch.debian(), &[suite])?;
    for package in ["libc6", "libgcc-s1"] {
        archive::unpack(&world.download(package)?, &root, &["./lib*", "./usr/lib*"])?;
    }
    // Since Debian 13 everything is below /usr.
    let find = |path: &str| {
        let places = [root.join(path), root.join("usr").join(path)];
        places.into_iter().find(|p| p.exists()).with_context(|| format!("{suite} has no {path}"))
    };
    let of_folder = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0"];
    let mut files = vec![(
        loader.to_owned(),
        match find(loader) {
            Ok(path) => path,
            Err(_) => find(&format!("{folder}/{}", loader.rsplit('/').next().expect("a name")))?,
        },
    )];
    for name in of_folder {
        let path = format!("{folder}/{name}");
        files.push((path.clone(), find(&path)?));
    }
    Ok(files)
}

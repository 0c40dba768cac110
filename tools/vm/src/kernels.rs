//! The kernels, and where they come from.

use crate::archive::{self, World};
use crate::guest::Machine;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    X86,
    /// aarch64
    Arm,
}

impl Arch {
    /// As compilers say it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Arch::X86 => "x86_64-unknown-linux-gnu",
            Arch::Arm => "aarch64-unknown-linux-gnu",
        }
    }

    /// As the archive says it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Arch::X86 => "amd64",
            Arch::Arm => "arm64",
        }
    }

    /// What is emulated.
    pub(crate) fn machine(self) -> &'static Machine {
        match self {
            Arch::X86 => &Machine {
                emulator: "qemu-system-x86_64",
                options: "-cpu Nehalem",
                console: "ttyS0",
            },
            Arch::Arm => &Machine {
                emulator: "qemu-system-aarch64",
                options: "-M virt,gic-version=3 -cpu cortex-a72",
                console: "ttyAMA0",
            },
        }
    }
}

/// A kernel of the matrix.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) label: &'static str,
    pub(crate) arch: Arch,
    /// Bytes of `struct rseq` that it fills.
    pub(crate) features: u32,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The newest package that matches, in these suites.
    Archive(&'static [&'static str], &'static str),
    /// A file that the user names: built with the time-slice extension, which no distribution has.
    File,
}

const NOW: &[&str] = &["bookworm", "bookworm-updates", "bookworm-backports", "bookworm-security"];
const NEW: &[&str] = &["trixie-backports"];

const fn kernel(label: &'static str, arch: Arch, features: u32, source: Source) -> Kernel {
    Kernel { label, arch, features, source }
}

/// All of them. Suites move: each is the newest of its line, whatever that is today.
pub(crate) static KERNELS: &[Kernel] = &[
    kernel(
        "x86-5.10",
        Arch::X86,
        20,
        Source::Archive(&["bullseye"], r"linux-image-5\.10\.0-[0-9]+-cloud-amd64"),
    ),
    kernel(
        "x86-6.1",
        Arch::X86,
        20,
        Source::Archive(NOW, r"linux-image-6\.1\.0-[0-9]+-cloud-amd64"),
    ),
    kernel("x86-6.12", Arch::X86, 28, Source::Archive(NOW, r"linux-image-6\.12\..*-cloud-amd64")),
    kernel("x86-7", Arch::X86, 33, Source::Archive(NEW, r"linux-binary-7\..*-cloud-amd64")),
    kernel("x86-slice", Arch::X86, 33, Source::File),
    kernel(
        "arm-6.1",
        Arch::Arm,
        20,
        Source::Archive(NOW, r"linux-image-6\.1\.0-[0-9]+-cloud-arm64"),
    ),
    kernel("arm-6.12", Arch::Arm, 28, Source::Archive(NOW, r"linux-image-6\.12\..*-cloud-arm64")),
    // These abort no section, or only some: the self-test's reason to be.
    kernel("arm-6.19", Arch::Arm, 28, Source::Archive(NEW, r"linux-binary-6\.19\..*-cloud-arm64")),
    kernel(
        "arm-7.0.9",
        Arch::Arm,
        33,
        Source::Archive(NEW, r"linux-binary-7\.0\.9[^0-9].*-cloud-arm64"),
    ),
    kernel(
        "arm-7.0",
        Arch::Arm,
        33,
        Source::Archive(NEW, r"linux-binary-7\.0\.1[0-3][^0-9].*-cloud-arm64"),
    ),
    kernel("arm-7", Arch::Arm, 33, Source::Archive(NEW, r"linux-binary-7\..*-cloud-arm64")),
];

/// The kernel of that label.
pub(crate) fn named(label: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| kernel.label == label)
}

impl Kernel {
    /// True if a machine on which this tool works has no excuse for not having it: the archive
    /// keeps what belongs to its release.
    pub(crate) fn is_required(&self) -> bool {
        matches!(self.source, Source::Archive(suites, _) if suites.contains(&"bookworm"))
    }

    /// Its image, fetched if it is not in `cache`.
    pub(crate) fn image(&self, cache: &Path, slice: Option<&Path>) -> Result<PathBuf> {
        match self.source {
            Source::File => {
                let file = slice.context(
                    "no image of it was named (STILLPOINT_SLICE_KERNEL=FILE, or --slice-kernel FILE)",
                )?;
                ensure!(file.is_file(), "{}: no such file", file.display());
                Ok(file.to_owned())
            }
            Source::Archive(suites, pattern) => image(cache, self.arch.debian(), suites, pattern),
        }
    }
}

/// The image of the newest package that matches, in these suites of an architecture, fetched if it
/// is not in `cache`.
pub(crate) fn image(cache: &Path, arch: &str, suites: &[&str], pattern: &str) -> Result<PathBuf> {
    let world = World::open(cache, arch, suites)?;
    let name = world.newest(pattern)?;
    let image = cache.join("kernels").join(&name);
    if image.exists() {
        return Ok(image);
    }
    let package = world.download(&name)?;
    let unpacked = cache.join("unpacked").join(&name);
    archive::unpack(&package, &unpacked, &["./boot/vmlinu*", "./usr/lib/modules/*/vmlinuz"])?;
    let found = largest(&unpacked)?.with_context(|| format!("no kernel in {package:?}"))?;
    fs::create_dir_all(cache.join("kernels"))?;
    fs::rename(found, &image)?;
    fs::remove_dir_all(unpacked)?;
    Ok(image)
}

/// The largest file below `dir`.
fn largest(dir: &Path) -> Result<Option<PathBuf>> {
    let mut best: Option<(u64, PathBuf)> = None;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let (path, meta) = {
                let e = entry?;
                (e.path(), e.metadata()?)
            };
            if meta.is_dir() {
                folders.push(path);
            } else if best.as_ref().is_none_or(|(size, _)| meta.len() > *size) {
                best = Some((meta.len(), path));
            }
        }
    }
    Ok(best.map(|(_, path)| path))
}

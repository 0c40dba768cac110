//! Sources: from the registry to a copy that can be changed.

use crate::programs::{Edit, PARKING_LOT, Program, Swap};
use anyhow::{Context, Result, anyhow, ensure};
use cargo_metadata::MetadataCommand;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Which lock a program is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Original,
    Ours,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lock::Original => "original",
            Lock::Ours => "our",
        })
    }
}

/// The registry cannot be reached, and what is wanted is not in cargo's cache.
#[derive(Debug)]
pub(crate) struct Absent(String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

impl Absent {
    /// What cargo said last.
    pub(crate) fn because(what: &str, said: &str) -> Absent {
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        Absent(format!("{what} cannot be had: {}", last.trim()))
    }
}

/// A copy, ready to be tested.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) folder: PathBuf,
    pub(crate) version: String,
    /// What is patched in instead of the registry's parking_lot.
    pub(crate) parking_lot: Option<PathBuf>,
}

/// Copies a program's source anew, and swaps its lock if ours is wanted.
pub(crate) fn prepare(work: &Path, program: &Program, lock: Lock) -> Result<Source> {
    let label = format!("{}-{lock}", program.name);
    let (folder, version) = copy(work, program, &label)?;
    let mut source = Source { folder, version, parking_lot: None };
    if lock == Lock::Ours {
        match program.swap {
            Swap::Edits(edits) => change(&source.folder, edits)?,
            Swap::ParkingLot => {
                let (folder, _) = copy(work, &PARKING_LOT, "parking_lot-patched")?;
                let Swap::Edits(edits) = PARKING_LOT.swap else { unreachable!("it is edited") };
                change(&folder, edits)?;
                source.parking_lot = Some(folder);
            }
        }
    }
    Ok(source)
}

/// Makes a fresh copy of what the registry has. Returns it, and its version.
fn copy(work: &Path, program: &Program, label: &str) -> Result<(PathBuf, String)> {
    let (unpacked, version) = unpacked(work, program)?;
    let folder = work.join("sources").join(label);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy_folder(&unpacked, &folder).with_context(|| format!("copying {}", unpacked.display()))?;
    // Their lock file and toolchain are not ours, nor do they belong to our workspace.
    for own in ["Cargo.lock", "rust-toolchain.toml", "rust-toolchain"] {
        let _ = fs::remove_file(folder.join(own));
    }
    append(&folder, "\n[workspace]\n")?;
    Ok((folder, version))
}

/// Where cargo has unpacked the program, after it was made to fetch it.
fn unpacked(work: &Path, program: &Program) -> Result<(PathBuf, String)> {
    let scratch = work.join("scratch").join(program.name);
    fs::create_dir_all(scratch.join("src"))?;
    fs::write(scratch.join("src/lib.rs"), "")?;
    let Program { name, version, .. } = program;
    let manifest = format!(
        "[package]\nname = \"scratch\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         {name} = \"{version}\"\n"
    );
    fs::write(scratch.join("Cargo.toml"), manifest)?;
    let metadata = MetadataCommand::new().current_dir(&scratch).exec();
    let metadata = metadata.map_err(|error| match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            anyhow!(Absent::because(&format!("{name} {version}"), &stderr))
        }
        other => anyhow!(other),
    })?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == *name);
    let package = package.with_context(|| format!("{name} is not among its own packages"))?;
    let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
    Ok((folder.into(), package.version.to_string()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Makes a copy depend on us, and changes its source.
fn change(folder: &Path, edits: &[Edit]) -> Result<()> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    append(
        folder,
        &format!("\n[dependencies.stillpoint]\npath = {ours:?}\nfeatures = [\"lock_api_04\"]\n"),
    )?;
    for Edit { file, old, new } in edits {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        ensure!(text.contains(old), "{file} no longer has {old:?}: adapt programs.rs");
        let changed = if old.is_empty() { (*new).to_owned() } else { text.replace(old, new) };
        fs::write(&path, changed)?;
    }
    Ok(())
}

fn append(folder: &Path, text: &str) -> Result<()> {
    let manifest = folder.join("Cargo.toml");
    let before = fs::read_to_string(&manifest).context("reading its manifest")?;
    Ok(fs::write(manifest, before + text)?)
}

//! Builds of this workspace.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// cargo, without what the cargo that started us told us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    for name in ["CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

/// Builds a package, optimised, where everything of this workspace is built; gives the folder.
pub(crate) fn release(package: &str) -> Result<PathBuf> {
    build(package, &target(), &[])
}

/// Builds what is debugged, with lines, beside all else. The code is the same.
pub(crate) fn subject() -> Result<PathBuf> {
    let lines = ["--config", "profile.release.debug=1"];
    Ok(build("subject", &target().join("around/lines"), &lines)?.join("subject"))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn build(package: &str, target: &Path, more: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", package]).args(more);
    finish(command.arg("--target-dir").arg(target), package)?;
    Ok(target.join("release"))
}

/// Runs a build; its words are in the error.
pub(crate) fn finish(command: &mut Command, what: &str) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{what} does not build: {}\n{}", out.status, words.trim_end());
    Ok(())
}

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
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => root().join("target"),
    };
    // For gdb, which wants to know lines. The optimised code is the same.
    let debug = ["--config", "profile.release.debug=1"];
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", package]).args(debug);
    finish(command.arg("--target-dir").arg(&target), package)?;
    Ok(target.join("release"))
}

/// Runs a build; its words are in the error.
pub(crate) fn finish(command: &mut Command, what: &str) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{what} does not build: {}\n{}", out.status, words.trim_end());
    Ok(())
}

//! Builds the C unit and says what of the kernel this target can use: restartable sequences, futexes.

use std::env;
use std::path::Path;

/// Does the work for a package whose sources live below `root`.
pub(crate) fn build(root: &Path, has_sections: bool) {
    println!("cargo::rustc-check-cfg=cfg(stillpoint_sections)");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let known = matches!(target("ARCH").as_str(), "x86_64" | "aarch64");
    println!("cargo::rustc-check-cfg=cfg(stillpoint_futex)");
    // Where the kernel's `futex` takes a time of two longs: on all but x32 and the newest of 32 bits.
    let long = target("POINTER_WIDTH") == "64";
    if target("OS") == "linux" && (long || matches!(target("ARCH").as_str(), "x86" | "arm")) {
        println!("cargo::rustc-cfg=stillpoint_futex");
    }
    let native = target("OS") == "linux"
        && known
        && target("POINTER_WIDTH") == "64"
        && target("ENDIAN") == "little";
    let unit = root.join("src/rseq/area.c");
    println!("cargo::rerun-if-changed={}", unit.display());
    println!("cargo::rerun-if-changed={}", root.join("asm").display());
    if !(native && has_sections) {
        return;
    }
    println!("cargo::rustc-cfg=stillpoint_sections");
    if env::var_os("DOCS_RS").is_some() {
        // Documentation of all targets is built without cross compilers; nothing is linked.
        return;
    }
    let version = |part| env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default();
    let prefix = format!("stillpoint_{}_{}_", version("MAJOR"), version("MINOR"));
    cc::Build::new()
        .file(&unit)
        .define("STILLPOINT_PREFIX", prefix.as_str())
        .warnings_into_errors(false)
        .extra_warnings(true)
        .compile("stillpoint_area");
}

#[allow(dead_code, reason = "the test packages include this file as a module")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    build(Path::new("."), true);
}

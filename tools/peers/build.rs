//! Builds the shim over liburcu if its development files are installed: once for executables,
//! once as a shared object.
//!
//! liburcu costs several times as much in a shared object, where a function finds its
//! thread-local word, as in an executable, which reaches it directly. Code for a shared object that is
//! linked into an executable after all, which is what `cc` does by default, is neither: the
//! linker removes the call and leaves the detour, at twice the cost of the real thing.

use std::env;
use std::path::Path;

const SOURCE: &str = "src/urcu_memb.c";
const LIBRARIES: [&str; 2] = ["urcu-memb", "urcu-common"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(have_liburcu)");
    println!("cargo::rerun-if-changed={SOURCE}");
    let mut build = cc::Build::new();
    build.file(SOURCE).opt_level(2).cargo_warnings(false);
    let executable = build.clone().pic(false).flag("-fPIE").try_compile("peers_urcu_memb");
    if executable.is_err() {
        // A file that is never there always counts as changed: we look again next time.
        println!("cargo::rerun-if-changed=src/until_liburcu_is_installed");
        return;
    }
    println!("cargo::rustc-cfg=have_liburcu");
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib={library}");
    }
    let path =
        Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("peers_urcu_memb.so");
    let linked = build
        .pic(true)
        .get_compiler()
        .to_command()
        .args(["-shared", SOURCE, "-o"])
        .arg(&path)
        .args(LIBRARIES.map(|library| format!("-l{library}")))
        .status();
    if linked.is_ok_and(|status| status.success()) {
        println!("cargo::rustc-env=PEERS_URCU_SHARED_OBJECT={}", path.display());
    }
}

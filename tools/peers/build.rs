//! Builds the shims over liburcu if its development files are installed: those of all flavours for
//! executables, and that of "memb" once more as a shared object.
//!
//! liburcu costs several times as much in a shared object, where a function finds its
//! thread-local word, as in an executable, which reaches it directly. Code for a shared object that is
//! linked into an executable after all, which is what `cc` does by default, is neither: the
//! linker removes the call and leaves the detour, at twice the cost of the real thing.

use std::env;
use std::path::Path;

const MEMB: &str = "src/urcu_memb.c";
const OTHERS: [&str; 2] = ["src/urcu_qsbr.c", "src/urcu_bp.c"];
const TABLE: &str = "src/table.h";
const READ: &str = "src/read.h";
const LIBRARIES: [&str; 2] = ["urcu-memb", "urcu-common"];
const OTHER_LIBRARIES: [&str; 2] = ["urcu-qsbr", "urcu-bp"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(have_liburcu)");
    for file in OTHERS.into_iter().chain([MEMB, TABLE, READ]) {
        println!("cargo::rerun-if-changed={file}");
    }
    let mut build = cc::Build::new();
    build.opt_level(2).cargo_warnings(false);
    let mut executable = build.clone();
    executable.file(MEMB).files(OTHERS).pic(false).flag("-fPIE");
    let executable = executable.try_compile("peers_urcu");
    if executable.is_err() {
        // A file that is never there always counts as changed: we look again next time.
        println!("cargo::rerun-if-changed=src/until_liburcu_is_installed");
        return;
    }
    println!("cargo::rustc-cfg=have_liburcu");
    for library in OTHER_LIBRARIES.into_iter().chain(LIBRARIES) {
        println!("cargo::rustc-link-lib={library}");
    }
    let path =
        Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("peers_urcu_memb.so");
    let linked = build
        .pic(true)
        .get_compiler()
        .to_command()
        .args(["-shared", MEMB, "-o"])
        .arg(&path)
        .args(LIBRARIES.map(|library| format!("-l{library}")))
        .status();
    if linked.is_ok_and(|status| status.success()) {
        println!("cargo::rustc-env=PEERS_URCU_SHARED_OBJECT={}", path.display());
    }
}

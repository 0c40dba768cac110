//! Builds the shim over liburcu if its development files are installed.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(have_liburcu)");
    println!("cargo::rerun-if-changed=src/urcu_memb.c");
    println!("cargo::rerun-if-changed=/usr/include/urcu.h");
    let built = cc::Build::new()
        .file("src/urcu_memb.c")
        .opt_level(2)
        .cargo_warnings(false)
        .try_compile("peers_urcu_memb");
    if built.is_ok() {
        println!("cargo::rustc-link-lib=urcu-memb");
        println!("cargo::rustc-link-lib=urcu-common");
        println!("cargo::rustc-cfg=have_liburcu");
    }
}

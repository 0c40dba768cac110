//! Compiles the library's sources for the models: loom's atomics, sections as a model.

use std::path::Path;

#[path = "../build.rs"]
mod base;

fn main() {
    base::build(Path::new(".."), false);
    println!("cargo::rustc-cfg=stillpoint_loom");
    println!("cargo::rustc-cfg=stillpoint_mutants");
}

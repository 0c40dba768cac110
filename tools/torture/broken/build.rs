//! Compiles the library's sources with the switches that break them on purpose.

use std::path::Path;

#[path = "../../../build.rs"]
mod base;

fn main() {
    base::build(Path::new("../../.."), true);
    println!("cargo::rustc-cfg=stillpoint_mutants");
}

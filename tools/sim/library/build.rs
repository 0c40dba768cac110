//! Compiles the library's sources for the simulator: its atomics, its time, its parking.

use std::path::Path;

#[path = "../../../build.rs"]
mod base;

fn main() {
    base::build(Path::new("../../.."), false);
    println!("cargo::rustc-cfg=stillpoint_sim");
}

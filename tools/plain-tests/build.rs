//! Compiles the library's sources as they are.

use std::path::Path;

#[path = "../../build.rs"]
mod base;

fn main() {
    base::build(Path::new("../.."), true);
}

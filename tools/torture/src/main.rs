//! A soak test for the domain, after the kernel's rcutorture: readers of every kind against every
//! way to update, for as long as one likes, with checks that tell what went wrong.
//!
//! Exit codes: 0, clean; 1, a violation, printed with its evidence; 2, wrong usage.

#[cfg(target_os = "linux")]
mod soak;

#[cfg(target_os = "linux")]
fn main() {
    soak::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("torture: only on Linux");
    std::process::exit(2);
}

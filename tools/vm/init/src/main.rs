//! The first process of an emulated machine.
//!
//! Mounts what programs expect, runs the steps of `/plan` one after the other, tells how each
//! ended in lines that begin with `GUEST`, powers off. Never returns, whatever happens: a first
//! process that ends is a kernel panic.
//!
//! Under the name `true` it is that program: the tests start one that does nothing.

#![cfg(target_os = "linux")]

mod hotplug;
mod limits;
mod plan;
mod step;

use std::fs;
use std::process::exit;

fn main() {
    if std::env::args().next().is_some_and(|name| name.ends_with("/true")) {
        return;
    }
    if std::process::id() != 1 {
        eprintln!("vm-init: not the first process; it would power this machine off");
        exit(2);
    }
    std::panic::set_hook(Box::new(|info| println!("GUEST-BAD: init: {info}")));
    let outcome = std::panic::catch_unwind(work);
    if let Ok((ran, failed)) = outcome {
        let word = if ran > 0 && failed == 0 { "GUEST-OK" } else { "GUEST-BAD" };
        println!("{word}: {ran} ran, {failed} failed");
    }
    // SAFETY: no memory is involved.
    unsafe {
        // What was said last may still wait for the slow line of the console.
        libc::tcdrain(1);
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

/// Runs the plan. How many steps ran, how many of them failed.
fn work() -> (usize, usize) {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("debugfs", "/sys/kernel/debug"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        mount(kind, place);
    }
    let plan = fs::read_to_string("/plan").expect("a plan");
    let steps = plan::parse(&plan).expect("a plan that makes sense");
    let failed = steps.iter().filter(|step| !step::run(step)).count();
    (steps.len(), failed)
}

/// Mounts a file system of the kernel's own, if it has such a one.
fn mount(kind: &str, place: &str) {
    let _ = fs::create_dir_all(place);
    let text = |s: &str| std::ffi::CString::new(s).expect("no zero byte");
    let (kind, place) = (text(kind), text(place));
    // SAFETY: three C strings that live long enough, and no data.
    unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
}

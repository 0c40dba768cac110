//! The self-test finds a kernel that aborts no section, and the library does without.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/stress.rs"]
mod stress;

use std::process::Command;
use std::time::Duration;
use stillpoint::{SelfTest, Tier, machine};

const FAULT: &str = "STILLPOINT_MUTANT";

/// The fault is below the self-test: sections of no length, in which the kernel finds nobody.
#[test]
fn a_kernel_that_aborts_nothing_is_demoted() {
    if std::env::var_os(FAULT).is_some() {
        return on_such_a_kernel();
    }
    if machine().self_test() != SelfTest::Passed {
        println!("SKIPPED: self-test {:?} without any fault", machine().self_test());
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_kernel_that_aborts_nothing_is_demoted", "--nocapture"])
        .env(FAULT, "NoAbort")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    print!("{text}");
    assert!(child.status.success() && text.contains("demoted"), "{}", child.status);
}

fn on_such_a_kernel() {
    println!("{}", machine());
    assert_eq!(machine().self_test(), SelfTest::Failed);
    assert_eq!(machine().tier(), Tier::Membarrier.min(machine().tier()));
    assert!(machine().reason().contains("does not abort sections"), "{}", machine().reason());
    let report = stress::run(Tier::Rseq, Duration::from_secs(1));
    assert_eq!((report.violations, report.tier), (0, machine().tier()), "{report}");
    if let Some((violations, _)) = stress::duel(Tier::Rseq, Duration::from_secs(1)) {
        assert_eq!(violations, 0, "duel");
    }
    println!("demoted to {}", report.tier);
}

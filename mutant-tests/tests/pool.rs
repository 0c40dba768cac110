//! The stress test of pools finds what it is for: see `stack.rs`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/pool_stress.rs"]
mod stress;

use std::process::{Command, ExitStatus};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself.
const TIME: Duration = Duration::from_secs(20);
/// What the library has to show nothing.
const SOUND: Duration = Duration::from_secs(2);
/// Who gets nowhere for so long hangs; in a library that is sound, much longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs this test again, as a process that chooses the mutant; says how that ended.
fn outcome(test: &str, mutant: Mutant) -> ExitStatus {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        let (time, patience) =
            if mutant == Mutant::None { (SOUND, 20 * PATIENCE) } else { (TIME, PATIENCE) };
        std::thread::spawn(move || {
            let mut before = u64::MAX;
            loop {
                let now = stress::OPERATIONS.load(Ordering::Relaxed);
                if now == before {
                    eprintln!("it hangs");
                    std::process::abort();
                }
                before = now;
                std::thread::sleep(patience);
            }
        });
        let report = stress::run(time);
        println!("{report:?}");
        assert_ne!(report.operations, 0);
        // Not a panic: the harness would have to get out of a broken process.
        std::process::exit(if report.violations > 0 { 3 } else { 0 });
    }
    // One after the other: they take all CPUs there are.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{mutant:?}: {}", child.status);
    print!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    child.status
}

fn caught_on_rseq(test: &str, mutant: Mutant) {
    let tier = stillpoint::machine().tier();
    if tier != Tier::Rseq {
        return println!("SKIPPED {test}: on tier {tier}");
    }
    assert!(!outcome(test, mutant).success(), "not caught");
}

#[test]
fn no_broadcast() {
    caught_on_rseq("no_broadcast", Mutant::NoBroadcast);
}

#[test]
fn no_stop() {
    caught_on_rseq("no_stop", Mutant::NoStop);
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None).success());
}

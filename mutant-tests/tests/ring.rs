//! The stress tests of rings find what they are for.
//!
//! Each mutant runs in a process of its own, since one that hangs is aborted. What only shows under
//! weak memory is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/ring_stress.rs"]
mod stress;

use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};
use stillpoint::percpu::Policy;

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself.
const ROUNDS: u32 = 20;
const TIME: Duration = Duration::from_millis(500);
/// Who gets nowhere for so long hangs; in a library that is sound, much longer.
const PATIENCE: Duration = Duration::from_secs(3);

fn conserve(_: Duration) -> u64 {
    let report = stress::conserve(Policy::DropNewest, TIME);
    println!("{report:?}");
    report.violations
}

fn overwrite(_: Duration) -> u64 {
    let report = stress::conserve(Policy::OverwriteOldest, TIME);
    println!("{report:?}");
    report.violations
}

fn wake_up(patience: Duration) -> u64 {
    stress::wake_up(2000, patience)
}

type Stress = fn(Duration) -> u64;

/// Runs this test again, as a process that chooses the mutant; says how that ended.
fn outcome(test: &str, mutant: Mutant, how: Stress) -> ExitStatus {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        let sound = mutant == Mutant::None;
        let (rounds, patience) = if sound { (2, 20 * PATIENCE) } else { (ROUNDS, PATIENCE) };
        for _ in 0..rounds {
            if how(patience) > 0 {
                // Not a panic: the harness would have to get out of a broken process.
                std::process::exit(3);
            }
        }
        std::process::exit(0);
    }
    // One after the other: they take all CPUs there are.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{mutant:?}: {} after {:?}", child.status, begin.elapsed());
    print!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    child.status
}

macro_rules! caught {
    ($($name:ident: $mutant:ident, $lowest:ident, $how:ident;)*) => {
        $(
            #[test]
            fn $name() {
                if Tier::$lowest > stillpoint::machine().tier() {
                    println!("SKIPPED {}: no tier {}", stringify!($name), Tier::$lowest);
                    return;
                }
                let status = outcome(stringify!($name), Mutant::$mutant, $how);
                assert!(!status.success(), "not caught");
            }
        )*
    };
}

caught! {
    commit_first: RingCommitFirst, Rseq, conserve;
    early_tail: RingEarlyTail, Fence, conserve;
    uncounted: RingUncounted, Fence, conserve;
    uncounted_overwriting: RingUncounted, Fence, overwrite;
    no_abort: NoAbort, Rseq, conserve;
    no_wake: RingNoWake, Fence, wake_up;
}

/// Nothing is found where nothing is broken.
#[test]
fn none_is_lost() {
    assert!(outcome("none_is_lost", Mutant::None, conserve).success());
}

#[test]
fn none_is_lost_overwriting() {
    assert!(outcome("none_is_lost_overwriting", Mutant::None, overwrite).success());
}

#[test]
fn none_sleeps_for_ever() {
    assert!(outcome("none_sleeps_for_ever", Mutant::None, wake_up).success());
}

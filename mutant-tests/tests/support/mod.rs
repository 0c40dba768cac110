//! Runs a mutant in a process of its own: one that is broken may crash, hang, or be in no state to
//! go on.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself, at most: most need a moment, some need luck, and other work on
/// the machine takes it away.
const TIME: Duration = Duration::from_secs(60);
/// What the library has to show nothing.
const SOUND: Duration = Duration::from_secs(2);
/// Who gets nowhere for so long hangs; in a library that is sound, much longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs this test again, as a process that chooses the mutant; says how that ended. `how` is told
/// its time and its patience, and returns how many violations it found.
pub(crate) fn outcome(
    test: &str,
    mutant: Mutant,
    how: impl FnOnce(Duration, Duration) -> u64,
) -> ExitStatus {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        let (time, patience) =
            if mutant == Mutant::None { (SOUND, 20 * PATIENCE) } else { (TIME, PATIENCE) };
        let violations = how(time, patience);
        println!("{violations} violations");
        // Not a panic: the harness would have to get out of a broken process.
        std::process::exit(if violations > 0 { 3 } else { 0 });
    }
    // One after the other: they take all CPUs there are.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{mutant:?}: {} after {:?}", child.status, begin.elapsed());
    print!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    child.status
}

/// The mutant must be caught, where sections run at all.
pub(crate) fn caught_on_rseq(
    test: &str,
    mutant: Mutant,
    how: impl FnOnce(Duration, Duration) -> u64,
) {
    let tier = stillpoint::machine().tier();
    if tier != Tier::Rseq {
        return println!("SKIPPED {test}: on tier {tier}");
    }
    assert!(!outcome(test, mutant, how).success(), "not caught");
}

/// Aborts the process as soon as `progress` is the same as so long ago.
pub(crate) fn watch(patience: Duration, progress: impl Fn() -> u64 + Send + 'static) {
    std::thread::spawn(move || {
        let (mut before, mut since) = (u64::MAX, Instant::now());
        loop {
            let now = progress();
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > patience {
                eprintln!("it hangs");
                std::process::abort();
            }
            std::thread::sleep(patience / 20);
        }
    });
}

/// What a stress test finds, which counts its operations, and does some; aborts if it hangs.
pub(crate) fn watched(
    patience: Duration,
    operations: &'static AtomicU64,
    stress: impl FnOnce() -> u64,
) -> u64 {
    watch(patience, || operations.load(Relaxed));
    let violations = stress();
    println!("{operations:?} operations");
    assert_ne!(operations.load(Relaxed), 0);
    violations
}

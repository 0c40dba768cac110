//! The stress test of per-CPU lists finds what it is for.
//!
//! Each mutant runs in a process of its own: one that reads a node which is gone dies, and one
//! whose list is a ring hangs. What needs a kernel that loses aborts, or weak memory, is the
//! models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/stack_stress.rs"]
mod stress;

use std::process::{Command, ExitStatus};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
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

macro_rules! caught {
    ($($name:ident: $mutant:ident, $tiers:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let tier = stillpoint::machine().tier();
                if !$tiers.contains(&tier) {
                    return println!("SKIPPED {}: on tier {tier}", stringify!($name));
                }
                assert!(!outcome(stringify!($name), Mutant::$mutant).success(), "not caught");
            }
        )*
    };
}

caught! {
    no_broadcast: NoBroadcast, [Tier::Rseq];
    no_stop: NoStop, [Tier::Rseq];
    next_outside_section: NextOutsideSection, [Tier::Rseq];
    pop_by_exchange: PopByExchange, [Tier::Membarrier, Tier::Fence];
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None).success());
}

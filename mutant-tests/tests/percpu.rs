//! The stress test of counters finds what it is for.
//!
//! Each mutant runs in a process of its own: counters and signal handler are the process's.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/percpu_stress.rs"]
mod stress;

use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself.
const TIME: Duration = Duration::from_secs(20);
/// What the library has to show nothing.
const SOUND: Duration = Duration::from_secs(2);

/// Runs this test again, as a process that chooses the mutant; says how that ended.
fn outcome(test: &str, mutant: Mutant) -> ExitStatus {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        let report = stress::run(if mutant == Mutant::None { SOUND } else { TIME });
        println!("{report}");
        assert!(report.sums > 0 && report.signals > 0);
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
    ($($(#[$attr:meta])* $name:ident: $mutant:ident, $lowest:ident;)*) => {
        $(
            $(#[$attr])*
            #[test]
            fn $name() {
                if Tier::$lowest > stillpoint::machine().tier() {
                    println!("SKIPPED {}: no tier {}", stringify!($name), Tier::$lowest);
                    return;
                }
                assert_eq!(outcome(stringify!($name), Mutant::$mutant).code(), Some(3));
            }
        )*
    };
}

caught! {
    #[ignore = "two must add to one part in the same moment: needs two real CPUs"]
    no_abort: NoAbort, Rseq;
    #[ignore = "two must add to one part in the same moment: needs two real CPUs"]
    part_outside_section: PartOutsideSection, Rseq;
    rest_first: RestFirst, Fence;
}

/// Nothing is found where nothing is broken.
#[test]
fn none() {
    assert!(outcome("none", Mutant::None).success());
}

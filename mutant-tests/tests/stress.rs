//! The stress test finds what it is for.
//!
//! Each mutant runs in a process of its own, since one that frees too early may well crash.
//! What only shows under weak memory, or in a window of nanoseconds, is the models' to find; those
//! mutants are listed in `docs/testing.md`.

#![cfg(target_os = "linux")]

#[path = "../../tests/support/stress.rs"]
mod stress;

use std::process::Command;
use std::time::Duration;
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What the stress test has in CI.
const TIME: Duration = Duration::from_secs(10);
/// A duel over a window of nanoseconds may need longer, on a machine with other work to do.
const DUEL: Duration = Duration::from_secs(60);

/// True if the mutant is caught on this tier in time.
fn is_caught(test: &str, mutant: Mutant, tier: Tier, how: fn(Tier) -> u64) -> bool {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        let violations = how(tier);
        println!("{violations} violations");
        // Not a panic: the harness would have to get out of a broken process.
        std::process::exit(if violations > 0 { 3 } else { 0 });
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{mutant:?} on {tier}: {}", child.status);
    print!("{}", String::from_utf8_lossy(&child.stdout));
    !child.status.success()
}

fn crowd(tier: Tier) -> u64 {
    stress::run(tier, TIME).violations
}

fn duel(tier: Tier) -> u64 {
    stress::duel(tier, DUEL).map_or(0, |(violations, _)| violations)
}

macro_rules! caught {
    ($($(#[$attr:meta])* $name:ident: $mutant:ident, $tier:ident, $how:ident;)*) => {
        $(
            $(#[$attr])*
            #[test]
            fn $name() {
                if Tier::$tier > stillpoint::machine().tier() {
                    println!("SKIPPED {}: no tier {}", stringify!($name), Tier::$tier);
                    return;
                }
                assert!(is_caught(stringify!($name), Mutant::$mutant, Tier::$tier, $how));
            }
        )*
    };
}

caught! {
    no_wait_rseq: NoWait, Rseq, crowd;
    no_wait_membarrier: NoWait, Membarrier, crowd;
    no_wait_fence: NoWait, Fence, crowd;
    early_callback_rseq: EarlyCallback, Rseq, crowd;
    no_round_up_rseq: NoRoundUp, Rseq, crowd;
    #[ignore = "a race of nanoseconds: needs two real CPUs and some luck; the models need neither"]
    no_broadcast_rseq: NoBroadcast, Rseq, duel;
}

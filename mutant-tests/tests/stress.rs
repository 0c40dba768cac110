//! The stress test finds what it is for.
//!
//! Each mutant runs in a process of its own, since one that frees too early may well crash.
//! What only shows under weak memory, or in a window of nanoseconds, is the models' to find; those
//! mutants are listed in `docs/testing.md`.
//!
//! Built with ThreadSanitizer (`stillpoint_tsan`), it is the sanitizer that must find them, as
//! data races; and some that the stress test does not see.

#![cfg(target_os = "linux")]

#[path = "../../tests/support/stress.rs"]
mod stress;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};
use stress::{cpus, obstacles};

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself, at most: other work on the machine makes windows rare.
const TIME: Duration = Duration::from_secs(60);

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
        // One race is enough, and there may be many.
        .env("TSAN_OPTIONS", "halt_on_error=1")
        .output()
        .unwrap();
    println!("{mutant:?} on {tier}: {}", child.status);
    print!("{}", String::from_utf8_lossy(&child.stdout));
    if cfg!(stillpoint_tsan) {
        let report = String::from_utf8_lossy(&child.stderr);
        report.lines().take(40).for_each(|line| println!("{line}"));
        // What runs unbroken must also get to its end.
        assert!(mutant != Mutant::None || child.status.success(), "{}", child.status);
        return report.contains("WARNING: ThreadSanitizer: data race");
    }
    !child.status.success()
}

fn crowd(tier: Tier) -> u64 {
    stress::run(tier, TIME).violations
}

fn duel(tier: Tier) -> u64 {
    stress::duel(tier, TIME).map_or(0, |(violations, _)| violations)
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
}

/// What the mutant lets happen takes two CPUs whose stores wait while their loads go on. Where
/// that cannot be seen at all, it proves nothing not to see the mutant.
#[test]
#[ignore = "a race of nanoseconds: needs two real CPUs and some luck; the models need neither"]
fn no_broadcast_rseq() {
    let highest = stillpoint::machine().tier();
    if highest < Tier::Rseq {
        println!("SKIPPED no_broadcast_rseq: this process has {highest}");
    } else if !is_caught("no_broadcast_rseq", Mutant::NoBroadcast, Tier::Rseq, duel) {
        assert!(!stores_wait(), "not caught, though stores wait on this machine");
        println!("SKIPPED no_broadcast_rseq: no store waits for a load on these CPUs");
    }
}

/// The store-buffering litmus test, behind the duel's obstacles: true if both sides ever miss the
/// other one's store.
fn stores_wait() -> bool {
    const ROUNDS: u64 = 1_000_000;
    static OVER: AtomicBool = AtomicBool::new(false);
    #[repr(align(128))]
    struct Side {
        store: AtomicU64,
        round: AtomicU64,
        /// Of even and of odd rounds: a side is never two rounds ahead.
        missed: [AtomicBool; 2],
    }
    static SIDES: [Side; 2] = [const {
        Side {
            store: AtomicU64::new(0),
            round: AtomicU64::new(0),
            missed: [const { AtomicBool::new(false) }; 2],
        }
    }; 2];
    let [first, second, ..] = cpus::allowed()[..] else { return false };
    let side = |me: usize, cpu: usize| {
        cpus::restrict(0, &[cpu]);
        let (mine, other) = (&SIDES[me], &SIDES[1 - me]);
        let end = Instant::now() + TIME;
        let mut random = fastrand::Rng::with_seed(7);
        let mut both = false;
        for round in 1..=ROUNDS {
            let parity = round as usize % 2;
            if me == 0 && round % 100 == 0 {
                obstacles::vary(&mut random);
                OVER.fetch_or(Instant::now() > end, Relaxed);
            }
            let wait_for = |round| {
                while other.round.load(Acquire) < round && !OVER.load(Relaxed) {
                    std::hint::spin_loop();
                }
            };
            wait_for(round - 1);
            obstacles::pass();
            mine.store.store(round, Relaxed);
            let missed = other.store.load(Relaxed) < round;
            mine.missed[parity].store(missed, Relaxed);
            mine.round.store(round, Release);
            wait_for(round);
            if OVER.load(Relaxed) {
                break;
            }
            both |= missed && other.missed[parity].load(Relaxed);
        }
        both
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1, second));
        side(0, first) | other.join().unwrap()
    })
}

#[test]
#[ignore = "needs two real CPUs"]
fn the_litmus_test_ends() {
    println!("stores wait: {}", stores_wait());
}

#[cfg(stillpoint_tsan)]
caught! {
    early_callback_fence: EarlyCallback, Fence, crowd;
    no_round_up_fence: NoRoundUp, Fence, crowd;
    relaxed_leave_fence: RelaxedLeave, Fence, crowd;
    relaxed_publish_rseq: RelaxedPublish, Rseq, crowd;
    relaxed_publish_fence: RelaxedPublish, Fence, crowd;
}

/// The sanitizer finds nothing where nothing is broken: there are no false alarms.
#[cfg(stillpoint_tsan)]
mod sound {
    use super::*;

    /// What the library has to show nothing.
    const SOUND: Duration = Duration::from_secs(5);

    fn is_sound(test: &str, tier: Tier) -> bool {
        !is_caught(test, Mutant::None, tier, |tier| stress::run(tier, SOUND).violations)
    }

    #[test]
    fn rseq() {
        assert!(is_sound("sound::rseq", Tier::Rseq));
    }

    #[test]
    fn fence() {
        assert!(is_sound("sound::fence", Tier::Fence));
    }
}

//! The stress test of locks finds what it is for.
//!
//! Each mutant runs in a process of its own, since one that hangs is aborted. What only shows under
//! weak memory is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/rwlock_stress.rs"]
mod stress;
#[path = "../../tests/support/tokens.rs"]
mod tokens;

use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};
use stress::cpus;

const CHILD: &str = "STILLPOINT_MUTANT_CHILD";
/// What a mutant has to show itself.
const TIME: Duration = Duration::from_secs(20);
/// What the library has to show nothing.
const SOUND: Duration = Duration::from_secs(2);
/// Who gets nowhere for so long hangs; in a library that is sound, much longer.
const PATIENCE: Duration = Duration::from_secs(3);

fn crowd(time: Duration, patience: Duration) -> u64 {
    let report = stress::run(time, patience);
    println!("{report}");
    report.violations
}

fn duel(time: Duration, _: Duration) -> u64 {
    let Some((violations, writes)) = stress::duel(time) else { return 0 };
    println!("duel of {writes} writes");
    violations
}

fn ambush(time: Duration, patience: Duration) -> u64 {
    println!("ambush of {} writes", stress::ambush(time, patience));
    0
}

/// Locks whose readers are tokens. Who panics has found something, and so has who hangs.
fn tokens(time: Duration, patience: Duration) -> u64 {
    const ROUND: Duration = Duration::from_millis(500);
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    std::thread::spawn(move || {
        loop {
            let before = ROUNDS.load(Ordering::Relaxed);
            std::thread::sleep(2 * ROUND + patience);
            if ROUNDS.load(Ordering::Relaxed) == before {
                eprintln!("it hangs");
                std::process::abort();
            }
        }
    });
    let begin = Instant::now();
    while begin.elapsed() < time {
        tokens::stress(&tokens::locks(1), ROUND, Duration::from_micros(300));
        tokens::stress(&tokens::locks(12), ROUND, Duration::from_micros(100));
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    0
}

type Stress = fn(Duration, Duration) -> u64;

/// Runs this test again, as a process that chooses the mutant; says how that ended.
fn outcome(test: &str, mutant: Mutant, how: Stress) -> ExitStatus {
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

macro_rules! caught {
    ($($(#[$attr:meta])* $name:ident: $mutant:ident, $lowest:ident, $how:ident;)*) => {
        $(
            $(#[$attr])*
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
    bias_outside_section: BiasOutsideSection, Rseq, crowd;
    forgotten_readers: ForgottenReaders, Fence, crowd;
    wake_before_slot: WakeBeforeSlot, Rseq, ambush;
    token_by_store: TokenByStore, Fence, tokens;
    token_kept: TokenKept, Fence, tokens;
    #[cfg(stillpoint_tsan)]
    relaxed_open: RelaxedOpen, Rseq, crowd;
    #[ignore = "a race of nanoseconds: needs two real CPUs; the models do not"]
    no_broadcast: NoBroadcast, Rseq, duel;
}

/// Nothing is found where nothing is broken.
#[test]
fn none_in_a_crowd() {
    assert!(outcome("none_in_a_crowd", Mutant::None, crowd).success());
}

#[test]
fn none_in_a_duel() {
    assert!(outcome("none_in_a_duel", Mutant::None, duel).success());
}

#[test]
fn none_in_an_ambush() {
    assert!(outcome("none_in_an_ambush", Mutant::None, ambush).success());
}

#[test]
fn none_among_tokens() {
    assert!(outcome("none_among_tokens", Mutant::None, tokens).success());
}

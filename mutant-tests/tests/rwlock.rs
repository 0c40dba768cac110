//! The stress test of locks finds what it is for.
//!
//! Each mutant runs in a process of its own, since one that hangs is aborted. What only shows under
//! weak memory is the models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/rwlock_stress.rs"]
mod stress;
mod support;
#[path = "../../tests/support/tokens.rs"]
mod tokens;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stress::cpus;
use support::{outcome, watch};

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
    watch(2 * ROUND + patience, || ROUNDS.load(Ordering::Relaxed).into());
    let begin = Instant::now();
    while begin.elapsed() < time {
        tokens::stress(&tokens::locks(1), ROUND, Duration::from_micros(300));
        tokens::stress(&tokens::locks(12), ROUND, Duration::from_micros(100));
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    0
}

/// A writer gives up beside a reader in a slot. The next one must not get in, either.
fn second_writer(_: Duration, _: Duration) -> u64 {
    const SHORT: Duration = Duration::from_millis(1);
    let got_in = |_: &i32| {
        let lock = tokens::opened(());
        let _read = lock.read();
        lock.try_write_for(SHORT).is_some() || lock.try_write_for(SHORT).is_some()
    };
    (0..50).filter(got_in).count() as u64
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
    tokens_forgotten: ForgottenReaders, Fence, second_writer;
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

#[test]
fn none_of_two_writers() {
    assert!(outcome("none_of_two_writers", Mutant::None, second_writer).success());
}

//! The stress test of per-CPU lists finds what it is for.
//!
//! Each mutant runs in a process of its own: one that reads a node which is gone dies, and one
//! whose list is a ring hangs. What needs a kernel that loses aborts, or weak memory, is the
//! models' to find.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/stack_stress.rs"]
mod stress;
mod support;

use std::time::Duration;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stress::crowd::OPERATIONS;
use support::{outcome, watched};

fn stressed(time: Duration, patience: Duration) -> u64 {
    watched(patience, &OPERATIONS, || stress::run(time).violations)
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
                assert!(!outcome(stringify!($name), Mutant::$mutant, stressed).success(), "not caught");
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
    assert!(outcome("none", Mutant::None, stressed).success());
}

//! The abort-point tracer finds what it is for.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../tests/support/tracer.rs"]
mod tracer;

use stillpoint::mutant::{Mutant, choose};

/// Takes the first one off a list.
fn on_a_list(sequence: &tracer::Sequence) -> bool {
    ["stack_pop", "exchange_pop"].contains(&sequence.name)
}

/// One test, since a mutant is chosen for the whole process.
#[test]
fn the_tracer_finds_each_mutant() {
    for sequence in &tracer::SEQUENCES {
        for (mutant, must_fail) in [
            (Mutant::None, false),
            // The one that only waits commits nothing, and the kernel's count of calls misses none.
            // `interrupt.rs` finds it there.
            (
                Mutant::LateCommit,
                sequence.name != "lock_wait" && !sequence.name.starts_with("syscall"),
            ),
            (Mutant::PhaseOutsideSection, sequence.name == "reader_enter"),
            (Mutant::BiasOutsideSection, sequence.name == "slot_claim"),
            (Mutant::CopyOutsideSection, sequence.name.starts_with("leaf_")),
            (Mutant::NextOutsideSection, on_a_list(sequence)),
            (Mutant::PageOutsideSection, sequence.name == "counter_read"),
            (Mutant::RetainOutsideSection, sequence.name == "retain"),
        ] {
            // One that is in other sequences only must change nothing here. An emulated machine has no
            // time to see that.
            let emulated = std::env::var_os("STILLPOINT_EXPECT").is_some();
            if emulated && mutant != Mutant::None && !must_fail {
                continue;
            }
            choose(mutant);
            let Some(outcome) = tracer::trace(sequence) else { return };
            println!("{} {mutant:?}: {} failures", sequence.name, outcome.failures.len());
            if let Some(first) = outcome.failures.first() {
                println!("  {first}");
            }
            assert_eq!(!outcome.failures.is_empty(), must_fail, "{} {mutant:?}", sequence.name);
        }
    }
}

//! Every sequence, stopped at every instruction: nothing lost, nothing doubled.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/tracer.rs"]
mod tracer;

#[test]
fn every_instruction_of_every_sequence() {
    for sequence in &tracer::SEQUENCES {
        if let Some(outcome) = tracer::trace(sequence) {
            println!("{}: {} stops, {} inside", sequence.name, outcome.stops, outcome.inside);
            assert!(outcome.inside >= 12, "too few stops inside: {outcome:?}");
            assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
        }
    }
}

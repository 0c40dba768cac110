//! A stop that comes at any instant is not lost, and nothing is called after it.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/injector.rs"]
mod injector;
#[allow(dead_code, reason = "tests/abort_points.rs uses the rest")]
#[path = "support/tracer.rs"]
mod tracer;

use std::fs::read_to_string;

/// Whether the kernel aborts a section whose call it is about to make again.
fn restarts_abort() -> bool {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse::<u32>().ok());
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] < [6, 19]
}

#[test]
fn a_signal_at_every_instruction() {
    for sequence in &injector::SEQUENCES {
        for restart in [false, true] {
            if restart && !restarts_abort() {
                println!("SKIPPED {}: this kernel makes calls again", sequence.name);
                continue;
            }
            let Some(outcome) = injector::inject(sequence, restart) else { return };
            println!("{}, SA_RESTART: {restart}: {} signals", sequence.name, outcome.signals);
            assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
            assert!(outcome.signals >= 10, "too few: {outcome:?}");
        }
    }
}

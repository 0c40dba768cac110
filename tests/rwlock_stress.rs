//! Locks under stress, on the tier that this process has.
//!
//! Five seconds; `STILLPOINT_STRESS_SECONDS=3600 cargo test --release --test rwlock_stress` for
//! more.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/rwlock_stress.rs"]
mod stress;

use std::time::Duration;

/// Whoever has got nowhere for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `STILLPOINT_STRESS_SECONDS`, or 5.
fn seconds() -> Duration {
    let wanted = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    Duration::from_secs_f64(wanted.map_or(5.0, |s| s.parse().expect("a number of seconds")))
}

/// One test: timer and signal handler are the process's.
#[test]
fn no_reader_meets_a_writer() {
    let report = stress::run(seconds().mul_f64(0.6), PATIENCE);
    println!("{report}");
    match stress::duel(seconds() / 5) {
        Some((violations, writes)) => {
            println!("duel of {writes} writes");
            assert_eq!(violations, 0, "duel");
        }
        None => println!("SKIPPED duel: one CPU"),
    }
    println!("ambush of {} writes", stress::ambush(seconds() / 5, PATIENCE));
    assert_eq!(report.violations, 0, "{report}");
    assert!(report.writes > 0 && report.rounds.iter().all(|&rounds| rounds > 0), "{report}");
}

//! The domain under stress, on every tier that this process has.
//!
//! Four seconds a tier, ten in CI; for more:
//! `STILLPOINT_STRESS_SECONDS=3600 cargo test --release --test stress`.

#![cfg(target_os = "linux")]

#[path = "support/stress.rs"]
mod stress;

use std::time::Duration;
use stillpoint::Tier;

/// `STILLPOINT_STRESS_SECONDS`, or 4.
fn seconds() -> Duration {
    let wanted = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    Duration::from_secs_f64(wanted.map_or(4.0, |s| s.parse().expect("a number of seconds")))
}

/// One test: timer, signal handler and arena are the process's.
#[test]
fn nothing_is_freed_under_a_reader() {
    let highest = stillpoint::machine().tier();
    for tier in Tier::ALL {
        if tier > highest {
            println!("SKIPPED stress on tier {tier}: this process has {highest}");
            continue;
        }
        let report = stress::run(tier, seconds());
        println!("{report}");
        match stress::duel(tier, seconds() / 4) {
            Some((violations, periods)) => {
                println!("{tier}: duel of {periods} grace periods");
                assert_eq!(violations, 0, "duel on {tier}");
            }
            None => println!("SKIPPED duel: one CPU"),
        }
        assert_eq!(report.violations, 0, "{report}");
        assert_eq!(report.tier, tier);
        assert!(report.grace_periods > 0 && report.reads > 0, "nothing happened: {report}");
        assert!(report.reads_in_handlers > 0 && report.reads_in_destructors > 0, "{report}");
    }
}

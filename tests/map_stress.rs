//! The hash map under stress, on every tier that this process has.
//!
//! Ten seconds a tier with `STILLPOINT_STRESS_SECONDS=10`, else two; more for more.

#![cfg(target_os = "linux")]

#[path = "support/histories.rs"]
mod histories;
#[path = "support/map_histories.rs"]
mod recorded;
#[path = "support/map_stress.rs"]
mod stress;

use std::time::Duration;
use stillpoint::Tier;
use stillpoint::rcu::Domain;

/// `STILLPOINT_STRESS_SECONDS`, or 2.
fn seconds() -> Duration {
    let wanted = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    Duration::from_secs_f64(wanted.map_or(2.0, |s| s.parse().expect("a number of seconds")))
}

/// One test: timer and signal handler are the process's.
#[test]
fn nothing_is_lost_and_nothing_is_stale() {
    for tier in Tier::ALL {
        if tier > stillpoint::machine().tier() {
            println!("SKIPPED stress on tier {tier}: this process has a lower one");
            continue;
        }
        let report = stress::run(tier, seconds().mul_f64(0.7));
        println!("{report}");
        assert_eq!(report.violations, 0, "{report}");
        assert!(report.reads > 0 && report.writes > 0 && report.resizes > 0, "{report}");
        let domain = Box::leak(Box::new(Domain::builder().tier(tier).build()));
        let report = recorded::run(domain, seconds().mul_f64(0.3));
        println!("{} histories, {} overlaps", report.histories, report.overlaps);
        assert_eq!(report.wrong, None);
    }
}

//! Leaf readers and owners of handles under stress, on every tier that this process has.
//!
//! Two seconds a tier; `STILLPOINT_STRESS_SECONDS=3600 cargo test --release --test
//! snapshot_stress` for
//! more.

#![cfg(target_os = "linux")]

#[path = "support/snapshot_stress.rs"]
mod stress;

use std::sync::atomic::Ordering;
use std::time::Duration;
use stillpoint::Tier;

/// One test: timer and counters are the process's.
#[test]
fn every_copy_is_whole_and_every_handle_alive() {
    let wanted = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let time = Duration::from_secs_f64(wanted.map_or(2.0, |s| s.parse().expect("seconds")));
    let highest = stillpoint::machine().tier();
    for tier in Tier::ALL {
        if tier > highest {
            println!("SKIPPED stress on tier {tier}: this process has {highest}");
            continue;
        }
        let report = stress::run(tier, time);
        println!("{report}");
        assert_eq!((report.violations, report.left), (0, 0), "{report}");
        assert_eq!(report.tier, tier);
        assert!(report.reads > 0 && report.reads_in_handlers > 0, "nothing happened: {report}");
        assert_eq!(report.broadcasts > 0, tier != Tier::Fence, "{report}");
    }
    assert_ne!(stress::READS.load(Ordering::Relaxed), 0);
}

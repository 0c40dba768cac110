//! Counters under stress, on the tier that this process has.
//!
//! Five seconds; `STILLPOINT_STRESS_SECONDS=3600 cargo test --release --test percpu_stress` for
//! more.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/percpu_stress.rs"]
mod stress;

use std::time::Duration;

/// One test: timer and signal handler are the process's.
#[test]
fn nothing_is_lost_nothing_is_doubled() {
    let wanted = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let seconds = wanted.map_or(5.0, |s| s.parse().expect("a number of seconds"));
    let report = stress::run(Duration::from_secs_f64(seconds));
    println!("{report}");
    assert_eq!(report.violations, 0, "{report}");
    assert!(report.sums > 0 && report.signals > 0, "{report}");
}

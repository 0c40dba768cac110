//! What a cohort lock must do, with cohorts of all kinds.
//!
//! On the tier that the process has; `STILLPOINT_TIER` chooses a lower one.

#![cfg(target_os = "linux")]

#[path = "support/cpus.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod cpus;
#[path = "support/cohort_stress.rs"]
mod stress;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

#[path = "cohort/counts.rs"]
mod counts;
#[path = "cohort/exclusion.rs"]
mod exclusion;
#[path = "cohort/panics.rs"]
mod panics;
#[path = "cohort/timeouts.rs"]
mod timeouts;
#[path = "cohort/waiting.rs"]
mod waiting;

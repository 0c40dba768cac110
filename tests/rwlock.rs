//! What a reader-writer lock must do, of locks that are biased towards readers and of others.
//!
//! On the tier that the process has; `STILLPOINT_TIER` chooses a lower one.

#![cfg(target_os = "linux")]

#[path = "support/locks.rs"]
mod locks;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;
#[path = "support/warm.rs"]
mod warm;

#[path = "rwlock/bounds.rs"]
mod bounds;
#[path = "rwlock/exclusion.rs"]
mod exclusion;
#[path = "rwlock/guards.rs"]
mod guards;
#[path = "rwlock/panics.rs"]
mod panics;
#[path = "rwlock/random.rs"]
mod random;
#[path = "rwlock/slots.rs"]
mod slots;
#[path = "rwlock/timeouts.rs"]
mod timeouts;
#[path = "rwlock/together.rs"]
mod together;
#[path = "rwlock/upgrades.rs"]
mod upgrades;
#[path = "rwlock/values.rs"]
mod values;
#[path = "rwlock/waiting.rs"]
mod waiting;

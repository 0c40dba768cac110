//! What surrounds readers: waiting for grace periods, callbacks and who runs them, limits,
//! stalls, statistics. On every tier; what is set for the whole process, or ends it, in children.

#![cfg(target_os = "linux")]

#[path = "support/child.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod child;
#[path = "support/counted.rs"]
mod counted;
#[path = "support/overtaken.rs"]
mod overtaken;
#[path = "support/play.rs"]
mod play;
#[path = "support/reader.rs"]
mod reader;
#[path = "support/seccomp.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod seccomp;
#[path = "support/surrounding.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod surrounding;
#[path = "support/tiers.rs"]
mod tiers;

#[path = "service/awaiting.rs"]
mod awaiting;
#[path = "service/barriers.rs"]
mod barriers;
#[path = "service/bounds.rs"]
mod bounds;
#[path = "service/callbacks.rs"]
mod callbacks;
#[path = "service/panics.rs"]
mod panics;
#[path = "service/scenarios.rs"]
mod scenarios;
#[path = "service/stalls.rs"]
mod stalls;
#[path = "service/statistics.rs"]
mod statistics;
#[path = "service/waiting.rs"]
mod waiting;

#[test]
#[ignore = "what the children run"]
fn scenario() {
    play::play(&scenarios::SCENARIOS);
}

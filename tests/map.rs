//! What the hash map must do, on every tier.

#[path = "support/counted.rs"]
mod counted;
#[path = "support/histories.rs"]
mod histories;
#[path = "support/map_histories.rs"]
mod recorded;
#[path = "support/tiers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiers;

#[path = "map/hashers.rs"]
mod hashers;
#[path = "map/hostile.rs"]
mod hostile;
#[path = "map/ownership.rs"]
mod ownership;
#[path = "map/random.rs"]
mod random;
#[path = "map/scenarios.rs"]
mod scenarios;
#[path = "map/together.rs"]
mod together;

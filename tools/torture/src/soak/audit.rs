//! What must be in order when everybody is silent.

use super::callbacks::{self, Parcel, queued};
use super::element;
use super::evidence::{self, What, note};
use super::world::{CELLS, LIMITS, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until all callbacks have run. Nobody retires and nobody waits, so that is up to the
/// reclaimer.
pub(crate) fn sit(world: &World, patience: Duration, by: &'static str) {
    let end = Instant::now() + patience;
    while world.pending() > 0 && evidence::count() == 0 {
        if Instant::now() > end {
            let facts = [("pending", world.pending()), ("seconds", patience.as_secs())];
            return note(What::Forgotten, by, facts);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs all that is pending, and checks the books and the limit.
pub(crate) fn check(world: &'static World, by: &'static str) {
    callbacks::barrier(world, by);
    check_pending(world, by);
    callbacks::check_books(by);
    let (in_use, expected) = (element::in_use(), 2 * CELLS);
    if in_use != expected {
        note(What::LostElements, by, [("in use", in_use as u64), ("in cells", expected as u64)]);
    }
    check_chain(world, by);
    check_limit(world, by);
}

fn check_pending(world: &World, by: &'static str) {
    let pending = world.domain.pending();
    if (pending.callbacks, pending.bytes) != (0, 0) {
        let facts = [("callbacks", pending.callbacks), ("bytes", pending.bytes)];
        note(What::StillPending, by, facts);
    }
}

/// A barrier waits for what the callbacks queue, too.
fn check_chain(world: &'static World, by: &'static str) {
    const LINKS: u64 = 100;
    let ran = Arc::new(AtomicU64::new(0));
    for _ in 0..LINKS {
        let ran = ran.clone();
        world.domain.defer(move || {
            ran.fetch_add(1, Relaxed);
            world.domain.defer(move || {
                ran.fetch_add(1, Relaxed);
            });
        });
    }
    world.domain.barrier();
    if ran.load(Relaxed) != 2 * LINKS {
        note(What::ShortBarrier, by, [("chained", 2 * LINKS), ("ran", ran.load(Relaxed))]);
    }
}

/// With a guard alive nothing is freed, so the limit is met exactly.
fn check_limit(world: &World, by: &'static str) {
    const LIMIT: u64 = 100;
    let (callbacks, bytes) = LIMITS;
    world.domain.set_limit(LIMIT, bytes);
    let guard = world.domain.read();
    let accepts = || {
        let accepted = world.domain.try_retire(Parcel::new(by)).map_err(Parcel::cancel).is_ok();
        if accepted {
            queued();
        }
        accepted
    };
    let accepted = (0..2 * LIMIT).take_while(|_| accepts()).count() as u64;
    drop(guard);
    world.domain.throttle();
    let below = world.pending();
    world.domain.set_limit(callbacks, bytes);
    if accepted != LIMIT || below >= LIMIT {
        let facts = [("limit", LIMIT), ("accepted", accepted), ("left by throttle", below)];
        note(What::WrongLimit, by, facts);
    }
    callbacks::barrier(world, by);
    check_pending(world, by);
}

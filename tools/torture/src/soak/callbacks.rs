//! Callbacks that tell whether they ran once, late enough, and in time.

use super::evidence::{What, note};
use super::modes::{Mode, broken};
use super::seat::{self, SEATS};
use super::world::{World, grace_periods};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::*};
use std::sync::{Arc, atomic::AtomicBool};

/// What a callback has with it: the books are even when each was kept once.
#[derive(Debug)]
#[must_use]
pub(crate) struct Promise {
    /// Of the thread that queued it.
    seat: usize,
    number: u64,
    /// How many grace periods had ended when it was queued.
    queued_at: u64,
}

impl Promise {
    /// One of the calling thread's; count it with [`queued`] when the callback is queued.
    pub(crate) fn new() -> Promise {
        let seat = seat::mine();
        let number = seat.queued.load(Relaxed);
        let sum = seat.queued_sum.load(Relaxed);
        seat.queued_sum.store(sum.wrapping_add(mixed(number)), Relaxed);
        Promise { seat: seat::number(), number, queued_at: grace_periods() }
    }

    /// By the callback.
    pub(crate) fn keep(self, by: &'static str) {
        let now = grace_periods();
        if now <= self.queued_at {
            note(What::EarlyCallback, by, [("queued at", self.queued_at), ("ran at", now)]);
        }
        self.count();
        if broken(Mode::DoubleCallback) && self.number.is_multiple_of(1000) {
            self.count();
        }
    }

    fn count(&self) {
        let seat = &seat::all()[self.seat];
        seat.kept_sum.fetch_add(mixed(self.number), Relaxed);
        // Release: partner is the acquire of whoever checks the books.
        seat.kept.fetch_add(1, Release);
    }
}

/// Counts a callback that the calling thread has just queued.
pub(crate) fn queued() {
    let queued = &seat::mine().queued;
    // Release: whoever sees the count, and then waits for a barrier, finds it run.
    queued.store(queued.load(Relaxed) + 1, Release);
}

/// Different sums for different sets of numbers, nearly always.
fn mixed(number: u64) -> u64 {
    let number = number + 1;
    (number ^ number >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

/// Queues a callback that does nothing else.
pub(crate) fn defer(world: &World, by: &'static str) {
    let promise = Promise::new();
    world.domain.defer(move || promise.keep(by));
    queued();
}

/// Something to retire, with a promise.
#[derive(Debug)]
pub(crate) struct Parcel {
    promise: Option<Promise>,
    by: &'static str,
}

impl Parcel {
    pub(crate) fn new(by: &'static str) -> Parcel {
        Parcel { promise: Some(Promise::new()), by }
    }

    /// It was not queued after all.
    pub(crate) fn cancel(mut self) {
        if let Some(promise) = self.promise.take() {
            let sum = &seat::mine().queued_sum;
            sum.store(sum.load(Relaxed).wrapping_sub(mixed(promise.number)), Relaxed);
        }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            promise.keep(self.by);
        }
    }
}

/// Waits for a barrier, and checks that everything queued before has run.
pub(crate) fn barrier(world: &World, by: &'static str) {
    // Acquire: as in `queued`.
    let before: [u64; SEATS] = std::array::from_fn(|n| seat::all()[n].queued.load(Acquire));
    world.domain.barrier();
    for (n, (seat, before)) in seat::all().iter().zip(before).enumerate() {
        let kept = seat.kept.load(Acquire);
        if kept < before {
            let facts = [("thread", n as u64), ("queued before", before), ("ran", kept)];
            note(What::ShortBarrier, by, facts);
        }
    }
}

/// How many were queued and have run, over all threads.
pub(crate) fn totals() -> (u64, u64) {
    let sum = |of: fn(&seat::Seat) -> &AtomicU64| {
        seat::all().iter().map(|seat| of(seat).load(Relaxed)).sum()
    };
    (sum(|seat| &seat.queued), sum(|seat| &seat.kept))
}

/// Checks the books when nothing is queued and everything has run.
pub(crate) fn check_books(by: &'static str) {
    for (n, seat) in seat::all().iter().enumerate() {
        let (queued, kept) = (seat.queued.load(Acquire), seat.kept.load(Acquire));
        let (queued_sum, kept_sum) = (seat.queued_sum.load(Acquire), seat.kept_sum.load(Acquire));
        if (queued, queued_sum) != (kept, kept_sum) {
            let facts = [
                ("thread", n as u64),
                ("queued", queued),
                ("ran", kept),
                ("sum queued", queued_sum),
                ("sum ran", kept_sum),
            ];
            note(What::UnevenBooks, by, facts);
        }
    }
}

/// A callback that must not run before the guard under which it is queued is dropped.
#[derive(Debug)]
pub(crate) struct Watched(Arc<AtomicBool>);

impl Watched {
    pub(crate) fn queue(world: &World, by: &'static str) -> Watched {
        let ran = Arc::new(AtomicBool::new(false));
        let watched = Watched(ran.clone());
        let promise = Promise::new();
        world.domain.defer(move || {
            ran.store(true, Relaxed);
            promise.keep(by);
        });
        queued();
        watched
    }

    /// To be called under the guard.
    pub(crate) fn check(&self, by: &'static str) {
        if self.0.load(Relaxed) {
            note(What::CallbackUnderGuard, by, []);
        }
    }
}

/// The most callbacks of one flood.
pub(crate) const FLOOD: usize = 1 << 20;

static FLOODED: [AtomicU8; FLOOD] = [const { AtomicU8::new(0) }; FLOOD];

/// Queues so many callbacks at once, and waits until all have run, each once. Returns how many
/// were pending at the end of the queueing.
pub(crate) fn flood(world: &World, callbacks: usize) -> u64 {
    const BY: &str = "flood";
    for (n, ran) in FLOODED.iter().enumerate().take(callbacks) {
        ran.store(0, Relaxed);
        let promise = Promise::new();
        world.domain.defer(move || {
            FLOODED[n].fetch_add(1, Relaxed);
            promise.keep(BY);
        });
        queued();
    }
    let pending = world.pending();
    barrier(world, BY);
    for (n, ran) in FLOODED.iter().enumerate().take(callbacks) {
        let ran: u64 = ran.load(Relaxed).into();
        if ran != 1 {
            let what = if ran == 0 { What::ShortBarrier } else { What::Twice };
            note(what, BY, [("callback", n as u64), ("of", callbacks as u64), ("ran", ran)]);
            break;
        }
    }
    pending
}

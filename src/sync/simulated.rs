//! The seam in the simulator: its atomics, its time, its parking lot.

pub(crate) use sim_machine::atomic::{
    AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Cell, Ordering, fence,
};
pub(crate) use sim_machine::{
    begin_section, broadcast as simulated_broadcast, current_cpu as simulated_cpu,
    current_node as simulated_node, end_section, is_aborted, nanos, pause, spin_while,
};
pub(crate) use std::sync::Mutex;

use super::Choice;

/// Paces a waiter: longer from look to look.
#[derive(Debug)]
pub(crate) struct Pace(u32);

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace(0)
    }

    pub(crate) fn wait(&mut self) {
        pause(1 << self.0.min(7));
        self.0 += 1;
    }
}

/// Stores to a word that others exchange, over whatever is there.
pub(crate) fn replace(word: &AtomicU32, by: u32, order: Ordering) {
    word.store(by, order);
}

/// A number that no other simulated thread has.
pub(crate) fn thread_token() -> usize {
    sim_machine::thread().map_or(1, |(number, _)| number + 2)
}

/// Nothing forks here.
pub(crate) fn stop_parking() {}

/// Parks the calling thread unless `still` says that there is nothing to wait for. Nobody's time
/// runs out.
pub(crate) fn park(
    key: *const (),
    token: u64,
    _: Option<std::time::Instant>,
    still: impl FnOnce() -> bool,
) -> Option<usize> {
    sim_machine::park(key.addr(), token, still)
}

/// Offers the threads parked at `key` to `choose`; then `then` says what those that wake are told.
pub(crate) fn wake(
    key: *const (),
    mut choose: impl FnMut(u64) -> Choice,
    then: impl FnOnce(bool) -> usize,
) {
    let choose = |token| match choose(token) {
        Choice::Wake => sim_machine::Choice::Wake,
        Choice::Skip => sim_machine::Choice::Skip,
        Choice::Stop => sim_machine::Choice::Stop,
    };
    sim_machine::wake(key.addr(), choose, then);
}

/// As parking_lot's: three rounds of pauses, seven of yielding.
#[derive(Debug)]
pub(crate) struct SpinWait(u32);

impl SpinWait {
    pub(crate) fn new() -> SpinWait {
        SpinWait(0)
    }

    pub(crate) fn spin(&mut self) -> bool {
        if self.0 >= 10 {
            return false;
        }
        self.0 += 1;
        if self.0 <= 3 {
            pause(1 << self.0);
        } else {
            sim_machine::yield_cpu();
        }
        true
    }

    pub(crate) fn reset(&mut self) {
        self.0 = 0;
    }
}

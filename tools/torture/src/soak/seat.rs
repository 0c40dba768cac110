//! What each thread writes alone and others read: counts, and what it is doing.

use super::section::Kind;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// As many threads as there may be at a time.
pub(crate) const SEATS: usize = 128;
/// Ages 0 to 10, and what was freed.
pub(crate) const AGES: usize = 12;

/// Counts with one writer: a thread, or the signal handlers on it.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Elements seen, by the kind of the reader and the age at the end of the section.
    pub(crate) seen: [[AtomicU64; AGES]; Kind::COUNT],
    /// Sections, by how many grace periods ended meanwhile: 0, 1, more.
    pub(crate) spans: [AtomicU64; 3],
}

/// Adds one; of interest to the only thread that writes the counter.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl Tally {
    const fn new() -> Tally {
        Tally {
            seen: [const { [const { AtomicU64::new(0) }; AGES] }; Kind::COUNT],
            spans: [const { AtomicU64::new(0) }; 3],
        }
    }
}

/// One thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Seat {
    /// The kernel's number of the thread, for affinity; 0 if none.
    pub(crate) thread: AtomicI32,
    /// Rises with each of the thread's rounds: what the mailboxes are about.
    pub(crate) rounds: AtomicU64,
    pub(crate) main: Tally,
    pub(crate) handler: Tally,
    /// Callbacks that this thread has queued, and a sum over their numbers.
    pub(crate) queued: AtomicU64,
    pub(crate) queued_sum: AtomicU64,
    /// Of those, what has run, on whatever thread.
    pub(crate) kept: AtomicU64,
    pub(crate) kept_sum: AtomicU64,
    doing: Mutex<Option<(&'static str, Instant)>>,
}

static ALL: [Seat; SEATS] = [const { Seat::new() }; SEATS];

thread_local!(static MINE: Cell<usize> = const { Cell::new(0) });

impl Seat {
    const fn new() -> Seat {
        Seat {
            thread: AtomicI32::new(0),
            rounds: AtomicU64::new(0),
            main: Tally::new(),
            handler: Tally::new(),
            queued: AtomicU64::new(0),
            queued_sum: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            kept_sum: AtomicU64::new(0),
            doing: Mutex::new(None),
        }
    }

    /// Says what the thread is at until the result is dropped.
    pub(crate) fn doing(&self, what: &'static str) -> Doing<'_> {
        *self.doing.lock().unwrap() = Some((what, Instant::now()));
        Doing(self)
    }

    /// What it is doing, and since when.
    pub(crate) fn look(&self) -> Option<(&'static str, Instant)> {
        *self.doing.lock().unwrap()
    }
}

/// Ends what [`Seat::doing`] began.
#[derive(Debug)]
pub(crate) struct Doing<'s>(&'s Seat);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        *self.0.doing.lock().unwrap() = None;
    }
}

/// All of them.
pub(crate) fn all() -> &'static [Seat; SEATS] {
    &ALL
}

/// The number of the calling thread's.
pub(crate) fn number() -> usize {
    MINE.get()
}

/// The calling thread's.
pub(crate) fn mine() -> &'static Seat {
    &ALL[number()]
}

/// Gives the calling thread this one, which nobody else has now.
pub(crate) fn sit(number: usize) -> &'static Seat {
    MINE.set(number);
    let seat = &ALL[number];
    // SAFETY: no preconditions.
    seat.thread.store(unsafe { libc::gettid() }, Relaxed);
    seat
}

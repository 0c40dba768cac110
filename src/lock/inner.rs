//! The lock inside the lock: one word, which every writer takes, and every reader that claims no slot.
//!
//! # State
//!
//! ```text
//! bit 0  WRITER      somebody has the exclusive lock, or has announced itself and waits for the
//!                    readers to leave; excludes UPGRADABLE
//! bit 1  UPGRADABLE  somebody has the upgradable lock
//! bit 2  WAITING     threads are parked in the queue, or about to be
//! bit 3  DRAINING    the writer is parked until the last reader leaves, or about to be
//! 4..32  READER × n  readers that hold this lock
//! ```
//!
//! A reader is blocked by WRITER; a writer, or one that wants the upgradable lock, by both. A
//! writer takes WRITER first, which turns new readers away, and then waits for the others to
//! leave: no stream of readers keeps it out.
//!
//! # Whom a release wakes
//!
//! The queue is served in order. If its head wants to write, that thread alone is woken; otherwise
//! all readers in it, and the first of the others. Whoever is woken competes with those that
//! arrive; a thread that has waited for more than a millisecond is *handed* the lock instead, and with
//! it all of its kind that were chosen: under the queue's lock their shares are added to the word
//! before anybody else can see it free. So readers get their turn under a stream of writers, and
//! every writer under a stream of others. A fair release always hands over.
//!
//! # Why nobody sleeps for ever
//!
//! *In the queue.* Claim: if WAITING is set, then WRITER or UPGRADABLE is set, or a thread that was
//! woken and wants one of them is on its way. Who has WRITER or UPGRADABLE wakes when it releases, for
//! it then finds WAITING; who is on its way either takes one of them, or finds one of them taken. A
//! release leaves WAITING set only if threads stay in the queue, and then it has chosen one that
//! wants WRITER or UPGRADABLE, or keeps UPGRADABLE itself. Who parks has set WAITING and checks, under
//! the queue's lock, that it still is set and the way still blocked; a release changes both under
//! the same lock. Who gives up has just seen the way blocked.
//!
//! *Draining.* The writer sets DRAINING and checks under its queue's lock that readers are left. The
//! last reader's decrement finds DRAINING, or came before it was set and is seen by the check.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | taking a share | acquire | the release of who had it |
//! | giving up a share | release | taking; the load in `drain` |
//! | what a handed thread knows | the parking lot's lock | the release that handed over |

use super::patience::{Patience, Wait};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicU32, Choice, Ordering, SpinWait, park, unpark, wake};
use std::cell::Cell;

const WRITER: u32 = 1;
const UPGRADABLE: u32 = 2;
const WAITING: u32 = 4;
const DRAINING: u32 = 8;
const READER: u32 = 16;
const READERS: u32 = !(READER - 1);
/// More readers than this are refused: guards were forgotten in a loop. As many again may still be handed over.
const MOST_READERS: u32 = READERS / 2;

/// What a thread wants of the lock, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Mode {
    Read = 1,
    Upgradable = 2,
    Write = 3,
}

/// What woken threads are told when nothing was handed to them: no mode.
const COMPETE: usize = 0;
/// In a token: has waited for long.
const STARVING: u64 = 4;

impl Mode {
    /// Its share of the word.
    const fn share(self) -> u32 {
        match self {
            Mode::Read => READER,
            Mode::Upgradable => UPGRADABLE,
            Mode::Write => WRITER,
        }
    }

    /// What is in its way.
    const fn blocked_by(self) -> u32 {
        match self {
            Mode::Read => WRITER,
            Mode::Upgradable | Mode::Write => WRITER | UPGRADABLE,
        }
    }

    fn of(token: u64) -> Mode {
        match token & 3 {
            1 => Mode::Read,
            2 => Mode::Upgradable,
            _ => Mode::Write,
        }
    }
}

/// How an exclusive or upgradable lock is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Whoever comes first gets it, unless somebody has waited for long.
    Unfair,
    /// If somebody waits, it is handed over.
    Fair,
}

#[derive(Debug)]
pub(super) struct Inner {
    state: AtomicU32,
}

impl Inner {
    crate::sync::const_unless_modelled! {
        pub(super) const fn new() -> Inner {
            Inner { state: AtomicU32::new(0) }
        }
    }

    fn key(&self) -> *const () {
        (&raw const self.state).cast()
    }

    /// Takes a share if nothing is in the way. The writer's is not the lock yet: readers must leave.
    #[inline]
    pub(super) fn try_take(&self, mode: Mode) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & mode.blocked_by() == 0 {
            if mode == Mode::Read && state >= MOST_READERS {
                return false;
            }
            let with = state + mode.share();
            match self.state.compare_exchange_weak(
                state,
                with,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if mode == Mode::Upgradable && state & WAITING != 0 {
                        // Readers may have stayed behind a writer that is woken but not here yet.
                        self.wake(0, 0, Release::Unfair);
                    }
                    return true;
                }
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes the exclusive lock if nobody has any.
    pub(super) fn try_take_exclusive(&self) -> bool {
        let taken = WRITER | UPGRADABLE | READERS;
        let with = |state: u32| (state & taken == 0).then_some(state | WRITER);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, with).is_ok()
    }

    /// The holder of the upgradable lock announces itself as the writer; readers must leave.
    pub(super) fn upgrade(&self) {
        self.state.fetch_sub(UPGRADABLE - WRITER, Ordering::Relaxed);
    }

    /// The same if there are no readers.
    pub(super) fn try_upgrade(&self) -> bool {
        let with = |state: u32| (state & READERS == 0).then(|| state - UPGRADABLE + WRITER);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, with).is_ok()
    }

    /// Takes an unlocked lock: one instruction, and no reader is there.
    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        self.state.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes a share, waiting as told. True if it has.
    ///
    /// # Panics
    ///
    /// If there are too many readers.
    #[cold]
    pub(super) fn take(&self, mode: Mode, wait: Wait) -> bool {
        let mut spin = SpinWait::new();
        let mut patience = Patience::default();
        loop {
            if self.try_take(mode) {
                return true;
            }
            let state = self.state.load(Ordering::Relaxed);
            if state & mode.blocked_by() == 0 {
                assert!(
                    mode != Mode::Read || state < MOST_READERS,
                    "stillpoint: {} readers hold this RwLock; have guards been forgotten?",
                    state / READER
                );
                continue;
            }
            if state & WAITING == 0 {
                if spin.spin() {
                    continue;
                }
                let with = state | WAITING;
                let order = Ordering::Relaxed;
                if self.state.compare_exchange_weak(state, with, order, order).is_err() {
                    continue;
                }
            }
            if wait.is_over() {
                return false;
            }
            if self.queue(mode, &mut patience, wait) == Some(mode as usize) {
                return true;
            }
            spin.reset();
        }
    }

    /// Parks in the queue. Returns what a release told.
    fn queue(&self, mode: Mode, patience: &mut Patience, wait: Wait) -> Option<usize> {
        let token = (mode as u64) | if patience.is_over() { STARVING } else { 0 };
        park(self.key(), token, wait.deadline(), || {
            let state = self.state.load(Ordering::Relaxed);
            state & WAITING != 0 && state & mode.blocked_by() != 0
        })
    }

    /// Gives up a reader's share. `drain` is where the writer parks.
    #[inline]
    pub(super) fn leave(&self, drain: *const ()) {
        // Release: partner is the acquire in `drain`.
        let state = self.state.fetch_sub(READER, Ordering::Release);
        wake_drainer(state, drain);
    }

    /// Gives up a reader's share, whosever it is. False if there is none.
    #[cfg(feature = "lock_api_04")]
    pub(super) fn leave_if_any(&self, drain: *const ()) -> bool {
        let with = |state: u32| (state & READERS != 0).then(|| state - READER);
        // Release: as in `leave`.
        let left = self.state.fetch_update(Ordering::Release, Ordering::Relaxed, with);
        left.map(|state| wake_drainer(state, drain)).is_ok()
    }

    /// As the writer: waits until the readers have left, as told. True if they have.
    pub(super) fn drain(&self, key: *const (), wait: Wait) -> bool {
        let mut spin = SpinWait::new();
        loop {
            // Acquire: partner is the release in `leave`.
            let state = self.state.load(Ordering::Acquire);
            let drained = state & READERS == 0;
            if drained || wait.is_over() {
                if state & DRAINING != 0 {
                    self.state.fetch_and(!DRAINING, Ordering::Relaxed);
                }
                return drained;
            }
            if state & DRAINING == 0 {
                if spin.spin() {
                    continue;
                }
                self.state.fetch_or(DRAINING, Ordering::Relaxed);
            }
            park(key, 0, wait.deadline(), || self.state.load(Ordering::Relaxed) & READERS != 0);
        }
    }

    /// Gives up an exclusive lock that nobody waits for.
    #[inline(always)]
    pub(super) fn give_up_unawaited(&self) -> bool {
        self.state.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Gives up the exclusive or upgradable lock, and keeps another share, if any.
    #[cold]
    pub(super) fn give_up(&self, has: Mode, keeps: Option<Mode>, how: Release) {
        let (gone, kept) = (has.share(), keeps.map_or(0, Mode::share));
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 {
            let with = state - gone + kept;
            match self.state.compare_exchange_weak(
                state,
                with,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        self.wake(gone, kept, how);
    }

    /// Exchanges shares, and wakes whoever may go then; see the head of this file.
    fn wake(&self, gone: u32, kept: u32, how: Release) {
        // While somebody has UPGRADABLE, the others must wait for that.
        let only_readers = kept == UPGRADABLE || gone == 0;
        let head = Cell::new(None);
        let of_its_kind = Cell::new(0);
        let other_is_chosen = Cell::new(false);
        let hands_over = Cell::new(how == Release::Fair);
        let choose = |token: u64| {
            let mode = Mode::of(token);
            if only_readers && mode != Mode::Read {
                return Choice::Skip;
            }
            let head = head.get().unwrap_or_else(|| {
                head.set(Some(mode));
                mode
            });
            let full = head == Mode::Write || broken(Mutant::WakeOne);
            if full && of_its_kind.get() == 1 {
                return Choice::Stop;
            }
            if mode != Mode::Read && other_is_chosen.replace(true) {
                return Choice::Skip;
            }
            if mode == head {
                of_its_kind.set(of_its_kind.get() + 1);
                hands_over.set(hands_over.get() || token & STARVING != 0);
            }
            Choice::Wake
        };
        wake(self.key(), choose, |more| {
            let handed = head.get().filter(|_| hands_over.get());
            let granted = handed.map_or(0, |mode| mode.share() * of_its_kind.get());
            let waiting = if more { WAITING } else { 0 };
            let with = |state: u32| ((state & !WAITING) - gone + kept + granted) | waiting;
            // Never refuses. Release: partner is the acquire of whoever takes a share next.
            let _ =
                self.state.fetch_update(Ordering::Release, Ordering::Relaxed, |s| Some(with(s)));
            handed.map_or(COMPETE, |mode| mode as usize)
        });
    }

    /// Whether anyone has a share.
    pub(super) fn is_taken(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (WRITER | UPGRADABLE | READERS) != 0
    }

    /// Whether the exclusive lock is taken, or announced.
    pub(super) fn is_taken_exclusively(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }
}

/// Wakes the writer that waits for the readers if the last has left: `state` is what it was before.
#[inline]
fn wake_drainer(state: u32, drain: *const ()) {
    if state & (READERS | DRAINING) == READER | DRAINING {
        unpark(drain, 0);
    }
}

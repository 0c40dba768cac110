//! The cohort lock: a lock that stays on one memory node for a while before it goes to the next.
//!
//! # State
//!
//! One word:
//!
//! ```text
//! bit 0  LOCKED  somebody has the lock
//! bit 1  QUEUED  the lists may have waiters
//! rest   the latest of the *arrivals*, waiters that nobody has put into the lists yet; 0 if there are
//!        none. Each knows who arrived before it
//! ```
//!
//! On the same line, a plain mutex: where there is but one cohort, it is the lock (`one.rs`), and
//! nothing of what follows is used.
//!
//! On another line, the *desk*: the groups of waiters (`queue.rs`), whose turn it is, since when,
//! and how often the lock was passed on within the cohort. Whoever has `busy` may touch the desk
//! and all links of nodes; that is the holder when it gives the lock up (or withdraws), or a waiter
//! whose time has run out. The arrivals are moved into the lists by an unconditional exchange, too:
//! there are some only while the word is LOCKED, and nobody frees it meanwhile, because that takes
//! `busy`, or a word without arrivals.
//!
//! Taking a free lock is one exchange of the word; giving up a lock that nobody waits for is one
//! store, as an exchange of the word from LOCKED to 0. A plain store would have to be followed by a
//! look at the word, and by a full fence between the two, which costs as much: else a waiter that
//! arrives meanwhile would be forgotten.
//!
//! Who finds the lock taken, and nobody waiting, looks again a few times. Then it arrives: one
//! unconditional exchange of the word, however many do so at once; then it says in its node who
//! arrived before. From then on it looks at nothing but its own node. (If the exchange finds that
//! the lock was freed meanwhile, the lock is taken by it; then the node, the first of the arrivals,
//! is withdrawn.)
//!
//! # To whom it goes
//!
//! A holder that gives up a lock with waiters passes it on, and the word stays LOCKED:
//!
//! 1. to the first of the holder's cohort that runs, until that turn is over: after
//!    [`PASSES`](Cohorts::PASSES) passes, or [`NANOS`](Cohorts::NANOS). The word, which those who
//!    arrive fight for, is not touched before that; the arrivals are looked at afterwards, now and
//!    then, while the next holder is at its work;
//! 2. then to the first that runs of the next cohort, in the order of their turns;
//! 3. if no other runs, again to its own cohort. The others that were passed over are told to wake
//!    and spin: when they run, they are next. If they still do not after [`LAST`] times the bound,
//!    they get the lock all the same.
//!
//! Within a cohort the order is that of arrival, but those who do not run are passed over, within
//! the same bounds. A waiter *runs* if it spins and has looked at its node in the last [`STALE`]:
//! who was preempted has not. It tells by the time it writes to its node each time. Who finds,
//! looking at the clock, that it was preempted itself, parks: others want its CPU.
//!
//! If nobody runs, the lock is freed, and one of the waiters taken out and woken to compete for it,
//! because waking takes longer than most critical sections. While that one is on its way no other
//! is woken: those who run take the lock meanwhile, and pass it on among themselves as soon as two
//! of them meet. If that waiter has already waited for longer than a turn, it is given the lock
//! instead, at most once in that time; so whoever waits gets it in the end.
//!
//! A waiter spins for a while, [`LONGEST_SPIN`] at most, as nobody else wants its CPU. The time is
//! halved whenever a waiter finds that it was preempted: there are more threads than CPUs. It
//! becomes shorter, too, when holders have the lock for longer than [`LONG_HOLD`], or were
//! preempted meanwhile; and slowly longer otherwise.
//!
//! # Why a node is alive
//!
//! It lies on its thread's stack. Other threads touch it only when they have `busy`, while it is
//! among the arrivals or in a list, and until they exchange its state for GRANTED or COMPETE: with
//! that, still at the desk, they touch it for the last time (what has to be known to take it out of
//! its list is read before). To wake its thread, its address is enough. The thread returns when it
//! has seen GRANTED or COMPETE. Or when its time is over: then it takes `busy` and looks at its
//! state again. If it was told nothing, it moves the arrivals into the lists (those of them that
//! have not said yet who came before them are waited for), takes its node out itself, and then
//! nobody knows of it. So leaving waits for `busy`, which others have for as long as it takes to
//! look through lists, and perhaps to be preempted; as it does in the parking lot.
//!
//! # Why nobody sleeps for ever
//!
//! Claim: if the word is not LOCKED, but somebody waits, then a thread that was told COMPETE is on
//! its way. Waiters arrive only while the word is LOCKED, or make it so. It is freed in two ways.
//! With no waiters: by an exchange that fails if somebody arrived, or if somebody who left moved
//! arrivals into the lists, which sets QUEUED. With waiters: by an exchange that fails if somebody
//! arrived, and then one is told COMPETE, unless one is on its way already (`is_woken`, on the
//! desk). That one first notes, at the desk, that it has come, and then takes the lock, or finds it
//! taken: then its holder is the one that will see the others. For if that holder frees the lock
//! because somebody is on its way, it was at the desk before the note, and freed the lock before it
//! too. (QUEUED is cleared by the holder alone, with `busy`, when the lists are empty.)
//!
//! A waiter parks after having changed SPINNING to PARKED, and looks at its state again under the
//! parking lot's lock. Who changes PARKED to something else wakes it afterwards.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | taking the free word | acquire | the release of whoever freed it, or of the chain of exchanges since |
//! | granting: the node's state | release | the waiter's load of it: acquire |
//! | arriving; saying who came before | release, for the node | moving the arrivals: acquire, of both |
//! | `busy` | acquire | giving `busy` up: release |
//! | `beat`, `spin_nanos`, statistics | relaxed | none: hints |
//!
//! # Sources
//!
//! Dice, Marathe, Shavit, "Lock Cohorting" (PPoPP 2012): the bound of passes. Dice and Kogan,
//! "Compact NUMA-aware Locks" (EuroSys 2019): the holder sorts the waiters. Kashyap and others,
//! "Scalable and Practical Locking with Shuffling" (SOSP 2019): a word apart from the queue, so
//! that nodes are needed by waiters only. He, Scherer, Scott, "Preemption Adaptivity in
//! Time-Published Queue-Based Spin Locks" (HiPC 2005): beats.

mod passing;

use super::Cohorts;
use super::queue::{AWAKE, COMPETE, GRANTED, Lists, Node, PARKED, Place, SPINNING};
use crate::lock::patience::Wait;
#[cfg(not(stillpoint_loom))]
use crate::lock::raw_mutex::RawMutex;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicPtr, AtomicU32, AtomicU64, Cell, Ordering, Pace, const_unless_modelled, nanos, park,
    pause, spin_while,
};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{null_mut, without_provenance_mut};

const LOCKED: usize = 1;
const QUEUED: usize = 2;
const FLAGS: usize = LOCKED | QUEUED;

/// Who has not looked at its node for so long does not run, in nanoseconds.
const STALE: u64 = 10_000;
/// Pauses between two looks at the clock.
const TURNS: u32 = 64;
/// Looks at a lock that is taken before queueing, each after twice as many pauses.
const LOOKS: u32 = 5;
/// The longest that a waiter spins before it parks, in nanoseconds.
const LONGEST_SPIN: u32 = 500_000;
/// What it begins with.
const FIRST_SPIN: u32 = LONGEST_SPIN;
/// The word, and what those who arrive need to know.
#[repr(align(64))]
struct Door {
    word: AtomicPtr<Node>,
    spin_nanos: AtomicU32,
    /// What the lock is where there is but one cohort.
    #[cfg(not(stillpoint_loom))]
    plain: RawMutex,
}

/// What the holders hand on: one cache line.
#[repr(align(64))]
struct Desk {
    busy: AtomicU32,
    /// Whose turn it is, since when, and how often it was passed on within.
    cohort: Cell<u32>,
    passes: Cell<u32>,
    /// When a waiter that slept was last handed the lock; [`coarse`], as the next two.
    handed: Cell<u32>,
    /// When the holder was granted the lock.
    granted: Cell<u32>,
    /// When the time to spin was last made longer.
    grown: Cell<u32>,
    since: Cell<u64>,
    lists: Lists,
    local: AtomicU64,
    remote: AtomicU64,
    /// Somebody was told to compete, and is on its way.
    is_woken: Cell<bool>,
    /// The holder ran when it was granted the lock.
    is_granted: Cell<bool>,
}

#[cfg(not(stillpoint_loom))]
const _: () = assert!(size_of::<Desk>() == 64 && size_of::<Door>() == 64);

/// The raw lock of [`CohortMutex`](crate::CohortMutex).
///
/// For those who build on `lock_api`. 128 bytes: one cache line for those who arrive, one
/// for those who hand it on.
///
/// # Examples
///
/// ```
/// use stillpoint::lock::{ByLastLevelCache, RawCohortMutex, lock_api};
///
/// type Lock<T> = lock_api::Mutex<RawCohortMutex<ByLastLevelCache>, T>;
///
/// static LOCK: Lock<u32> = Lock::new(5);
/// *LOCK.lock() += 1;
/// assert_eq!(*LOCK.lock(), 6);
/// ```
pub struct RawCohortMutex<C: Cohorts = super::ByNode> {
    door: Door,
    desk: Desk,
    /// Not covariant: whether it is a plain lock is a matter of `C`.
    cohorts: PhantomData<fn(C) -> C>,
}

// SAFETY: the cells of the desk, and those of nodes behind its pointers, are touched by whoever has
// `busy` only; the rest are atomics.
unsafe impl<C: Cohorts> Send for RawCohortMutex<C> {}
// SAFETY: as above.
unsafe impl<C: Cohorts> Sync for RawCohortMutex<C> {}

impl<C: Cohorts> fmt::Debug for RawCohortMutex<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCohortMutex").field("locked", &self.is_taken()).finish_non_exhaustive()
    }
}

/// Whether, and how, a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Not,
    Free,
    /// By another thread, which passed it on.
    Handed,
}

/// How waiting in the queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Granted,
    Compete,
    Left,
}

/// Counts, by whoever has the lock or the desk: nobody else stores there.
fn one_more(of: &AtomicU64) {
    of.store(of.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl<C: Cohorts> RawCohortMutex<C> {
    const_unless_modelled! {
        pub(crate) const fn unlocked() -> RawCohortMutex<C> {
            RawCohortMutex {
                door: Door {
                    word: AtomicPtr::new(null_mut()),
                    spin_nanos: AtomicU32::new(FIRST_SPIN),
                    #[cfg(not(stillpoint_loom))]
                    plain: RawMutex::new(),
                },
                desk: Desk {
                    busy: AtomicU32::new(0),
                    lists: Lists::new(),
                    cohort: Cell::new(0),
                    passes: Cell::new(0),
                    since: Cell::new(0),
                    handed: Cell::new(0),
                    is_woken: Cell::new(false),
                    is_granted: Cell::new(false),
                    granted: Cell::new(0),
                    grown: Cell::new(0),
                    local: AtomicU64::new(0),
                    remote: AtomicU64::new(0),
                },
                cohorts: PhantomData,
            }
        }
    }

    /// Takes a lock that is free and that nobody waits for.
    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        let locked = without_provenance_mut(LOCKED);
        // Acquire: partner is the release of whoever gave it up.
        let order = Ordering::Acquire;
        self.door.word.compare_exchange(null_mut(), locked, order, Ordering::Relaxed).is_ok()
    }

    /// Takes a lock that is free.
    pub(super) fn try_take(&self) -> bool {
        let mut word = self.door.word.load(Ordering::Relaxed);
        while word.addr() & LOCKED == 0 {
            match self.exchange(word, word.map_addr(|a| a | LOCKED), Ordering::Acquire) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    fn exchange(&self, from: *mut Node, to: *mut Node, order: Ordering) -> Result<(), *mut Node> {
        self.door.word.compare_exchange(from, to, order, Ordering::Relaxed).map(|_| ())
    }

    /// Gives up the lock. Who was handed it knows that others may wait, and does not look at the
    /// word.
    #[inline(always)]
    pub(super) fn give_up(&self, was_handed: bool) {
        if was_handed || !self.free_unawaited() {
            self.pass_on(false);
        }
    }

    #[inline(always)]
    fn free_unawaited(&self) -> bool {
        let locked = without_provenance_mut(LOCKED);
        // Release: partner is the acquire of whoever takes it next.
        self.exchange(locked, null_mut(), Ordering::Release).is_ok()
    }

    pub(super) fn is_taken(&self) -> bool {
        self.door.word.load(Ordering::Relaxed).addr() & LOCKED != 0
    }

    /// How often the lock was passed on, within a cohort and to another.
    pub(super) fn handovers(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.desk.local), count(&self.desk.remote))
    }

    #[cfg(not(stillpoint_loom))]
    pub(super) fn plain(&self) -> &RawMutex {
        &self.door.plain
    }

    /// The lock came from another thread of the cohort. By its holder only.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn count_local(&self) {
        one_more(&self.desk.local);
    }

    // ---- waiting ------------------------------------------------------------------------------

    /// Takes the lock, waiting as told.
    #[cold]
    pub(super) fn take(&self, wait: Wait) -> Taken {
        if self.look_again() {
            return Taken::Free;
        }
        if !cfg!(stillpoint_loom) && wait.is_over() {
            return Taken::Not;
        }
        // The caller's code: it may panic, while nothing has happened yet.
        let node = Node::new(C::cohort(), nanos());
        // That mutant is to lose the lock, not to write to a stack frame that is no more.
        let kept = broken(Mutant::LeaveWithoutDesk).then(|| Box::new(Node::new(0, 0)));
        let node = kept.map_or(&node, |kept| Box::leak(kept));
        while self.arrive(node) {
            match self.wait(node, wait) {
                Ended::Granted => return Taken::Handed,
                Ended::Left => return Taken::Not,
                Ended::Compete => {
                    // Before it looks at the lock; see the head of this file.
                    self.enter();
                    self.desk.is_woken.set(false);
                    self.exit();
                    if self.try_take() {
                        return Taken::Free;
                    }
                    if wait.is_over() {
                        return Taken::Not;
                    }
                    node.renew(nanos());
                }
            }
        }
        Taken::Free
    }

    /// Looks a few times whether the lock is free, as long as nobody waits. True if it was taken.
    fn look_again(&self) -> bool {
        if cfg!(stillpoint_loom) {
            return false;
        }
        for turn in 0..LOOKS {
            let word = self.door.word.load(Ordering::Relaxed);
            if word.addr() & LOCKED == 0 {
                return self.try_take();
            }
            if word.addr() != LOCKED {
                return false;
            }
            pause(2 << turn);
        }
        false
    }

    /// Puts the node among the arrivals. False if the lock was free, and is now ours instead.
    fn arrive(&self, node: &Node) -> bool {
        let locked = |a: usize| a | LOCKED | QUEUED;
        let with = (&raw const *node).cast_mut().map_addr(locked);
        // Acquire: partner is the release of whoever freed it. Release: that of `renew`, in `sort`.
        let before = self.door.word.swap(with, Ordering::AcqRel);
        let is_free = before.addr() & LOCKED == 0;
        // Nobody arrives at a free lock: then this is null.
        node.came_after(before.map_addr(|a| a & !FLAGS));
        if is_free {
            self.withdraw(node, with, (before.addr() & QUEUED) | LOCKED);
        }
        !is_free
    }

    /// Takes the node of the holder out of the arrivals, whose first it is.
    #[cold]
    fn withdraw(&self, node: &Node, with: *mut Node, without: usize) {
        let without = without_provenance_mut(without);
        if self.exchange(with, without, Ordering::Relaxed).is_err() {
            self.enter();
            if node.place() == Place::Arriving {
                self.sort();
            }
            // SAFETY: the desk is ours, and the node in the lists since the arrivals are.
            unsafe { self.desk.lists.remove(node) };
            self.exit();
        }
    }

    /// Spins, then parks, until the node is told something or the time is over.
    fn wait(&self, node: &Node, wait: Wait) -> Ended {
        loop {
            if let Some(ended) = self.spin(node, wait) {
                return ended;
            }
            let order = Ordering::Relaxed;
            if node.state().compare_exchange(SPINNING, PARKED, order, order).is_err() {
                continue;
            }
            loop {
                park(node.key(), 0, wait.deadline(), || {
                    node.state().load(Ordering::Relaxed) == PARKED
                });
                match node.state().load(Ordering::Acquire) {
                    PARKED if wait.is_over() => return self.leave(node),
                    PARKED => {}
                    _ => break,
                }
            }
        }
    }

    /// Spins for as long as that is worth it. `None` if it is not any more.
    fn spin(&self, node: &Node, wait: Wait) -> Option<Ended> {
        // First: at a crowded door it takes its time.
        let most = u64::from(self.door.spin_nanos.load(Ordering::Relaxed));
        let begin = nanos();
        let mut last = begin;
        node.beat(begin);
        let order = Ordering::Relaxed;
        // Fails if it is told something else meanwhile.
        let _ = node.state().compare_exchange(AWAKE, SPINNING, order, order);
        loop {
            // Acquire: partner is the release in `pass_on`.
            match spin_while(node.state(), SPINNING, TURNS) {
                GRANTED => return Some(Ended::Granted),
                COMPETE => return Some(Ended::Compete),
                _ => {}
            }
            if wait.is_over() {
                return Some(self.leave(node));
            }
            let now = nanos();
            let was_preempted = now.saturating_sub(last) > STALE;
            if was_preempted {
                // There are more threads than CPUs: they had better sleep.
                self.set_spin(self.door.spin_nanos.load(Ordering::Relaxed) / 2);
            }
            if was_preempted || now.saturating_sub(begin) > most || cfg!(stillpoint_loom) {
                return None;
            }
            last = now;
            node.beat(now);
        }
    }

    /// Gets the node out of the queue, unless it is told something by then.
    #[cold]
    fn leave(&self, node: &Node) -> Ended {
        if broken(Mutant::LeaveWithoutDesk) {
            return Ended::Left;
        }
        self.enter();
        // Acquire: partner is the release in `tell`.
        let ended = match node.state().load(Ordering::Acquire) {
            GRANTED => Some(Ended::Granted),
            COMPETE => Some(Ended::Compete),
            _ => None,
        };
        if let Some(ended) = ended {
            self.exit();
            return if broken(Mutant::GrantLost) { Ended::Left } else { ended };
        }
        if node.place() == Place::Arriving {
            self.sort();
        }
        // SAFETY: the desk is ours, and the node in the lists since the arrivals are.
        unsafe { self.desk.lists.remove(node) };
        self.exit();
        Ended::Left
    }

    // ---- the desk -----------------------------------------------------------------------------

    /// Waits for the desk, and takes it.
    fn enter(&self) {
        let mut pace = Pace::new();
        let order = Ordering::Relaxed;
        // Acquire: partner is the release in `exit`.
        while self.desk.busy.compare_exchange(0, 1, Ordering::Acquire, order).is_err() {
            pace.wait();
        }
    }

    fn exit(&self) {
        // Release: partner is the acquire in `enter`.
        self.desk.busy.store(0, Ordering::Release);
    }

    /// Whether anybody waits. For models.
    #[cfg(stillpoint_loom)]
    pub(super) fn latest(&self) -> *const () {
        self.door.word.load(Ordering::Relaxed).map_addr(|a| a & !FLAGS).cast_const().cast()
    }
}

//! What is in a `Mutex`, and in a `SpinLock`: a lock whose word names its holder's CPU.
//!
//! # State
//!
//! ```text
//! word    bit 0    HELD      somebody has the lock
//!         bit 1    PARKED    threads are parked, or about to be
//!         bit 2    HEIR      somebody who does not sleep is to have it next
//!         3..32    the holder's CPU plus 1, as it was when it took the lock; 0 if not known
//! mode    bit 0    PLAIN     the holder gives up by a plain store
//!         1..8     how many threads are about to end that
//! passed           unlocks since somebody was woken; written by the holder
//! looks            how often waiters look before they park, on average
//! ```
//!
//! # Giving up by a store
//!
//! To learn whether it must wake somebody, who gives up a lock exchanges its word: an atomic
//! instruction, as dear as taking it. In mode PLAIN nobody is parked. Then the holder stores 0,
//! and, behind a light fence, looks at the mode again. Who wants to park ends the mode first:
//!
//! 1. it counts itself in `mode`, which thereby is not PLAIN any more;
//! 2. it sends a broadcast;
//! 3. it clears PLAIN, and takes back its count.
//!
//! By the cases of `machine/fence.rs`, a holder that passes its fence after the broadcast finds
//! the mode changed, and is *late*: it has given up, and now wakes the head of the queue, whoever
//! is there. If before, its 0 is visible to whoever began behind step 3, which releases what
//! `leave_plain` acquires. PLAIN comes back only when the count is 0, so each count's broadcast
//! lies in a time without it.
//!
//! The mode begins after [`QUIET`] unlocks in which nobody was parked: what they would have saved
//! has paid for the broadcast that ends it. The holder sets it, under the queue's lock, if nobody
//! is parked. Whoever parks checks under that lock that it is not set. On tier `Fence`, where a
//! light fence is no cheaper than an exchange, it is never set.
//!
//! # Who waits how
//!
//! A waiter that is on the CPU on which the lock was taken knows that the holder does not run,
//! unless it has moved: it parks. Others look at the word for a while, in a section, which the
//! kernel aborts if it takes the CPU away: after two aborts they park, for there are more threads
//! than CPUs. In a lock where somebody has parked lately only one thread looks, the *heir*: it
//! says so by HEIR. A second one parks at once, in a `SpinLock` only if somebody is parked. A
//! woken thread is an heir too.
//!
//! As long as there is an heir, unlocking wakes nobody: the heir, which runs or is about to,
//! will take the lock, and wakes the next when it gives it up. So under contention two threads
//! pass the lock to and fro without the kernel, and the others sleep. But not for ever: an heir may
//! have been preempted, and the others want their turn. [`PASSES`] unlocks in a row pass those
//! that are parked; then one is woken all the same. If that thread has waited for more than a
//! millisecond and parks again, it is *handed* the lock the next time.
//!
//! # What was asked for otherwise
//!
//! *A waiter should announce its place in the queue*, so that those behind it know how long to
//! spin. Here nobody needs a number, because behind somebody who is parked at most one looks: the
//! heir, and HEIR in the word says that there is one. The others are parked, in the order in which
//! they came to that, which the parking lot keeps; how long they can be passed is bounded by
//! [`PASSES`], not by what they know. Where nobody is parked, in mode PLAIN and in a `SpinLock`,
//! several may look, and whoever comes first gets it.
//!
//! *A `SpinLock` should sleep only if its holder is known not to run.* Its waiters park after
//! [`MOST_ROUNDS`] rounds in vain, too, whoever runs. With more threads than CPUs the holder is
//! often preempted on a CPU other than the waiter's, where nothing tells; and a waiter that keeps a
//! CPU busy keeps the scheduler from moving the holder there. Measured with sixteen threads on two
//! busy CPUs, the lock had a third of parking_lot's throughput before.
//!
//! # Why nobody sleeps for ever
//!
//! Claim: when the word has PARKED, or a thread is in the queue, then HELD is set, or there is an
//! heir, or a late holder. Whoever has the lock and finds PARKED without HEIR wakes one. Who is
//! late wakes one. An heir ends in one of three ways: it takes the lock, which sets HELD. Or it
//! parks: it replaces a word with HELD by one without HEIR, and then checks, under the queue's
//! lock, that HELD and PARKED are still set. Or it gives up: it clears HEIR, and if it then finds
//! PARKED without HELD, it wakes the next. An heir may clear the HEIR of another: then somebody is
//! woken in vain. Who sets HEIR clears it, so that it is never set without an heir. A late
//! holder's 0 clears PARKED and HEIR together, and it sets what is true of the queue when it wakes.
//!
//! # Why it excludes
//!
//! HELD is set by exchanging a word without it, or kept by who hands the lock on, and it is
//! cleared by its holder only. A plain 0 is stored by the holder only, and replaces what others
//! may have set meanwhile, PARKED and HEIR, about which see above.
//!
//! Giving up looks at the lock once more when somebody else may have it already. So the lock must
//! live until that returns, as references in Rust do; a count that is kept inside, by which the
//! last to unlock frees the lock itself, is not enough.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | taking | acquire | giving up: release, by store or exchange |
//! | clearing PLAIN | release | `leave_plain` without a broadcast of its own: acquire |
//! | looking at the mode before and behind the store | relaxed | the broadcast, the light fence |
//! | what a handed thread knows | the parking lot's lock | who handed over |
//! | `passed` | plain, by the holder | taking and giving up |
//!
//! The heir's bit is Go's ("mutexWoken", `sync.Mutex`); one looker at a time is Linux's
//! ("optimistic spinning", `kernel/locking/mutex.c`); the average of looks is glibc's
//! (`PTHREAD_MUTEX_ADAPTIVE_NP`); that few circulate and the others sleep is Dice's ("Malthusian
//! Locks", EuroSys 2017).

use super::inner::Release;
use super::patience::{Patience, Wait};
use crate::machine::fence::{heavy, light};
use crate::machine::{Tier, shape, slice};
use crate::rseq::wait::{FIRST_GAP, HELD, Watched, here, name_the_same, watch_counting};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicU8, AtomicU16, AtomicU32, Choice, Ordering, Pace, const_unless_modelled, park, pause,
    replace, wake,
};
use std::cell::Cell;

const PARKED: u32 = 2;
const HEIR: u32 = 4;

const PLAIN: u8 = 1;
const LEAVER: u8 = 2;

/// After so many unlocks for which nobody was parked, they are done by a store.
const QUIET: u16 = if cfg!(stillpoint_loom) { 1 } else { 1000 };
/// So many unlocks in a row pass those that are parked.
const PASSES: u16 = if cfg!(stillpoint_loom) { 2 } else { 250 };
/// Nobody looks more often before it parks: with the growing pauses, about what parking costs.
/// Those that would rather not park begin anew.
const MOST_LOOKS: u32 = 10;
/// What is tried first is a bit more than twice this.
const FIRST_LOOKS: u8 = 3;
/// The average is kept in parts of this.
const FINE: u8 = 8;
/// Who has lost its CPU so many times while it waited parks.
const ABORTS: u32 = 2;

/// Those that would rather not park do so after so many rounds of looking in vain: some tens of
/// microseconds, which is longer than any section that a spin lock is made for.
const MOST_ROUNDS: u32 = if cfg!(stillpoint_loom) { 1 } else { 4 };

/// What woken threads are told.
const COMPETE: usize = 0;
const HANDED: usize = 1;
/// The token of a thread that has waited for long.
const STARVING: u64 = 1;

/// How a thread that must wait does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Looks for a while, then parks.
    Adaptive,
    /// Looks until it seems that the holder does not run.
    Spinning,
}

#[derive(Debug)]
pub(super) struct Exclusive {
    word: AtomicU32,
    passed: AtomicU16,
    mode: AtomicU8,
    looks: AtomicU8,
}

impl Exclusive {
    const_unless_modelled! {
        pub(super) const fn new() -> Exclusive {
            Exclusive {
                word: AtomicU32::new(0),
                passed: AtomicU16::new(0),
                mode: AtomicU8::new(0),
                looks: AtomicU8::new(FIRST_LOOKS * FINE),
            }
        }
    }

    fn key(&self) -> *const () {
        (&raw const self.word).cast()
    }

    /// Acquire: partner is the release in giving up.
    #[inline(always)]
    fn taking() -> Ordering {
        if broken(Mutant::RelaxedTake) { Ordering::Relaxed } else { Ordering::Acquire }
    }

    /// Release: partner is `taking`.
    #[inline(always)]
    fn giving() -> Ordering {
        if broken(Mutant::RelaxedGive) { Ordering::Relaxed } else { Ordering::Release }
    }

    /// Takes a lock that nobody has and nobody waits for. One atomic instruction.
    #[inline(always)]
    pub(super) fn take_free(&self) -> bool {
        let with = HELD | here();
        self.word.compare_exchange(0, with, Self::taking(), Ordering::Relaxed).is_ok()
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub(super) fn try_take(&self) -> bool {
        self.take_free() || self.word.load(Ordering::Relaxed) & HELD == 0 && self.try_take_awaited()
    }

    #[cold]
    fn try_take_awaited(&self) -> bool {
        let with = |word: u32| (word & HELD == 0).then(|| word | HELD | here());
        self.word.fetch_update(Self::taking(), Ordering::Relaxed, with).is_ok()
    }

    /// Takes the lock, waiting as told. If it has it: whether a longer slice was asked for, which
    /// the same thread must say when it gives the lock up.
    #[cold]
    #[inline(never)]
    pub(super) fn take(&self, manner: Manner, wait: Wait, asks: bool) -> Option<bool> {
        let mut waiter = Waiter::new(manner);
        loop {
            let state = self.word.load(Ordering::Relaxed);
            if state & HELD == 0 {
                let heirs = if waiter.is_heir { 0 } else { state & HEIR };
                let with = HELD | here() | state & PARKED | heirs;
                // Before, so that it covers all of the critical section.
                let asked = asks && slice::ask();
                let order = Ordering::Relaxed;
                if self.word.compare_exchange_weak(state, with, Self::taking(), order).is_ok() {
                    return Some(asked);
                }
                if asked {
                    slice::done(false);
                }
                continue;
            }
            if wait.is_over() {
                break;
            }
            #[cfg(stillpoint_loom)]
            if wait == Wait::UntilWoken && waiter.is_heir {
                break;
            }
            if self.is_worth_looking(state, &mut waiter) {
                self.look(&mut waiter);
                continue;
            }
            if !self.leave_plain() {
                waiter.pace.wait();
                waiter.look_again();
                continue;
            }
            let forgets = waiter.is_heir && !broken(Mutant::HeirForgotten);
            let with = (state | PARKED) & if forgets { !HEIR } else { !0 };
            let order = Ordering::Relaxed;
            if state != with && self.word.compare_exchange(state, with, order, order).is_err() {
                continue;
            }
            waiter.is_heir = false;
            match self.park(&mut waiter, wait) {
                Some(HANDED) if !(broken(Mutant::HandoverLost) && wait.is_over()) => {
                    // What it was handed names no CPU. Nobody stores plainly while it is held so.
                    self.word.fetch_or(here(), Ordering::Relaxed);
                    return Some(asks && slice::ask());
                }
                Some(_) => waiter.is_heir = true,
                None => {}
            }
            waiter.look_again();
        }
        if waiter.is_heir && !broken(Mutant::HeirForgotten) {
            let state = self.word.fetch_and(!HEIR, Ordering::Relaxed);
            if state & (HELD | PARKED) == PARKED {
                self.wake_one(false, Release::Unfair);
            }
        }
        None
    }

    /// Whether the holder may run, and we are the ones to look. If so, we may have become the heir.
    fn is_worth_looking(&self, state: u32, waiter: &mut Waiter) -> bool {
        let me = here();
        if waiter.is_done || waiter.aborts >= ABORTS || me != 0 && name_the_same(state, me) {
            return false;
        }
        if waiter.is_heir || self.mode.load(Ordering::Relaxed) & PLAIN != 0 {
            return true;
        }
        if state & HEIR != 0 {
            return waiter.manner == Manner::Spinning && state & PARKED == 0;
        }
        let with = state | HEIR;
        let order = Ordering::Relaxed;
        waiter.is_heir = self.word.compare_exchange(state, with, order, order).is_ok();
        true
    }

    /// Looks at the word for a while.
    fn look(&self, waiter: &mut Waiter) {
        let average = self.looks.load(Ordering::Relaxed);
        let looks = match waiter.manner {
            Manner::Adaptive => (2 * u32::from(average / FINE) + 4).min(MOST_LOOKS),
            Manner::Spinning => MOST_LOOKS,
        };
        let (ended, left) = match watch_counting(&self.word, looks) {
            (Watched::Unable, _) => (Watched::Unable, self.look_plainly(looks)),
            other => other,
        };
        match ended {
            Watched::Free => {}
            Watched::Here => return waiter.is_done = true,
            Watched::Aborted => return waiter.aborts += 1,
            Watched::Held => waiter.was_in_vain(),
            // Nobody would tell us that we had lost the CPU.
            Watched::Unable if left == 0 => waiter.was_in_vain(),
            Watched::Unable => {}
        }
        if waiter.manner == Manner::Adaptive {
            // Racy, on purpose: it is an average. At most 10 times 8.
            let average = average - average / FINE + (looks - left) as u8;
            self.looks.store(average, Ordering::Relaxed);
        }
    }

    /// Looks without a section. How many looks were left.
    fn look_plainly(&self, looks: u32) -> u32 {
        let mut left = looks;
        while left > 0 && self.word.load(Ordering::Relaxed) & HELD != 0 {
            if cfg!(stillpoint_loom) {
                return 0;
            }
            pause(FIRST_GAP + 4 * (looks - left));
            left -= 1;
        }
        left
    }

    /// Parks. What a release told.
    fn park(&self, waiter: &mut Waiter, wait: Wait) -> Option<usize> {
        let token = if waiter.patience.is_over() { STARVING } else { 0 };
        park(self.key(), token, wait.deadline(), || {
            let both = HELD | PARKED;
            let is_held = self.word.load(Ordering::Relaxed) & both == both;
            broken(Mutant::ParkUnchecked)
                || is_held && self.mode.load(Ordering::Relaxed) & PLAIN == 0
        })
    }

    /// Sees to it that nobody gives up by a store any more. False if it did not succeed.
    fn leave_plain(&self) -> bool {
        let order = Ordering::Relaxed;
        loop {
            // Acquire: partner is the release below.
            let mode = self.mode.load(Ordering::Acquire);
            if mode & PLAIN == 0 {
                return true;
            }
            let Some(with) = mode.checked_add(LEAVER) else { return false };
            if self.mode.compare_exchange(mode, with, order, order).is_ok() {
                break;
            }
        }
        // Partner: the light fence in `give`.
        let sent = if broken(Mutant::NoBroadcast) { Ok(()) } else { heavy(tier()) };
        let clear = if sent.is_ok() { PLAIN } else { 0 };
        let with = |mode: u8| Some((mode & !clear) - LEAVER);
        // Release: partner is the acquire above.
        let _ = self.mode.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with);
        sent.is_ok()
    }

    /// As the holder: from here on, gives up by a store, if nobody is parked.
    fn enter_plain(&self) {
        if tier() == Tier::Fence {
            return;
        }
        wake(
            self.key(),
            |_| Choice::Stop,
            |more| {
                if !more {
                    let order = Ordering::Relaxed;
                    let _ = self.mode.compare_exchange(0, PLAIN, order, order);
                }
                COMPETE
            },
        );
    }

    /// Gives up the lock.
    #[inline(always)]
    pub(super) fn give(&self) {
        if self.mode.load(Ordering::Relaxed) == PLAIN {
            replace(&self.word, 0, Self::giving());
            // Partner: the broadcast in `leave_plain`. Of the tiers that have the mode, this is
            // the same.
            if !broken(Mutant::NoLightFence) {
                light(Tier::Rseq);
            }
            if self.mode.load(Ordering::Relaxed) != PLAIN {
                self.give_late();
            }
        } else {
            self.give_by_exchange(Release::Unfair);
        }
    }

    /// Gives up the lock, to whoever is parked first.
    pub(super) fn give_fairly(&self) {
        if self.mode.load(Ordering::Relaxed) == PLAIN {
            self.give();
        } else {
            self.give_by_exchange(Release::Fair);
        }
    }

    /// Whether to give up may take a system call that wakes somebody.
    pub(super) fn is_awaited(&self) -> bool {
        self.word.load(Ordering::Relaxed) & PARKED != 0
    }

    /// Has given up by a store although somebody may be about to park, or parked.
    #[cold]
    fn give_late(&self) {
        self.wake_one(false, Release::Unfair);
    }

    /// Gives up the lock where somebody may be parked.
    #[inline(never)]
    fn give_by_exchange(&self, how: Release) {
        let passed = self.passed.load(Ordering::Relaxed).saturating_add(1);
        let mut state = self.word.load(Ordering::Relaxed);
        loop {
            let with = if state & PARKED == 0 {
                if passed >= QUIET {
                    self.passed.store(0, Ordering::Relaxed);
                    self.enter_plain();
                } else {
                    self.passed.store(passed, Ordering::Relaxed);
                }
                state & HEIR
            } else if state & HEIR != 0 && how == Release::Unfair && passed <= PASSES {
                self.passed.store(passed, Ordering::Relaxed);
                state & (HEIR | PARKED)
            } else {
                self.passed.store(0, Ordering::Relaxed);
                return self.wake_one(true, how);
            };
            let order = Self::giving();
            match self.word.compare_exchange_weak(state, with, order, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Wakes the head of the queue; if it `gives`, gives up the lock, or hands it over.
    fn wake_one(&self, gives: bool, how: Release) {
        let is_chosen = Cell::new(false);
        let hands_over = Cell::new(false);
        let choose = |token: u64| {
            if is_chosen.replace(true) {
                return Choice::Stop;
            }
            hands_over.set(gives && (how == Release::Fair || token & STARVING != 0));
            Choice::Wake
        };
        if broken(Mutant::WakeBeforeRelease) && gives {
            self.wake_one(false, Release::Unfair);
            self.word.fetch_and(PARKED | HEIR, Self::giving());
            return;
        }
        wake(self.key(), choose, |more| {
            let parked = if more && !broken(Mutant::LostParked) { PARKED } else { 0 };
            let (kept, set) = match (gives, hands_over.get(), is_chosen.get()) {
                (_, true, _) => (HEIR, HELD),
                (true, false, true) => (0, HEIR),
                (true, false, false) => (HEIR, 0),
                (false, _, true) => (!(PARKED | HEIR), HEIR),
                (false, _, false) => (!PARKED, 0),
            };
            let with = |word: u32| Some(word & kept | set | parked);
            // Never refuses.
            let _ = self.word.fetch_update(Self::giving(), Ordering::Relaxed, with);
            if hands_over.get() { HANDED } else { COMPETE }
        });
    }

    /// Whether anyone has it.
    pub(super) fn is_taken(&self) -> bool {
        self.word.load(Ordering::Relaxed) & HELD != 0
    }
}

/// That of this process.
fn tier() -> Tier {
    shape(Tier::Rseq).tier
}

/// A thread that waits.
#[derive(Debug)]
struct Waiter {
    manner: Manner,
    patience: Patience,
    pace: Pace,
    /// How often it lost its CPU while it looked.
    aborts: u32,
    /// How many rounds of looking were in vain.
    rounds: u32,
    /// Has looked enough.
    is_done: bool,
    is_heir: bool,
}

impl Waiter {
    fn new(manner: Manner) -> Waiter {
        Waiter {
            manner,
            patience: Patience::default(),
            pace: Pace::new(),
            aborts: 0,
            rounds: 0,
            is_done: false,
            is_heir: false,
        }
    }

    /// After a round of looking.
    fn was_in_vain(&mut self) {
        self.rounds += 1;
        self.is_done = self.manner == Manner::Adaptive || self.rounds >= MOST_ROUNDS;
    }

    fn look_again(&mut self) {
        (self.aborts, self.rounds, self.is_done) = (0, 0, false);
    }
}

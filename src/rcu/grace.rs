//! The grace period as a state machine.
//!
//! # State
//!
//! One number. Even: idle, and half of it is how many grace periods have ended. Odd: one is in
//! progress. Whoever holds the lock may advance it, and none of its steps blocks:
//!
//! ```text
//! even ──> odd, begun ──broadcast──> fenced ──(other phase drained)──> flipped
//!                                                 flipped ──(old phase drained)──> even
//! ```
//!
//! Who wants a grace period takes a *snapshot*, the number at which one that starts from now
//! on will have ended: the next even number if idle, the one after if a period is in progress,
//! for that one may have sent its broadcast before the caller's stores. Waiters ([`Grace::wait`])
//! elect one leader, and the rest park until the number has passed what they wait for: concurrent
//! callers share. Others ([`Grace::advance`]) go as far as it goes without waiting.
//!
//! # Why a snapshot is enough
//!
//! Let caller C store X, execute a sequentially consistent fence F, and read the number s. Let
//! leader L start the period that C waits for: store s' > s (odd), fence G, broadcast, scan. C
//! did not read s', so F comes before G in the order of such fences (were G first, C's load,
//! after F, would find s' or later). A reader whose count L's scan misses sees, by the broadcast,
//! all that came before it; were it to miss X, its load would come before X, hence G, which happens
//! before that load, before F: a contradiction. So every reader that L does not wait for sees X,
//! as if C had sent the broadcast. The leader's release of the final number, acquired by C, puts
//! the accesses of the others before what C does next.
//!
//! # Why nobody sleeps for ever
//!
//! A follower counts itself in `parked`, fences, and parks only if, under the queue's lock, it
//! still finds the lead taken. A leader frees the lead, fences, and looks at `parked`. One of them
//! sees the other: either the follower finds the lead free and does not park, or the leader wakes
//! all whose number has come and one other, who takes the lead or meets another leader, who
//! will look at `parked` in turn. A follower that gives up (its time ran out) passes the wake-up
//! on. Futures do the same with `asleep`: they register, fence, and look at the number again; the
//! leader stores the number, fences, and looks at `asleep`. A leader that goes on to a later number
//! tells on the way those who wait for an earlier one.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | fence in `snapshot` | SeqCst | fence in `step` before the broadcast |
//! | number at the begin and the end of a period | release | acquire in `has_reached` |
//! | lock, unlock | acquire, release | each other |
//! | fence behind the unlock | SeqCst | fence in `follow`, fence in `Sleepers::put` |

use super::engine::Engine;
use super::sleepers::Sleepers;
use super::stall::{Refusal, StallReport, Stalled};
use super::statistics::add;
use crate::machine::Tier;
use crate::machine::fence::heavy;
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicU32, AtomicU64, Ordering, Pace, fence, nanos, park, unpark, unpark_reached,
};
use std::time::Instant;

/// The state of a domain's grace periods.
#[derive(Debug)]
pub(super) struct Grace {
    number: AtomicU64,
    lock: AtomicU32,
    /// Followers that are parked, or about to be.
    parked: AtomicU32,
    /// How far the period in progress is. Used under the lock.
    stage: AtomicU32,
    /// When it began, and who has heard that it takes long. Used under the lock.
    stalled: Stalled,
    pub(super) sleepers: Sleepers,
}

/// A number to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target(u64);

impl Target {
    /// Always reached.
    pub(super) const NOW: Target = Target(0);
    /// Never reached.
    #[cfg(not(stillpoint_loom))]
    pub(super) const EVER: Target = Target(u64::MAX);

    /// The end of the grace period that starts after this one has ended.
    pub(super) fn next(self) -> Target {
        Target(self.0 + 2)
    }

    /// The end of the grace period before.
    pub(super) fn previous(self) -> Target {
        Target(self.0.saturating_sub(2))
    }

    pub(super) const fn from_bits(bits: u64) -> Target {
        Target(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

/// Stages of a period: begun, broadcast sent, flipped.
const BEGUN: u32 = 0;
const FENCED: u32 = 1;
const FLIPPED: u32 = 2;

const FREE: u32 = 0;
const HELD: u32 = 1;

/// What a step came to.
enum Step {
    Moved,
    /// Readers must leave first.
    Blocked,
}

/// What became of a lead.
enum Led {
    Reached,
    /// A period has ended that tasks wait for: they hear of it when the lead is dropped.
    Passed,
    GaveUp,
    /// Readers have held it up for long: somebody should hear of it.
    Stalled(Box<StallReport>),
    /// The kernel refused the broadcast; and has for long, if there is a report.
    Refused(i32, Option<Box<StallReport>>),
}

/// The lock of the state machine, released when dropped.
struct Lead<'e>(&'e Engine);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let grace = &self.0.grace;
        // Release: partner is the acquire in `try_lead`.
        grace.lock.store(FREE, Ordering::Release);
        // Partners: the fences in `follow` and `Sleepers::put`.
        fence(Ordering::SeqCst);
        grace.hand_on();
        if !broken(Mutant::LostWakeup) {
            grace.sleepers.wake(Target(grace.number.load(Ordering::Relaxed)));
        }
    }
}

impl Grace {
    pub(super) fn new() -> Grace {
        Grace {
            number: AtomicU64::new(0),
            lock: AtomicU32::new(FREE),
            parked: AtomicU32::new(0),
            stage: AtomicU32::new(BEGUN),
            stalled: Stalled::new(),
            sleepers: Sleepers::new(),
        }
    }

    /// How many have ended.
    pub(super) fn completed(&self) -> u64 {
        self.number.load(Ordering::Relaxed) / 2
    }

    /// What to wait for: the end of a grace period that starts after everything the caller has
    /// done so far.
    pub(super) fn snapshot(&self) -> Target {
        // Partner: the fence in `step`.
        fence(Ordering::SeqCst);
        let now = self.number.load(Ordering::Relaxed);
        if broken(Mutant::NoRoundUp) {
            return Target((now + 2) & !1);
        }
        Target((now + 3) & !1)
    }

    /// True if that grace period has ended.
    pub(super) fn has_reached(&self, target: Target) -> bool {
        // Acquire: partner is the release at the end of `step`.
        self.number.load(Ordering::Acquire) >= target.0
    }

    fn key(&self) -> *const () {
        (&raw const self.lock).cast()
    }

    /// Wakes the followers whose number has come, and one who may take the lead.
    fn hand_on(&self) {
        // Relaxed: behind a fence.
        if self.parked.load(Ordering::Relaxed) != 0 && !broken(Mutant::LostWakeup) {
            unpark(self.key(), self.number.load(Ordering::Relaxed));
        }
    }

    fn try_lead<'e>(&self, engine: &'e Engine) -> Option<Lead<'e>> {
        // Acquire: partner is the release of the unlock.
        self.lock
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| Lead(engine))
    }

    /// Goes as far towards `target` as is possible without waiting for anyone. True if there.
    pub(super) fn advance(&self, engine: &Engine, target: Target) -> bool {
        while !self.has_reached(target) {
            let Some(lead) = self.try_lead(engine) else { return self.has_reached(target) };
            let led = self.lead(engine, target, || true);
            drop(lead);
            match led {
                // Each time a period has ended.
                Led::Reached | Led::Passed => {}
                // A refused broadcast leaves everything pending: others may be allowed to send it.
                // If nobody is, it becomes a stall.
                Led::Stalled(report) | Led::Refused(_, Some(report)) => {
                    engine.hooks.stalled(&report);
                    return self.has_reached(target);
                }
                Led::GaveUp | Led::Refused(_, None) => return self.has_reached(target),
            }
        }
        true
    }

    /// Waits until `target` is reached, or the deadline has passed. True if it is reached.
    ///
    /// # Panics
    ///
    /// If the kernel refuses a broadcast it granted at start-up.
    pub(super) fn wait(&self, engine: &Engine, target: Target, deadline: Option<Instant>) -> bool {
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        while !self.has_reached(target) {
            let Some(lead) = self.try_lead(engine) else {
                if is_late() {
                    // The wake-up that brought us here may have been meant for a successor.
                    fence(Ordering::SeqCst);
                    self.hand_on();
                    return self.has_reached(target);
                }
                self.follow(target, deadline);
                continue;
            };
            let mut pace = Pace::new();
            let led = self.lead(engine, target, || {
                let late = is_late();
                if !late {
                    pace.wait();
                }
                late
            });
            drop(lead);
            match led {
                Led::Reached | Led::Passed => {}
                Led::GaveUp => return self.has_reached(target),
                Led::Stalled(report) => engine.hooks.stalled(&report),
                Led::Refused(errno, report) => {
                    report.iter().for_each(|report| engine.hooks.stalled(report));
                    broadcast_refused(engine.tier(), errno);
                }
            }
        }
        true
    }

    /// Advances until `target` is reached. When readers must leave first, asks `gives_up`,
    /// which may wait a little.
    fn lead(&self, engine: &Engine, target: Target, mut gives_up: impl FnMut() -> bool) -> Led {
        while !self.has_reached(target) {
            match self.step(engine) {
                Ok(Step::Moved) => {
                    if self.tell_on_the_way(target) {
                        return Led::Passed;
                    }
                }
                Ok(Step::Blocked) => {
                    if let Some(report) = self.stalled.check(engine, self.number(), None) {
                        return Led::Stalled(report);
                    }
                    if gives_up() {
                        return Led::GaveUp;
                    }
                }
                Err(errno) => {
                    let report = self.stalled.check(engine, self.number(), Some(errno));
                    return Led::Refused(errno, report);
                }
            }
        }
        Led::Reached
    }

    /// Tells those whose period has just ended, if the leader goes on to a later one: threads here;
    /// true if there are tasks, too, whose wakers are not run with the lead held.
    fn tell_on_the_way(&self, target: Target) -> bool {
        let number = self.number();
        if !number.is_multiple_of(2) || self.has_reached(target) || broken(Mutant::WakeAtTheEnd) {
            return false;
        }
        // Partners: the fences in `follow` and `Sleepers::put`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) != 0 {
            unpark_reached(self.key(), number, 0);
        }
        self.sleepers.any_reached(Target(number))
    }

    /// Parks until the leader is done or has given up the lead.
    fn follow(&self, target: Target, deadline: Option<Instant>) {
        self.parked.fetch_add(1, Ordering::Relaxed);
        // Partner: the fence behind the unlock.
        fence(Ordering::SeqCst);
        park(self.key(), target.0, deadline, || {
            self.lock.load(Ordering::Relaxed) == HELD && !self.has_reached(target)
        });
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        // Relaxed: number and stage are written only under the lock.
        self.number.load(Ordering::Relaxed)
    }

    /// One step; with the lock held.
    fn step(&self, engine: &Engine) -> Result<Step, i32> {
        let number = self.number();
        if number.is_multiple_of(2) {
            self.stage.store(BEGUN, Ordering::Relaxed);
            self.stalled.begin(nanos());
            // Release: whoever finds this number may rely on the periods before it. Partner: the
            // acquire in `has_reached`.
            let order =
                if broken(Mutant::RelaxedBegin) { Ordering::Relaxed } else { Ordering::Release };
            self.number.store(number + 1, order);
            return Ok(Step::Moved);
        }
        let current = engine.current_phase();
        let other = 1 - current;
        let next = match self.stage.load(Ordering::Relaxed) {
            BEGUN => {
                // Partner: the fence in `snapshot`.
                fence(Ordering::SeqCst);
                if !broken(Mutant::NoBroadcast) {
                    // Partners: every section, and the fallback's light fence.
                    heavy(engine.tier())?;
                    if engine.tier() != Tier::Fence {
                        add(&engine.counts.broadcasts);
                    }
                }
                FENCED
            }
            FENCED => {
                if !engine.is_drained(other) && !broken(Mutant::SkipOtherPhase) {
                    return Ok(Step::Blocked);
                }
                if !broken(Mutant::NoFlip) {
                    engine.flip_to(other);
                }
                FLIPPED
            }
            _ => {
                // Flipped: the old phase is the one that is not current.
                let old = if broken(Mutant::NoFlip) { current } else { other };
                if !engine.is_drained(old) {
                    return Ok(Step::Blocked);
                }
                engine.counts.took(nanos().saturating_sub(self.stalled.begun()));
                // Release: partner is the acquire in `has_reached`.
                self.number.store(number + 1, Ordering::Release);
                return Ok(Step::Moved);
            }
        };
        self.stage.store(next, Ordering::Relaxed);
        Ok(Step::Moved)
    }

    /// In the child of a fork: whoever held the lock or slept is gone. A period in progress
    /// begins again, under its number.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn restart_after_fork(&self) {
        self.stage.store(BEGUN, Ordering::Relaxed);
        self.parked.store(0, Ordering::Relaxed);
        self.lock.store(FREE, Ordering::Relaxed);
        self.sleepers.forget_after_fork();
    }
}

#[cold]
fn broadcast_refused(tier: Tier, errno: i32) -> ! {
    // Readers rely on broadcasts by now; without one, no grace period can ever be proved.
    panic!("stillpoint: on tier {tier} the kernel refuses {}", Refusal(errno));
}

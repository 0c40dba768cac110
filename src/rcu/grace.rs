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
//! `synchronize` takes a *snapshot*, the number at which a grace period that starts from now on
//! will have ended: the next even number if idle, the one after if a period is in progress, for
//! that one may have sent its broadcast before the caller's stores. Then one caller leads, and
//! the rest park until the number has passed what they wait for: concurrent callers share.
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
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | fence in `snapshot` | SeqCst | fence in `step` before the broadcast |
//! | number at the end of a period | release | acquire in `has_reached` |
//! | lock, unlock | acquire, release | each other |

use super::domain::Domain;
use super::lines::Line;
use crate::machine::fence::heavy;
use crate::machine::{Shape, Tier};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{
    AtomicU32, AtomicU64, Ordering, Pace, const_unless_modelled, fence, park, unpark_all,
};

/// The state of a domain's grace periods.
#[derive(Debug)]
pub(super) struct Grace {
    number: AtomicU64,
    lock: AtomicU32,
    /// How far the period in progress is. Used under the lock.
    stage: AtomicU32,
}

/// A number to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target(u64);

/// Stages of a period: begun, broadcast sent, flipped.
const BEGUN: u32 = 0;
const FENCED: u32 = 1;
const FLIPPED: u32 = 2;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may be parked.
const AWAITED: u32 = 2;

/// The lock of the state machine, released when dropped.
struct Lead<'g>(&'g Grace);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Release: partner is the acquire in `try_lead`.
        if self.0.lock.swap(FREE, Ordering::Release) == AWAITED {
            unpark_all(self.0.key());
        }
    }
}

impl Grace {
    const_unless_modelled! {
        pub(super) const fn new() -> Grace {
            Grace {
                number: AtomicU64::new(0),
                lock: AtomicU32::new(FREE),
                stage: AtomicU32::new(BEGUN),
            }
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

    fn try_lead(&self) -> Option<Lead<'_>> {
        // Acquire: partner is the release of the unlock.
        self.lock
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| Lead(self))
    }

    /// Goes as far towards `target` as is possible without waiting for anyone. True if there.
    pub(super) fn advance(&self, domain: &Domain, target: Target) -> bool {
        if !self.has_reached(target)
            && let Some(lead) = self.try_lead()
        {
            let (shape, lines) = domain.lines();
            // A failing broadcast leaves everything pending; whoever must wait reports it.
            while !lead.0.has_reached(target) && lead.0.step(domain, shape, lines) == Ok(true) {}
        }
        self.has_reached(target)
    }

    /// Waits until `target` is reached.
    ///
    /// # Panics
    ///
    /// If the kernel refuses a broadcast it granted at start-up.
    pub(super) fn wait(&self, domain: &Domain, target: Target) {
        while !self.has_reached(target) {
            match self.try_lead() {
                Some(lead) => self.lead(&lead, domain, target),
                None => self.follow(target),
            }
        }
    }

    fn lead(&self, _: &Lead<'_>, domain: &Domain, target: Target) {
        let (shape, lines) = domain.lines();
        let mut pace = Pace::new();
        while !self.has_reached(target) {
            match self.step(domain, shape, lines) {
                Ok(true) => {}
                Ok(false) => pace.wait(),
                Err(errno) => broadcast_refused(shape.tier, errno),
            }
        }
    }

    /// Parks until the leader is done or has given up the lead.
    fn follow(&self, target: Target) {
        // Relaxed: only says that somebody may be parked; the parking lot orders the rest. A
        // leader that unlocks first makes this fail, and the check below too.
        let announced = self
            .lock
            .compare_exchange(HELD, AWAITED, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|seen| seen == AWAITED, |_| true);
        if announced {
            park(self.key(), || {
                self.lock.load(Ordering::Relaxed) == AWAITED && !self.has_reached(target)
            });
        }
    }

    /// One step; with the lock held. `Ok(false)`: readers must leave first.
    fn step(&self, domain: &Domain, shape: Shape, lines: &[Line]) -> Result<bool, i32> {
        // Relaxed: number and stage are written only under the lock.
        let number = self.number.load(Ordering::Relaxed);
        if number.is_multiple_of(2) {
            self.stage.store(BEGUN, Ordering::Relaxed);
            self.number.store(number + 1, Ordering::Relaxed);
            return Ok(true);
        }
        let current = domain.current_phase(lines);
        let other = 1 - current;
        let next = match self.stage.load(Ordering::Relaxed) {
            BEGUN => {
                // Partner: the fence in `snapshot`.
                fence(Ordering::SeqCst);
                if !broken(Mutant::NoBroadcast) {
                    // Partners: every section, and the fallback's light fence.
                    heavy(shape.tier)?;
                }
                FENCED
            }
            FENCED => {
                if !domain.drained(lines, other) && !broken(Mutant::SkipOtherPhase) {
                    return Ok(false);
                }
                if !broken(Mutant::NoFlip) {
                    domain.flip_to(lines, other);
                }
                FLIPPED
            }
            _ => {
                // Flipped: the old phase is the one that is not current.
                let old = if broken(Mutant::NoFlip) { current } else { other };
                if !domain.drained(lines, old) {
                    return Ok(false);
                }
                // Release: partner is the acquire in `has_reached`.
                self.number.store(number + 1, Ordering::Release);
                return Ok(true);
            }
        };
        self.stage.store(next, Ordering::Relaxed);
        Ok(true)
    }
}

#[cold]
fn broadcast_refused(tier: Tier, errno: i32) -> ! {
    // Readers rely on broadcasts by now; without one, no grace period can ever be proved.
    panic!(
        "stillpoint: the kernel refuses the membarrier it granted at start-up (tier {tier}): {}. \
         A filter installed after start-up must allow membarrier, or STILLPOINT_TIER=fence be set",
        std::io::Error::from_raw_os_error(errno)
    );
}

impl Domain {
    /// Waits for a grace period: returns after every read-side critical section of this
    /// domain that was in progress when it was called has ended.
    ///
    /// Concurrent callers share grace periods: one leads, the rest sleep. The leader spins for
    /// some microseconds, then sleeps in growing naps of at most a millisecond; readers wake
    /// nobody.
    ///
    /// # Ordering
    ///
    /// What the caller did before is visible to every section that has not ended on return. All
    /// accesses of the ended sections happen before the return.
    ///
    /// # Deadlock
    ///
    /// Must not be called while the calling thread holds a guard of this domain, nor while it
    /// holds a lock that a reader waits for. Not for signal handlers.
    ///
    /// # Panics
    ///
    /// If the kernel begins to refuse the `membarrier` call that it granted at start-up (a
    /// seccomp filter installed late). Nothing is freed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// static ENABLED: AtomicBool = AtomicBool::new(true);
    ///
    /// ENABLED.store(false, Ordering::Relaxed);
    /// DOMAIN.synchronize();
    /// // Every section from now on sees `false`; none that saw `true` is still running.
    /// ```
    pub fn synchronize(&self) {
        let target = self.grace.snapshot();
        self.grace.wait(self, target);
    }

    /// How many grace periods of this domain have ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// let domain = Domain::new();
    /// domain.synchronize();
    /// assert_eq!(domain.grace_periods(), 1);
    /// ```
    pub fn grace_periods(&self) -> u64 {
        self.grace.completed()
    }
}

//! Passing the lock on: to whom, how it is told, how long the others spin.
//!
//! The argument is at the head of `raw.rs`.

use super::{FLAGS, LOCKED, LONGEST_SPIN, QUEUED, RawCohortMutex, STALE, one_more};
use crate::lock::cohort::Cohorts;
use crate::lock::cohort::queue::{AWAKE, COMPETE, GRANTED, Node, PARKED, Turn, coarse, passed};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{Choice, Ordering, nanos, wake};
use std::ptr::without_provenance_mut;

/// So many times the bound, and the next has the lock even if it does not run.
const LAST: u32 = if cfg!(stillpoint_loom) { 1 } else { 16 };
/// Passes between two looks at the arrivals: few, so that the next holder does not wait for that;
/// more than one, because each costs those who arrive the line of the door.
const SORTS_EVERY: u32 = 8;
/// What waiters spin becomes longer, by an eighth, as often as this.
const GROWS_EVERY: u64 = 1_000_000;
/// Who has the lock for longer than it takes to park and to wake is not worth spinning for, in
/// nanoseconds.
const LONG_HOLD: u64 = 20_000;
/// The shortest that a waiter spins.
const SHORTEST_SPIN: u32 = 4_000;

/// Whom the lock goes to, and how.
struct Next<'a> {
    node: &'a Node,
    how: How,
    /// To be woken besides.
    ahead: Option<&'a Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It runs.
    Run,
    /// It sleeps, or may; the lock waits for it.
    Hand,
    /// It sleeps, or may, and will have to compete.
    Free,
}

/// Whose the lock is to be.
enum Chosen<'a> {
    Nobody,
    Next(Next<'a>),
    /// Of whoever takes it first: all sleep, but one that was woken is on its way.
    OnItsWay,
}

impl<C: Cohorts> RawCohortMutex<C> {
    const TURN: Turn = Turn { passes: C::PASSES, nanos: C::NANOS, last: LAST, stale: STALE };

    /// Moves the arrivals into the lists. With the desk, while the lock is taken.
    pub(super) fn sort(&self) {
        let relaxed = broken(Mutant::RelaxedSort);
        // Acquire: partner is the release in `arrive`.
        let order = if relaxed { Ordering::Relaxed } else { Ordering::Acquire };
        let word = self.door.word.swap(without_provenance_mut(LOCKED | QUEUED), order);
        // SAFETY: the desk is ours, and nobody else has got these arrivals.
        unsafe {
            let home = self.desk.cohort.get();
            self.desk.lists.add_arrivals(word.map_addr(|a| a & !FLAGS), home);
        }
    }

    /// Gives up a lock that may have waiters. Fairly: it goes to whoever has waited longest.
    #[cold]
    pub(in crate::lock::cohort) fn pass_on(&self, fair: bool) {
        self.enter();
        let now = nanos();
        let next = loop {
            // SAFETY: the desk is ours.
            match unsafe { self.choose(now, fair) } {
                Chosen::Nobody if self.free(0) => return self.exit(),
                Chosen::OnItsWay if self.free(QUEUED) => return self.exit(),
                Chosen::Next(next)
                    if next.how != How::Free || self.free_with_waiters(next.node) =>
                {
                    break next;
                }
                // Somebody arrived.
                _ => self.sort(),
            }
        };
        // SAFETY: the desk is ours.
        unsafe { self.count(&next, now) };
        let ahead = next.ahead.filter(|node| {
            let order = Ordering::Relaxed;
            node.state().compare_exchange(PARKED, AWAKE, order, order).is_ok()
        });
        let (key, ahead) = (next.node.key(), ahead.map(Node::key));
        // SAFETY: the desk is ours; it is listed.
        let removal = unsafe { self.desk.lists.plan_removal(next.node) };
        let is_last = removal.is_last();
        let wakes = self.tell(&next);
        // SAFETY: the desk is ours; planned just now. The node may be gone, but is not touched.
        unsafe { self.desk.lists.remove_as_planned(removal) };
        if next.how != How::Free && (is_last || self.desk.passes.get().is_multiple_of(SORTS_EVERY))
        {
            // While the next holder is at its work.
            self.sort();
        }
        self.exit();
        if wakes {
            wake(key, |_| Choice::Wake, |_| 0);
        }
        if let Some(key) = ahead {
            wake(key, |_| Choice::Wake, |_| 0);
        }
    }

    /// Tells a waiter what has become of it. With this its node may be gone. True if it is to be
    /// woken.
    fn tell(&self, next: &Next<'_>) -> bool {
        let told = if next.how == How::Free { COMPETE } else { GRANTED };
        if told == COMPETE && broken(Mutant::NobodyCompetes) {
            return false;
        }
        if broken(Mutant::WakeBeforeGrant) {
            if next.node.state().load(Ordering::Relaxed) == PARKED {
                wake(next.node.key(), |_| Choice::Wake, |_| 0);
            }
            next.node.state().store(told, Ordering::Release);
            return false;
        }
        let relaxed = broken(Mutant::RelaxedGrant);
        // Release: partner is the acquire of the waiter.
        let order = if relaxed { Ordering::Relaxed } else { Ordering::Release };
        next.node.state().swap(told, order) == PARKED
    }

    /// Frees the word if nobody has arrived since it was sorted. With the desk.
    fn free(&self, kept: usize) -> bool {
        let (from, to) = (LOCKED | QUEUED, without_provenance_mut(kept));
        // Release: partner is the acquire of whoever takes it next.
        self.exchange(without_provenance_mut(from), to, Ordering::Release).is_ok()
    }

    /// The same while all but one of those in the lists go on waiting.
    fn free_with_waiters(&self, node: &Node) -> bool {
        // SAFETY: the desk is ours.
        let alone = unsafe { self.desk.lists.is_only(node) };
        self.free(if alone { 0 } else { QUEUED })
    }

    /// Whose the lock is next.
    unsafe fn choose<'a>(&self, now: u64, fair: bool) -> Chosen<'a> {
        let (desk, lists, turn) = (&self.desk, &self.desk.lists, Self::TURN);
        // SAFETY: all of it: the caller has the desk.
        unsafe {
            let passes = desk.passes.get();
            let nanos = now.saturating_sub(desk.since.get());
            let is_over = turn.is_over(passes, nanos) && !broken(Mutant::NoBound);
            let mut home = lists.group(desk.cohort.get());
            if is_over || fair || home.is_none() {
                self.sort();
                home = lists.group(desk.cohort.get());
            }
            if fair {
                return lists.oldest(now).map_or(Chosen::Nobody, |node| {
                    Chosen::Next(Next { node, how: How::Hand, ahead: None })
                });
            }
            let mut ahead = None;
            if let Some(front) = home {
                if is_over {
                    lists.send_back(front);
                } else {
                    let found = lists.runner(front, now, turn);
                    if let Some(node) = found.runner {
                        return Chosen::Next(Next { node, how: How::Run, ahead: found.ahead });
                    }
                    ahead = found.ahead;
                }
            }
            let is_long_over = is_over && turn.is_long_over(passes, nanos);
            let others = || lists.fronts().filter(|front| front.cohort() != desk.cohort.get());
            for front in others() {
                if is_long_over {
                    return Chosen::Next(Next { node: front, how: How::Hand, ahead });
                }
                let found = lists.runner(front, now, turn);
                if let Some(node) = found.runner {
                    return Chosen::Next(Next { node, how: How::Run, ahead });
                }
                ahead = ahead.or(found.ahead).or(is_over.then_some(front));
            }
            if let Some(front) = home.filter(|_| is_over) {
                if others().next().is_none() {
                    // Nobody else waits: another turn.
                    desk.passes.set(0);
                    desk.since.set(now);
                }
                if let Some(node) = lists.runner(front, now, turn).runner {
                    return Chosen::Next(Next { node, how: How::Run, ahead });
                }
            }
            // Nobody runs.
            let Some(front) = home.filter(|_| !is_over).or_else(|| lists.fronts().next()) else {
                return Chosen::Nobody;
            };
            let may_hand = passed(desk.handed.get(), now) >= turn.nanos;
            if may_hand && front.has_waited(now) >= turn.nanos {
                desk.handed.set(coarse(now));
                return Chosen::Next(Next { node: front, how: How::Hand, ahead: None });
            }
            if desk.is_woken.get() {
                return Chosen::OnItsWay;
            }
            Chosen::Next(Next { node: lists.sleeper(front), how: How::Free, ahead: None })
        }
    }

    /// Notes where the lock goes.
    unsafe fn count(&self, next: &Next<'_>, now: u64) {
        let desk = &self.desk;
        if next.how == How::Free {
            desk.is_woken.set(true);
        }
        // SAFETY: the caller has the desk.
        unsafe { desk.lists.note_passed(next.node, now) };
        if next.node.cohort() == desk.cohort.get() {
            desk.passes.set(desk.passes.get().saturating_add(1));
            one_more(&desk.local);
        } else {
            // SAFETY: as above.
            if let Some(front) = unsafe { desk.lists.group(desk.cohort.get()) } {
                // SAFETY: as above. Its next turn is after those of the others.
                unsafe { desk.lists.send_back(front) };
            }
            desk.cohort.set(next.node.cohort());
            desk.passes.set(0);
            desk.since.set(now);
            one_more(&desk.remote);
        }
        self.adapt(next.how, now);
    }

    /// Waiters are to spin for shorter if a holder had the lock for long, or was preempted, and
    /// else, from time to time, for longer.
    fn adapt(&self, how: How, now: u64) {
        let desk = &self.desk;
        let was_granted = desk.is_granted.replace(how == How::Run);
        let since = desk.granted.replace(coarse(now));
        let is_slow = was_granted && passed(since, now) > LONG_HOLD;
        if is_slow || passed(desk.grown.get(), now) >= GROWS_EVERY {
            desk.grown.set(coarse(now));
            let spin = self.door.spin_nanos.load(Ordering::Relaxed);
            self.set_spin(if is_slow { spin - spin / 4 } else { spin + spin / 8 });
        }
    }

    pub(super) fn set_spin(&self, nanos: u32) {
        let nanos = nanos.clamp(SHORTEST_SPIN, LONGEST_SPIN);
        // Those who arrive read it: no store without need.
        if nanos != self.door.spin_nanos.load(Ordering::Relaxed) {
            self.door.spin_nanos.store(nanos, Ordering::Relaxed);
        }
    }
}

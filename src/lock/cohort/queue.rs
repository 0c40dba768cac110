//! Who waits for a cohort lock: nodes, and the lists that they are in.
//!
//! A node lies on the stack of a thread that waits. It is one cache line, so that whoever passes
//! the lock on gets with one transfer what the waiter spins on and who comes next.
//!
//! The waiters of one cohort are a *group*: a list in the order of their coming. Its first node,
//! the *front*, also knows the last one, and the front of the next group. Groups are in the order
//! of their turns. So there are as many lists as there are cohorts that wait, without a table and
//! without a limit, and no waiter of another cohort is ever looked at twice to be passed over.
//!
//! [`Lists`] has no lock of its own: `mod.rs` says who may touch it, and why a node in it is alive.

use crate::sync::{AtomicPtr, AtomicU32, Cell, Ordering, Pace, const_unless_modelled};
use std::ptr::{null, null_mut, without_provenance_mut};

/// The waiter spins, or is about to; its `beat` tells whether it runs.
pub(super) const SPINNING: u32 = 0;
/// It is parked, or about to be.
pub(super) const PARKED: u32 = 1;
/// It was parked, and is told to spin again, because its turn comes.
pub(super) const AWAKE: u32 = 2;
/// It has the lock.
pub(super) const GRANTED: u32 = 3;
/// It is in no list any more; the lock was free.
pub(super) const COMPETE: u32 = 4;

/// So many waiters of a cohort are looked at to find one that runs.
const WINDOW: usize = 8;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the arrivals, or not there yet.
    Arriving,
    /// The first of a group.
    Front,
    /// Behind others of a group.
    Behind,
}

/// One thread that waits: one cache line.
#[repr(align(64))]
pub(super) struct Node {
    /// What the waiter spins on.
    state: AtomicU32,
    /// When it last looked.
    beat: AtomicU32,
    /// Who arrived before it; [`UNKNOWN`] until its thread has said so.
    before: AtomicPtr<Node>,
    /// Behind it in its group.
    next: Cell<*const Node>,
    /// Of a front, the last of its group; else the one before it in its group.
    back: Cell<*const Node>,
    /// Of a front only: the next group.
    next_group: Cell<*const Node>,
    /// Since when it waits.
    since: Cell<u32>,
    /// Of a front only: since when others of its group are preferred, and how often they were.
    passed_since: Cell<u32>,
    passed: Cell<u32>,
    cohort: u32,
    place: Cell<Place>,
}

#[cfg(not(stillpoint_loom))]
const _: () = assert!(size_of::<Node>() == 64);

/// Nobody has said yet who arrived before.
const UNKNOWN: usize = 1;

/// A time in units of 1,024 ns; wraps after more than an hour.
pub(super) fn coarse(now: u64) -> u32 {
    (now >> 10) as u32
}

/// A time that is later by less than this, about a second, has not come yet.
const EARLY: u32 = 1 << 20;

/// What has passed between two such times, in nanoseconds. Threads read the clock one after the
/// other, but not in the order in which they then come here: a time that is a little later than `now`
/// is not long ago. All else is past, until the times wrap.
pub(super) fn passed(since: u32, now: u64) -> u64 {
    let units = coarse(now).wrapping_sub(since);
    if units.wrapping_neg() < EARLY { 0 } else { u64::from(units) << 10 }
}

impl Node {
    pub(super) fn new(cohort: u32, now: u64) -> Node {
        Node {
            state: AtomicU32::new(SPINNING),
            beat: AtomicU32::new(coarse(now)),
            before: AtomicPtr::new(without_provenance_mut(UNKNOWN)),
            next: Cell::new(null()),
            back: Cell::new(null()),
            next_group: Cell::new(null()),
            since: Cell::new(coarse(now)),
            passed_since: Cell::new(0),
            passed: Cell::new(0),
            cohort,
            place: Cell::new(Place::Arriving),
        }
    }

    /// Prepares it to arrive again, with the time it has waited already.
    pub(super) fn renew(&self, now: u64) {
        self.before.store(without_provenance_mut(UNKNOWN), Ordering::Relaxed);
        self.state.store(SPINNING, Ordering::Relaxed);
        self.beat(now);
        self.place.set(Place::Arriving);
        self.passed.set(0);
    }

    pub(super) fn state(&self) -> &AtomicU32 {
        &self.state
    }

    /// Its thread runs now.
    pub(super) fn beat(&self, now: u64) {
        self.beat.store(coarse(now), Ordering::Relaxed);
    }

    /// Whether its thread spins, and has looked at most `stale` ago.
    fn runs(&self, now: u64, stale: u64) -> bool {
        self.state.load(Ordering::Relaxed) == SPINNING
            && passed(self.beat.load(Ordering::Relaxed), now) <= stale
    }

    pub(super) fn cohort(&self) -> u32 {
        self.cohort
    }

    pub(super) fn place(&self) -> Place {
        self.place.get()
    }

    /// The address that its thread parks at.
    pub(super) fn key(&self) -> *const () {
        (&raw const *self).cast()
    }

    /// Says who arrived before it; with that it can be moved into a list.
    pub(super) fn came_after(&self, before: *mut Node) {
        // Release: partner is the acquire in `before`.
        self.before.store(before, Ordering::Release);
    }

    /// Who arrived before it. Its thread is about to say so, if it has not.
    fn before(&self) -> *const Node {
        let mut pace = Pace::new();
        loop {
            // Acquire: partner is the release in `came_after`.
            let before = self.before.load(Ordering::Acquire);
            if before.addr() != UNKNOWN {
                return before;
            }
            pace.wait();
        }
    }

    pub(super) fn has_waited(&self, now: u64) -> u64 {
        passed(self.since.get(), now)
    }
}

/// The groups.
pub(super) struct Lists {
    /// The front of the group whose turn is next, or whose turn it is.
    first: Cell<*const Node>,
}

/// How to take a node out that may be gone by then.
pub(super) struct Removal {
    node: *const Node,
    is_front: bool,
    cohort: u32,
    next: *const Node,
    back: *const Node,
    next_group: *const Node,
}

impl Removal {
    /// Whether nobody comes behind it in its group.
    pub(super) fn is_last(&self) -> bool {
        self.next.is_null()
    }
}

/// What [`Lists::runner`] found in a group.
pub(super) struct Found<'a> {
    pub(super) runner: Option<&'a Node>,
    /// The front has been passed over for long: wake it, so that it runs when it is chosen next.
    pub(super) ahead: Option<&'a Node>,
}

/// After how many passes, or how much time, a turn is over; by the same measure a front has been
/// passed over for long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) passes: u32,
    pub(super) nanos: u64,
    /// So many times that, and who is next gets the lock even if it does not run.
    pub(super) last: u32,
    /// Who has not looked for so long does not run.
    pub(super) stale: u64,
}

impl Turn {
    /// Whether it is over.
    pub(super) fn is_over(self, passes: u32, nanos: u64) -> bool {
        passes >= self.passes || nanos >= self.nanos
    }

    /// Whether it must not go on.
    pub(super) fn is_long_over(self, passes: u32, nanos: u64) -> bool {
        let times = self.last;
        passes >= self.passes.saturating_mul(times)
            || nanos >= self.nanos.saturating_mul(times.into())
    }
}

/// # Safety
///
/// Of each method: the caller has the lists, and the links of all nodes, for itself; `raw.rs` says
/// who has. Then every node in them is alive, because its thread leaves only when it is in them no
/// more.
impl Lists {
    const_unless_modelled! {
        pub(super) const fn new() -> Lists {
            Lists { first: Cell::new(null_mut()) }
        }
    }

    /// The front of the group that comes next, or of the first one.
    unsafe fn after<'a>(&self, front: Option<&'a Node>) -> Option<&'a Node> {
        let at = front.map_or(&self.first, |node| &node.next_group);
        // SAFETY: listed nodes are alive; see above.
        unsafe { at.get().as_ref() }
    }

    pub(super) unsafe fn fronts<'a>(&self) -> impl Iterator<Item = &'a Node> {
        let mut at = None;
        std::iter::from_fn(move || {
            // SAFETY: the caller's promise.
            at = unsafe { self.after(at) };
            at
        })
    }

    pub(super) unsafe fn group<'a>(&self, cohort: u32) -> Option<&'a Node> {
        // SAFETY: the caller's promise.
        unsafe { self.fronts() }.find(|front| front.cohort() == cohort)
    }

    /// Whether nobody else is there.
    pub(super) unsafe fn is_only(&self, node: &Node) -> bool {
        std::ptr::eq(self.first.get(), node)
            && node.next.get().is_null()
            && node.next_group.get().is_null()
    }

    /// Where the pointer to that group is.
    unsafe fn pointer_to(&self, front: *const Node) -> &Cell<*const Node> {
        let mut at = &self.first;
        while at.get() != front {
            // SAFETY: listed nodes are alive; those before the front in the list are not null.
            at = unsafe { &(*at.get()).next_group };
        }
        at
    }

    /// Puts a node before its group.
    unsafe fn add_first(&self, node: &Node) {
        let mut at = &self.first;
        // SAFETY: listed nodes are alive.
        while let Some(front) = unsafe { at.get().as_ref() } {
            if front.cohort() == node.cohort() {
                node.next.set(front);
                node.back.set(front.back.get());
                node.next_group.set(front.next_group.get());
                node.place.set(Place::Front);
                front.place.set(Place::Behind);
                front.back.set(node);
                at.set(node);
                return;
            }
            at = &front.next_group;
        }
        node.next.set(null());
        node.back.set(node);
        node.next_group.set(null());
        node.place.set(Place::Front);
        at.set(node);
    }

    /// Puts a whole group behind that of its cohort. The group of `home` comes first, new ones
    /// last.
    unsafe fn add_group(&self, group: &Node, home: u32) {
        let mut at = &self.first;
        // SAFETY: listed nodes are alive.
        while let Some(front) = unsafe { at.get().as_ref() } {
            if front.cohort() == group.cohort() {
                let last = front.back.replace(group.back.get());
                group.back.set(last);
                group.place.set(Place::Behind);
                // SAFETY: as above.
                unsafe { &*last }.next.set(group);
                return;
            }
            at = &front.next_group;
        }
        if group.cohort() == home {
            at = &self.first;
        }
        group.next_group.set(at.get());
        at.set(group);
    }

    /// Takes a listed node out.
    pub(super) unsafe fn remove(&self, node: &Node) {
        // SAFETY: the caller's promise.
        unsafe { self.remove_as_planned(self.plan_removal(node)) };
    }

    /// All that there is to know of a listed node to take it out.
    pub(super) unsafe fn plan_removal(&self, node: &Node) -> Removal {
        Removal {
            node,
            is_front: node.place() == Place::Front,
            cohort: node.cohort(),
            next: node.next.get(),
            back: node.back.get(),
            next_group: node.next_group.get(),
        }
    }

    /// Takes a node out, without touching it.
    pub(super) unsafe fn remove_as_planned(&self, plan: Removal) {
        // SAFETY: listed nodes are alive.
        let next = unsafe { plan.next.as_ref() };
        if plan.is_front {
            // SAFETY: the caller's promise.
            let at = unsafe { self.pointer_to(plan.node) };
            let Some(next) = next else {
                at.set(plan.next_group);
                return;
            };
            next.place.set(Place::Front);
            // If it is the last, it is its own.
            next.back.set(plan.back);
            next.next_group.set(plan.next_group);
            at.set(next);
        } else {
            // SAFETY: as above.
            unsafe { &*plan.back }.next.set(plan.next);
            if let Some(next) = next {
                next.back.set(plan.back);
            // SAFETY: the caller's promise.
            } else if let Some(front) = unsafe { self.group(plan.cohort) } {
                front.back.set(plan.back);
            }
        }
    }

    /// Makes that group the last.
    pub(super) unsafe fn send_back(&self, front: &Node) {
        // SAFETY: the caller's promise; listed nodes are alive.
        unsafe {
            self.pointer_to(front).set(front.next_group.get());
            front.next_group.set(null());
            let mut at = &self.first;
            while let Some(node) = at.get().as_ref() {
                at = &node.next_group;
            }
            at.set(front);
        }
    }

    /// The first few of a group.
    unsafe fn window<'a>(&self, front: &'a Node) -> impl Iterator<Item = &'a Node> {
        // SAFETY: listed nodes are alive.
        let next = |node: &&'a Node| unsafe { node.next.get().as_ref() };
        std::iter::successors(Some(front), next).take(WINDOW)
    }

    /// The first of a group that runs, or its front if that has been passed over for too long.
    pub(super) unsafe fn runner<'a>(&self, front: &'a Node, now: u64, turn: Turn) -> Found<'a> {
        if front.runs(now, turn.stale) {
            return Found { runner: Some(front), ahead: None };
        }
        let times = front.passed.get();
        let nanos = if times == 0 { 0 } else { passed(front.passed_since.get(), now) };
        if turn.is_long_over(times, nanos) {
            return Found { runner: Some(front), ahead: None };
        }
        // SAFETY: the caller's promise.
        let runner = unsafe { self.window(front) }.skip(1).find(|node| node.runs(now, turn.stale));
        Found { runner, ahead: turn.is_over(times, nanos).then_some(front) }
    }

    /// One of a group that can be woken, or its front.
    pub(super) unsafe fn sleeper<'a>(&self, front: &'a Node) -> &'a Node {
        let parked = |node: &&Node| node.state.load(Ordering::Relaxed) == PARKED;
        // SAFETY: the caller's promise.
        unsafe { self.window(front) }.find(parked).unwrap_or(front)
    }

    /// Notes that `node` is preferred to its front.
    pub(super) unsafe fn note_passed(&self, node: &Node, now: u64) {
        if node.place() == Place::Front {
            return;
        }
        // SAFETY: the caller's promise.
        if let Some(front) = unsafe { self.group(node.cohort()) } {
            let times = front.passed.get();
            if times == 0 {
                front.passed_since.set(coarse(now));
            }
            front.passed.set(times.saturating_add(1));
        }
    }

    /// The one that has waited longest.
    pub(super) unsafe fn oldest<'a>(&self, now: u64) -> Option<&'a Node> {
        // SAFETY: the caller's promise. The longest wait in a group is its front's, but for those
        // that arrived again.
        unsafe { self.fronts() }.max_by_key(|front| front.has_waited(now))
    }

    /// Adds arrivals, of which `top` is the last. Each is visited once: their threads write to them
    /// all the time.
    pub(super) unsafe fn add_arrivals(&self, top: *const Node, home: u32) {
        let arrived = Lists::new();
        let mut at = top;
        // SAFETY: all of it: arrivals are alive as listed nodes are, and the caller took them for
        // itself; so are the new lists, and, by the caller's promise, the old.
        unsafe {
            while let Some(node) = at.as_ref() {
                at = node.before();
                arrived.add_first(node);
            }
            let mut group = arrived.first.get();
            while let Some(front) = group.as_ref() {
                group = front.next_group.get();
                self.add_group(front, home);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_ago_is_past() {
        let minute = 60_000_000_000_u64;
        for minutes in [1, 36, 37, 50, 73] {
            let now = minutes * minute;
            assert!(passed(0, now) > minutes * minute - 2048, "{minutes} minutes");
            assert_eq!(passed(coarse(now), now), 0);
            assert_eq!(passed(coarse(now + 5_000), now), 0, "a clock that is behind");
            assert!((9_000..11_000).contains(&passed(coarse(now), now + 10_000)));
        }
    }
}

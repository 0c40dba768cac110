//! Callbacks on their way: per CPU, four lists that take turns.
//!
//! # State
//!
//! A [`Bin`] per CPU (on the lower tiers: per shard), and bin 0 for those who cannot run a
//! sequence. In it, four lists in a ring. One is *active*: callbacks are pushed to it, on a CPU's
//! bin by sequence, elsewhere by compare-and-swap. Those behind it, from `oldest` on, are
//! *closed*, each with the number of the grace period that its callbacks wait for. Whoever holds
//! the bin's lock closes the active list, which makes the next one active if that is empty; and runs
//! the oldest list's callbacks once its number has come, one by one, each taken from the list before
//! it runs. Nothing is ever moved from list to list, and no list is ever taken as a whole while
//! somebody may push to it.
//!
//! # Why a list can be run
//!
//! *Nobody pushes to it any more.* Pushers find the active list inside a read-side critical section
//! of the domain, and push before it ends. The list is closed, and then the number `t` is taken,
//! of a grace period that starts later. When that has ended, every section that did not see the
//! closing has ended too, and what it pushed happened before. So nobody pushes to the list, and
//! all that was pushed is seen. This needs no aborts by broadcast, which some kernels may lose.
//!
//! *Nobody reads what it frees any more.* What a callback frees was unlinked before it was
//! pushed, hence before the end of `t`. So the grace period after `t`, which starts later, ends
//! after every section that could have seen it. That one's number is the list's.
//!
//! So callbacks wait for two grace periods, but since each grace period is the second of one
//! list and the first of the next, a steady stream costs one for each list.
//!
//! *No pusher meets a list that was emptied and became active again* between finding it and
//! pushing: that takes grace periods, for which its section is waited. So comparing the head's
//! address is enough: there is no ABA.
//!
//! # Counts
//!
//! Callbacks and bytes share one word, so counting both is one sequence: see [`Load`]. A push is
//! counted before it happens and a callback's end after it ran, so the difference never misses one.
//!
//! # Fork
//!
//! Every transition is the store of one word, in an order such that the child of a fork, which
//! may come between any two, runs no callback twice.

use super::engine::Engine;
use super::grace::Target;
use super::statistics::{Pending, add};
use crate::machine::Tier;
use crate::rseq::{RETRIES, word};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, Pace, thread_token};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic;

/// The active list, up to two that wait for a grace period, and one that is being run.
const LISTS: u32 = 4;
/// Callbacks of a bin after which a retirer looks what can be run.
const TEND_EVERY: u64 = if cfg!(stillpoint_loom) { 1 } else { 16 };
/// A list is closed when it holds so many callbacks …
const FULL_CALLBACKS: u64 = if cfg!(stillpoint_loom) { 1 } else { 1024 };
/// … or bytes.
const FULL_BYTES: u64 = 1 << 20;

/// The head of every callback; what to run stands behind it, in the same allocation.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Header {
    next: AtomicPtr<Header>,
    kind: &'static Kind,
}

/// What a callback is.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Frees the allocation that the header begins, and runs what is to run.
    pub(crate) run: unsafe fn(*mut Header),
    /// The bytes it holds.
    pub(crate) bytes: unsafe fn(*const Header) -> usize,
}

impl Header {
    pub(crate) fn new(kind: &'static Kind) -> Header {
        Header { next: AtomicPtr::new(std::ptr::null_mut()), kind }
    }

    /// Frees what the header begins, without a domain.
    ///
    /// # Safety
    ///
    /// It is what its kind says, and nobody else uses it.
    #[cfg(stillpoint_loom)]
    pub(crate) unsafe fn run(header: *mut Header) {
        // SAFETY: the caller's promise.
        unsafe { ((*header).kind.run)(header) }
    }
}

/// A number of callbacks and of bytes, in one word: 30 bits and, in units of 16 bytes, 34.
///
/// Sums and differences wrap around as a whole; they are right as long as what they stand for
/// is less than 2^29 callbacks and 256 GiB: half of the range is for differences below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load(u64);

const UNIT: u64 = 16;
const UNIT_BITS: u32 = 34;

impl Load {
    fn one(bytes: usize) -> Load {
        let most = (1 << UNIT_BITS) - 1;
        Load(1 << UNIT_BITS | (bytes as u64).div_ceil(UNIT).min(most))
    }

    fn callbacks(self) -> u64 {
        self.0 >> UNIT_BITS
    }

    fn bytes(self) -> u64 {
        (self.0 & ((1 << UNIT_BITS) - 1)) * UNIT
    }

    fn minus(self, other: Load) -> Load {
        Load(self.0.wrapping_sub(other.0))
    }
}

impl From<Load> for Pending {
    fn from(load: Load) -> Pending {
        // A sum that is taken while callbacks move may come out a little below zero.
        let load = if (load.0 as i64) < 0 { Load(0) } else { load };
        Pending { callbacks: load.callbacks(), bytes: load.bytes() }
    }
}

/// A CPU's callbacks, or a shard's.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Bin {
    /// Which of the lists is active. This line is what pushers touch.
    active: AtomicU32,
    /// The [`Load`] that was ever pushed.
    queued: AtomicU64,
    heads: [AtomicPtr<Header>; LISTS as usize],
    /// This line is the holder's.
    holder: Apart,
}

/// Stored to only by whoever holds the lock.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart {
    /// The token of the thread that holds the lock, or 0.
    lock: AtomicUsize,
    /// The oldest closed list; the active one if none is closed.
    oldest: AtomicU32,
    /// What each closed list waits for.
    due: [AtomicU64; LISTS as usize],
    /// `queued` when the active list became active.
    before: AtomicU64,
    /// The [`Load`] whose callbacks have run, and how many callbacks that were.
    done: AtomicU64,
    /// The [`Load`] of callbacks that are running; for the child of a fork.
    running: atomic::AtomicU64,
    ran: atomic::AtomicU64,
    /// What of it was [told](Hold::tell).
    told: atomic::AtomicU64,
    /// Raised by every holder, and what the reclaimer saw of it last.
    visits: atomic::AtomicU32,
    #[cfg(not(stillpoint_loom))]
    seen: atomic::AtomicU32,
}

fn load(word: &AtomicU64) -> Load {
    Load(word.load(Ordering::Relaxed))
}

impl Bin {
    fn head(&self, list: u32) -> &AtomicPtr<Header> {
        &self.heads[(list % LISTS) as usize]
    }

    /// What waits here. Sampled: never less than what is certain to wait.
    fn pending(&self) -> Load {
        // Acquire: partner is the release in `run_due`. `done` first: it never overtakes what we
        // then read of `queued`.
        let done = Load(self.holder.done.load(Ordering::Acquire));
        load(&self.queued).minus(done)
    }

    /// True if no callback is here.
    pub(super) fn is_empty(&self) -> bool {
        self.heads.iter().all(|head| head.load(Ordering::Relaxed).is_null())
    }

    /// Makes the counts fit the lists. In the child of a fork, which cut somebody short between
    /// the two.
    #[cfg(not(stillpoint_loom))]
    fn recount(&self) {
        // What the thread that forked is running has not been counted yet.
        let mut waiting = self.holder.running.load(Ordering::Relaxed);
        for head in &self.heads {
            let mut header = head.load(Ordering::Relaxed);
            // SAFETY: callbacks in the lists are alive, and no other thread is there to run them.
            while let Some(callback) = unsafe { header.as_ref() } {
                // SAFETY: as above.
                waiting = waiting.wrapping_add(unsafe { load_of(callback) }.0);
                header = callback.next.load(Ordering::Relaxed);
            }
        }
        let done = load(&self.queued).minus(Load(waiting));
        self.holder.done.store(done.0, Ordering::Relaxed);
    }

    /// The lock, unless somebody has it; the calling thread itself, if it runs a callback.
    pub(super) fn try_hold(&self) -> Option<Hold<'_>> {
        // Acquire: partner is the release of the unlock.
        let lock = &self.holder.lock;
        if lock.load(Ordering::Relaxed) != 0
            || lock
                .compare_exchange(0, thread_token(), Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return None;
        }
        self.holder.visits.fetch_add(1, Ordering::Relaxed);
        Some(Hold(self))
    }

    /// The lock. Waits while another thread has it, for as long as its callbacks take.
    pub(super) fn hold(&self) -> Hold<'_> {
        let mut pace = Pace::new();
        loop {
            match self.try_hold() {
                Some(hold) => return hold,
                None => pace.wait(),
            }
        }
    }

    /// True if the calling thread holds the lock: it is in a callback.
    pub(super) fn is_held_here(&self) -> bool {
        self.holder.lock.load(Ordering::Relaxed) == thread_token()
    }

    /// The lock, if nobody else has had it since the last call. For the reclaimer alone.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn try_hold_if_left_alone(&self) -> Option<Hold<'_>> {
        let (visits, seen) = (&self.holder.visits, &self.holder.seen);
        let now = visits.load(Ordering::Relaxed);
        if seen.swap(now, Ordering::Relaxed) != now {
            return None;
        }
        let hold = self.try_hold()?;
        // Its own visit does not count.
        seen.store(visits.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(hold)
    }
}

/// A bin, locked.
#[derive(Debug)]
pub(super) struct Hold<'b>(&'b Bin);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // Release: partner is the acquire in `try_hold`.
        self.0.holder.lock.store(0, Ordering::Release);
    }
}

impl Hold<'_> {
    fn active(&self) -> u32 {
        self.0.active.load(Ordering::Relaxed)
    }

    fn oldest(&self) -> u32 {
        self.0.holder.oldest.load(Ordering::Relaxed)
    }

    fn due(&self, list: u32) -> Target {
        Target::from_bits(self.0.holder.due[(list % LISTS) as usize].load(Ordering::Relaxed))
    }

    /// What the list that was closed last waits for, if one is closed.
    pub(super) fn newest_due(&self) -> Option<Target> {
        let active = self.active();
        (self.oldest() != active).then(|| self.due(active.wrapping_sub(1)))
    }

    /// True if something was pushed since the last list was closed.
    pub(super) fn has_active(&self) -> bool {
        !self.0.head(self.active()).load(Ordering::Relaxed).is_null()
    }

    /// True if the active list is long enough to be closed.
    fn is_full(&self) -> bool {
        let list = load(&self.0.queued).minus(load(&self.0.holder.before));
        list.callbacks() >= FULL_CALLBACKS || list.bytes() >= FULL_BYTES
    }

    /// Closes the active list, if the next one is free. True if it did.
    pub(super) fn close(&self, engine: &Engine) -> bool {
        let (bin, active) = (self.0, self.active());
        let next = active.wrapping_add(1);
        if next.wrapping_sub(self.oldest()) >= LISTS {
            return false;
        }
        bin.holder.before.store(load(&bin.queued).0, Ordering::Relaxed);
        // Relaxed: the fence in `snapshot` comes behind it. Partner: a pusher's section.
        bin.active.store(next, Ordering::Relaxed);
        let due = engine.grace.snapshot().next();
        bin.holder.due[(active % LISTS) as usize].store(due.bits(), Ordering::Relaxed);
        true
    }

    /// Runs callbacks that are due, until `enough` says, of how many have run, that it is; says how
    /// many.
    pub(super) fn run_due(&self, engine: &Engine, enough: impl Fn(u64) -> bool) -> u64 {
        let is_due = |list| {
            let due = self.due(list);
            let due = if broken(Mutant::EarlyTake) { due.previous() } else { due };
            engine.grace.has_reached(due) || broken(Mutant::EarlyCallback)
        };
        self.run(engine, enough, is_due)
    }

    /// [`run_due`](Hold::run_due) for those who do not tell what else has changed here.
    pub(super) fn run_due_and_tell(&self, engine: &Engine, enough: impl Fn(u64) -> bool) -> u64 {
        let ran = self.run_due(engine, enough);
        if ran != 0 {
            self.tell(&engine.outstanding);
        }
        ran
    }

    /// Runs callbacks of closed lists, oldest first, as long as `is_due` says so of a list, and
    /// `enough`, asked before each, does not; says how many.
    fn run(
        &self,
        engine: &Engine,
        enough: impl Fn(u64) -> bool,
        is_due: impl Fn(u32) -> bool,
    ) -> u64 {
        let mut ran = 0;
        loop {
            let oldest = self.oldest();
            if oldest == self.active() || !is_due(oldest) {
                return ran;
            }
            let head = self.0.head(oldest);
            // Relaxed: pushes came before the end of the grace period that `is_due` acquired.
            let mut header = head.load(Ordering::Relaxed);
            while !header.is_null() {
                if enough(ran) {
                    return ran;
                }
                // SAFETY: a callback of the list, which is ours alone: see the module's head.
                let next = unsafe { (*header).next.load(Ordering::Relaxed) };
                // Off the list first: it runs once, even if the process forks meanwhile.
                head.store(next, Ordering::Relaxed);
                if !broken(Mutant::LostCallback) || !ran.is_multiple_of(100) {
                    // SAFETY: as above; off the list, so this is the one call.
                    unsafe { self.call(engine, header) };
                }
                ran += 1;
                // Not `next`: if that callback dropped the domain, all others have run within it.
                header = head.load(Ordering::Relaxed);
            }
            if self.oldest() == oldest {
                self.0.holder.oldest.store(oldest.wrapping_add(1), Ordering::Relaxed);
            }
        }
    }

    /// Adds what changed here to a sum over all bins; gives the sum.
    fn tell(&self, outstanding: &atomic::AtomicU64) -> Pending {
        let now = self.0.pending();
        let told = Load(self.0.holder.told.swap(now.0, Ordering::Relaxed));
        let change = now.minus(told).0;
        Load(outstanding.fetch_add(change, Ordering::Relaxed).wrapping_add(change)).into()
    }

    /// Runs one callback.
    ///
    /// # Safety
    ///
    /// `header` begins a callback that was pushed, that nobody reads the subject of, and that is not
    /// run again.
    unsafe fn call(&self, engine: &Engine, header: *mut Header) {
        // SAFETY: the caller's promise.
        let (kind, load) = unsafe { ((*header).kind, load_of(header)) };
        let holder = &self.0.holder;
        // Within another one, if that dropped the domain.
        let outer = holder.running.load(Ordering::Relaxed);
        holder.running.store(outer.wrapping_add(load.0), Ordering::Relaxed);
        // SAFETY: as above.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| unsafe { (kind.run)(header) })) {
            add(&engine.counts.panics);
            engine.hooks.panicked(payload);
        }
        holder.running.store(outer, Ordering::Relaxed);
        let done = holder.done.load(Ordering::Relaxed).wrapping_add(load.0);
        // Release: partner is the acquire in `pending`.
        holder.done.store(done, Ordering::Release);
        holder.ran.store(holder.ran.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// # Safety
///
/// `header` begins a callback of its kind.
unsafe fn load_of(header: *const Header) -> Load {
    // SAFETY: the caller's promise.
    Load::one(unsafe { ((*header).kind.bytes)(header) })
}

impl Engine {
    /// What waits to be run.
    pub(super) fn pending(&self) -> Pending {
        Load(self.bins().iter().fold(0, |sum, bin| bin.pending().0.wrapping_add(sum))).into()
    }

    /// How many callbacks have run.
    pub(super) fn done(&self) -> u64 {
        self.bins().iter().map(|bin| bin.holder.ran.load(Ordering::Relaxed)).sum()
    }

    /// Puts one callback on the active list of some bin; gives that bin if it is time to look
    /// what can be run there. Inside a read-side critical section.
    ///
    /// # Safety
    ///
    /// `header` begins an allocation that its kind's `run` takes, on any thread, once.
    pub(super) unsafe fn push(&self, header: *mut Header) -> Option<&Bin> {
        // SAFETY: the caller's promise.
        let load = unsafe { load_of(header) };
        let bin = self.tally(load);
        // SAFETY: as above.
        unsafe { self.link(header) };
        let count = Load(bin.queued.load(Ordering::Relaxed)).callbacks();
        count.is_multiple_of(TEND_EVERY).then_some(bin)
    }

    /// One attempt after the other on the bin of the CPU it runs on, until `attempt` says that
    /// it counted. `None` if this thread must use a shared bin.
    fn on_cpu(&self, attempt: impl Fn(u32, &Bin) -> bool) -> Option<&Bin> {
        if self.tier() != Tier::Rseq {
            return None;
        }
        for _ in 0..RETRIES {
            let cpu = word::current_cpu().filter(|&cpu| cpu < self.slots())?;
            let bin = &self.bins()[cpu as usize + 1];
            if attempt(cpu, bin) {
                return Some(bin);
            }
        }
        None
    }

    /// Counts a callback.
    fn tally(&self, load: Load) -> &Bin {
        // SAFETY: the words of a CPU's bin are stored to only by sequences on that CPU.
        let by_sequence = self.on_cpu(|cpu, bin| unsafe { word::add(cpu, &bin.queued, load.0) });
        by_sequence.unwrap_or_else(|| {
            let bin = &self.bins()[self.shard()];
            bin.queued.fetch_add(load.0, Ordering::Relaxed);
            bin
        })
    }

    /// # Safety
    ///
    /// As for `push`.
    unsafe fn link(&self, header: *mut Header) {
        // SAFETY: until it is linked, the header is ours.
        let next = unsafe { &(*header).next };
        let by_sequence = self.on_cpu(|cpu, bin| {
            let head = bin.head(bin.active.load(Ordering::Relaxed));
            let top = head.load(Ordering::Relaxed);
            next.store(top, Ordering::Relaxed);
            // SAFETY: heads of a CPU's bin are stored to only by sequences on that CPU while they
            // can be found active by a section like the caller's.
            unsafe { word::replace(cpu, head, top, header) }
        });
        if by_sequence.is_some() {
            return;
        }
        let bin = &self.bins()[self.shard()];
        let head = bin.head(bin.active.load(Ordering::Relaxed));
        let mut top = head.load(Ordering::Relaxed);
        loop {
            next.store(top, Ordering::Relaxed);
            // Relaxed: the end of the caller's section releases.
            let linked =
                head.compare_exchange_weak(top, header, Ordering::Relaxed, Ordering::Relaxed);
            match linked {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// What a retirer does in passing: runs some callbacks that are due, closes the list if it
    /// is full, and advances the grace period that its closing waits for, as far as that goes.
    pub(super) fn tend(&self, bin: &Bin) {
        let Some(hold) = bin.try_hold() else { return };
        // Two for each that came, and a part of what had gathered: a backlog shrinks.
        let most = 2 * TEND_EVERY + bin.pending().callbacks() / 256;
        hold.run_due(self, |ran| ran == most);
        if hold.is_full() {
            hold.close(self);
        }
        // Only the first of the two that the newest list waits for. The second one begins when
        // the next list is closed: so each serves two lists.
        let wanted = hold.newest_due().map(Target::previous);
        let outstanding = hold.tell(&self.outstanding);
        drop(hold);
        self.counts.holds(outstanding);
        if let Some(wanted) = wanted {
            self.grace.advance(self, wanted);
        }
    }

    /// Closes what can be closed and runs what can be run, now, without waiting for readers, in
    /// the bins that `hold` gives. True if the grace periods that those wait for, and `wanted`, have
    /// ended.
    pub(super) fn drain_some<'e>(
        &'e self,
        mut wanted: Target,
        hold: impl Fn(&'e Bin) -> Option<Hold<'e>>,
        run: impl Fn(&Hold<'e>),
    ) -> bool {
        let holds = || self.bins().iter().filter(|bin| !bin.is_empty()).filter_map(&hold);
        for hold in holds() {
            run(&hold);
            if hold.has_active() {
                hold.close(self);
            }
            wanted = hold.newest_due().map_or(wanted, |due| wanted.max(due));
        }
        let reached = self.grace.advance(self, wanted);
        if reached {
            holds().for_each(|hold| run(&hold));
        }
        reached
    }

    /// Waits until everything that is queued now has run.
    pub(super) fn flush(&self) {
        let mut wanted = Target::NOW;
        for bin in self.bins() {
            loop {
                let hold = bin.hold();
                if !hold.has_active() || hold.close(self) {
                    wanted = hold.newest_due().map_or(wanted, |due| wanted.max(due));
                    break;
                }
                // Every other list is closed: the oldest must go first.
                let due = hold.due(hold.oldest());
                drop(hold);
                self.grace.wait(self, due, None);
                bin.hold().run_due_and_tell(self, |_| false);
            }
        }
        if !broken(Mutant::BarrierEarly) {
            self.grace.wait(self, wanted, None);
        }
        for bin in self.bins() {
            // Whoever ran callbacks until we get the lock has run them by now.
            bin.hold().run_due_and_tell(self, |_| false);
        }
    }

    /// Runs everything, whatever it waits for: nobody can be reading, or retire, any more.
    pub(super) fn run_all(&self) {
        for bin in self.bins() {
            // Held already, if a callback of this very bin dropped the domain.
            let mine = bin.is_held_here();
            let hold = if mine { Hold(bin) } else { bin.hold() };
            while !bin.is_empty() {
                hold.run(self, |_| false, |_| true);
                hold.close(self);
            }
            if mine {
                std::mem::forget(hold);
            }
        }
    }

    /// In the child of a fork: frees the locks of those who are gone. Their callbacks, if they
    /// were running one, have run as far as they will.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn unlock_after_fork(&self, certain: bool) {
        for bin in self.bins() {
            let gone = bin.holder.lock.load(Ordering::Relaxed) != 0 && !bin.is_held_here();
            if gone {
                bin.holder.running.store(0, Ordering::Relaxed);
                bin.holder.lock.store(0, Ordering::Relaxed);
            }
            if gone || !certain {
                bin.recount();
            }
        }
    }
}

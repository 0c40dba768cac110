//! The RCU domain: one broadcast per grace period.
//!
//! # State
//!
//! * **The gate**, a read-mostly line: the pointer to the current *phase* (0 or 1) of CPU 0's line,
//!   and how many CPUs have one. One load yields both the base of the counters and the phase.
//! * **The lines** ([`crate::rseq::reader::Line`]): per CPU, per phase, `entered` and `left`. A
//!   CPU's words are stored plainly and only by sequences on that CPU; line 0 takes the atomic
//!   counts of those who cannot run one. On the lower tiers there are no sequences: all lines are
//!   shards, all counts atomic.
//! * **The grace period's number** and its state, on other lines: [`super::grace`].
//!
//! All of it is the domain's [engine](super::engine), at an address that never changes.
//!
//! # A reader
//!
//! *enter*, one section: load the CPU number, check it against the bound, load the phase,
//! `entered[cpu] += 1`. The guard keeps where. *leave*, one section: if this is the CPU that
//! counted, `left += 1` beside it, release; else, out of line, another section: `left[cpu] += 1`
//! on whatever CPU it runs. A guard may end on any CPU and any thread, since only sums are ever
//! compared.
//!
//! *Fallback* (no registration, retries spent, or a lower tier): load the phase; add one to
//! `entered` of a shared line, atomically; [light fence](crate::machine::fence). Its end adds
//! one to `left` there.
//!
//! # A grace period
//!
//! Let `a` be the current phase, `b` the other.
//!
//! 1. One [heavy fence](crate::machine::fence): the broadcast.
//! 2. Wait until `b` is drained. It nearly always is.
//! 3. Make `b` the current phase: the *flip*.
//! 4. Wait until `a` is drained.
//!
//! A phase is *drained* when the sum of its `left` words (acquire), taken first, equals the
//! sum of its `entered` words, taken second.
//!
//! # Why that is enough
//!
//! Claim: every read-side critical section that does not see what the caller stored before has
//! ended when the grace period ends, and its accesses happen before that.
//!
//! *A section is seen, or sees.* It counts in `entered` and then loads; the caller stores, sends
//! the broadcast, and scans. By the contract of the fence, either the scan sees the count, or the
//! section's loads see the stores. Sections of the second kind need no waiting. It does not
//! matter in which phase a section of the first kind counted, nor how long ago it loaded the
//! phase: both phases are scanned after the broadcast.
//!
//! *Equality means empty.* Each `left` in the first sum has its `entered` in the second: the
//! `entered` came before the `left`, which was released, and we acquired it before we took the
//! second sum. So E - L is at least the number of sections that the scan sees and that have not
//! ended. If it is zero, there are none. The counters may move all the while.
//!
//! *Accesses come first.* `left` is a release and our sum of it acquires; so nothing that an ended
//! section did happens after the end of the grace period.
//!
//! *The flip is for progress only.* Readers that come in a stream could keep one phase from ever
//! being seen empty. After the flip they enter `b`; `a` can only be entered by sections that had
//! loaded the phase and not yet committed, one per CPU. This is why the phase is loaded in the
//! section that counts: a reader that loaded it earlier could come to the old phase hours later,
//! and stay. It is also why step 2 comes before step 3.
//!
//! One broadcast suffices where others need two or three, because `left` releases and because a
//! section needs no second look at anything. Nothing here needs the kernel to abort sections;
//! what needs it is that plain increments by several threads of one CPU do not get lost. In
//! particular the argument stands on kernels without "rseq: Protect event mask against membarrier
//! IPI", where one abort by a broadcast may be lost.
//!
//! Counters are 64 bits and compared for equality; to be misled, a scan would have to miss
//! exactly 2^64 sections.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | `entered += 1` in a section, then loads | plain | broadcast, then scan |
//! | `entered += 1` of a fallback, then light fence | relaxed | heavy fence, then scan |
//! | `left += 1` | release | acquire in the scan |
//! | phase | release, relaxed | publishes the lines; a load depends on it |
//!
//! The argument is checked by the models in `loom-tests`, which run this very code, and each
//! of its steps has a mutant that they catch.

use super::engine::{Engine, Settings};
use super::guard::ReadGuard;
use super::readers::Record;
use super::statistics::add;
use crate::machine::{Tier, fence, shape};
use crate::rseq::reader::{self, Gate, Mark, NO_CPU, Phase};
use crate::rseq::{RETRIES, sequences_may_work};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, Ordering, const_unless_modelled};
use std::fmt;
use std::ptr::NonNull;

/// A set of readers that grace periods wait for.
///
/// Most programs use the global one through the free functions of [`rcu`](crate::rcu). A
/// domain of one's own keeps its grace periods free of other people's long readers.
///
/// # Cost
///
/// `new` is `const`; counters and callback lists (384 bytes per possible CPU, up to four
/// times that below `Rseq`, and some 2 KiB, of which only the pages that are used are ever resident) are mapped on first use and unmapped by
/// `drop`. Nothing is registered per thread, and memory does not grow with threads.
///
/// A read-side critical section costs two restartable sequences, on x86-64 eleven plain
/// instructions to enter and five to leave: no atomic instruction, no fence, no system call. A grace
/// period costs one `membarrier` broadcast and two scans of the counters.
///
/// # Fork
///
/// The child of a `fork` can go on using the domain: readers of the parent's other threads are
/// not waited for, callbacks that were queued run in the child as well as in the parent (each has
/// its own copy of what they free), and a grace period in progress begins again. A task of
/// the parent that awaited one is woken by nobody in the child, and must be polled there. In the parent
/// nothing changes.
///
/// The thread that forks should hold no guard: in the child it protects nothing any more. It may be
/// dropped there; what was loaded under it must not be used. Callbacks that another thread of the
/// parent was running at that moment do not run in the child. A child that only executes another
/// program is not concerned by any of this. Between `vfork` and `exec`, call nothing here.
///
/// What else the child calls must bear it too. `std::thread::spawn` need not: where another thread of std's was just
/// beginning or ending when the parent forked, none begins in the child. The reclaimer does.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Domain;
///
/// static CONFIG: Domain = Domain::new();
///
/// let guard = CONFIG.read();
/// // … what is unlinked from now on stays valid here …
/// drop(guard);
/// CONFIG.synchronize();
/// ```
// Aligned: read all the time, and written once.
#[repr(align(64))]
pub struct Domain {
    /// The engine's gate, or the one in `settings`; until there is one, [`NO_GATE`] (in models,
    /// null).
    gate: AtomicPtr<Gate>,
    /// Null until the domain is used.
    engine: AtomicPtr<Engine>,
    settings: Settings,
}

/// The gate of all domains that have no engine yet: turns every sequence away.
#[cfg(not(stillpoint_loom))]
static NO_GATE: Gate = super::engine::closed_gate();

#[cfg(not(stillpoint_loom))]
const fn gate_before_use(settings: &Settings) -> *const Gate {
    match settings.gate {
        Some(gate) => gate,
        None => &NO_GATE,
    }
}

#[cfg(stillpoint_loom)]
fn gate_before_use(_: &Settings) -> *const Gate {
    std::ptr::null()
}

impl Domain {
    const_unless_modelled! {
        pub(super) const fn with(settings: Settings) -> Domain {
            let gate = gate_before_use(&settings).cast_mut();
            let engine = AtomicPtr::new(std::ptr::null_mut());
            Domain { gate: AtomicPtr::new(gate), engine, settings }
        }
    }

    const_unless_modelled! {
        /// A domain of the process's tier. Allocates nothing; can stand in a `static`.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::Domain;
        /// static DOMAIN: Domain = Domain::new();
        /// assert_eq!(DOMAIN.grace_periods(), 0);
        /// ```
        #[must_use]
        pub const fn new() -> Domain {
            Domain::with(Settings::DEFAULT)
        }
    }

    /// The tier this domain works on. Never changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// assert_eq!(Domain::global().tier(), stillpoint::machine().tier());
    /// ```
    pub fn tier(&self) -> Tier {
        shape(self.settings.ceiling).tier
    }

    /// The name it was [given](super::DomainBuilder::name), or nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Domain;
    /// assert_eq!(Domain::global().name(), "global");
    /// assert_eq!(Domain::new().name(), "");
    /// ```
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    /// The gate, of the engine or of none. In models, there may be none.
    #[inline(always)]
    fn gate(&self) -> Option<&Gate> {
        // Relaxed: all use of the engine depends on this address.
        let gate = self.gate.load(Ordering::Relaxed);
        // SAFETY: `NO_GATE`, or the first field of an engine, which lives as long as the domain.
        (cfg!(not(stillpoint_loom)) || !gate.is_null()).then(|| unsafe { &*gate })
    }

    /// The engine, if there is one.
    #[inline]
    pub(super) fn engine_if_used(&self) -> Option<&Engine> {
        // Acquire: partner is the release in `make_engine`.
        // SAFETY: null, or an engine that lives as long as the domain.
        unsafe { self.engine.load(Ordering::Acquire).as_ref() }
    }

    /// The engine, made now if there was none.
    #[inline]
    pub(super) fn engine(&self) -> &Engine {
        match self.engine_if_used() {
            Some(engine) => engine,
            None => self.make_engine(),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_engine(&self) -> &Engine {
        match self.publish() {
            Ok(engine) => {
                self.open(engine);
                engine
            }
            Err(other) => other,
        }
    }

    /// Makes an engine, which is the domain's then; or tells that it has another one.
    pub(super) fn publish(&self) -> Result<&Engine, &Engine> {
        let fresh = Engine::create(&self.settings);
        // Before anybody can use it: the child of a fork must find it, and so must a session of the
        // reclaimer that ends.
        #[cfg(not(stillpoint_loom))]
        super::registry::add(fresh);
        // Release: the engine comes first. Partner: the acquire in `engine_if_used`.
        let winner = self.engine.compare_exchange(
            std::ptr::null_mut(),
            fresh,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if let Err(winner) = winner {
            // SAFETY: made above; no domain has it.
            #[cfg(not(stillpoint_loom))]
            unsafe {
                super::registry::give_up(fresh);
            }
            // SAFETY: as above, and nobody else has seen it.
            #[cfg(stillpoint_loom)]
            unsafe {
                Engine::release(fresh);
            }
            // SAFETY: the domain's engine, which lives as long as the domain.
            return Err(unsafe { &*winner });
        }
        // SAFETY: as above.
        Ok(unsafe { &*fresh })
    }

    /// Lets readers in, by sequences too: the engine is published.
    fn open(&self, engine: &Engine) {
        engine.open();
        // Release: readers depend on the address.
        self.gate.store(std::ptr::from_ref(engine.gate()).cast_mut(), Ordering::Release);
    }

    /// Whether that has been done.
    #[cfg(not(stillpoint_loom))]
    fn is_open(&self, engine: &Engine) -> bool {
        // Relaxed: it decides only whether to do it again.
        let gate = self.gate.load(Ordering::Relaxed);
        std::ptr::eq(gate, engine.gate()) && engine.gate().slots.load(Ordering::Relaxed) != 0
    }

    /// Begins a read-side critical section, which lasts until the guard is dropped.
    ///
    /// Never blocks and never fails. Sections nest freely and may overlap in any order. May be
    /// called in signal handlers, in thread-local destructors, and by threads the library has
    /// never seen.
    ///
    /// A grace period that starts while the guard is alive does not end before it is dropped. So,
    /// with a guard of this domain alive, the same thread must not call
    /// [`synchronize`](Domain::synchronize), [`barrier`](Domain::barrier) or
    /// [`throttle`](Domain::throttle): it would wait for itself for ever. (In a build with debug
    /// assertions, or with feature `debug-readers`, these panic instead, and name both
    /// places.) Nor may it wait for another thread that does. Forgetting a guard
    /// ([`std::mem::forget`]) is sound and stops the domain's grace periods for good.
    ///
    /// # Ordering
    ///
    /// For each grace period, one of two holds: either the section sees everything that happened
    /// before the grace period began, or everything the section did happens before it ends.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::{Domain, RcuCell};
    ///
    /// static DOMAIN: Domain = Domain::new();
    /// let cell = RcuCell::new_in(1, &DOMAIN);
    /// let guard = DOMAIN.read();
    /// let value = cell.load(&guard);
    /// cell.store(2);
    /// assert_eq!(*value, 1); // as long as the guard lives
    /// ```
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub fn read(&self) -> ReadGuard<'_> {
        // SAFETY: the gate of an engine, whose lines are mapped as long as it is, which is until
        // the domain is dropped; the guard's borrow prevents that. Or that of none, with the
        // bound 0.
        let entered = self.gate().and_then(|gate| unsafe { reader::enter(gate) });
        self.entered(entered)
    }

    /// [`read`](Domain::read) for callers who know where the gate is: one load less.
    ///
    /// # Safety
    ///
    /// `gate` is the one in the domain's settings.
    #[cfg(not(stillpoint_loom))]
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    pub(super) unsafe fn read_through(&self, gate: &'static Gate) -> ReadGuard<'_> {
        // SAFETY: as in `read`.
        self.entered(unsafe { reader::enter(gate) })
    }

    /// The guard of a section that one attempt may have counted.
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    fn entered(&self, entered: Option<Mark>) -> ReadGuard<'_> {
        let mark = match entered {
            Some(mark) => mark,
            None => self.enter_cold(),
        };
        // SAFETY: `mark` counts one entry, which this guard ends.
        unsafe { ReadGuard::new(self, mark, self.record()) }
    }

    /// What is known of a section that was just entered, for reports.
    #[inline(always)]
    #[cfg_attr(any(debug_assertions, feature = "debug-readers"), track_caller)]
    fn record(&self) -> Record {
        if Record::IS_KEPT { Record::new(self.engine()) } else { Record::NONE }
    }

    /// Ends the section that `mark` counts.
    ///
    /// # Safety
    ///
    /// `mark` came from this domain, and is left once.
    #[inline(always)]
    pub(super) unsafe fn leave(&self, mark: Mark) {
        // SAFETY: the caller's promise, and as in `read`.
        if !unsafe { reader::leave_here(mark) } {
            self.leave_cold(mark);
        }
    }

    /// What *enter* does when one attempt at the sequence did not count.
    #[cold]
    #[inline(never)]
    fn enter_cold(&self) -> Mark {
        let engine = self.engine();
        // Whoever published it may never have come to this, as a thread of the parent of a fork.
        #[cfg(not(stillpoint_loom))]
        if engine.tier() == Tier::Rseq && !self.is_open(engine) {
            self.open(engine);
        }
        engine.enter()
    }

    /// What *leave* does when the section did not end where it began, or not at the first attempt.
    #[cold]
    #[inline(never)]
    fn leave_cold(&self, mark: Mark) {
        self.engine().leave(mark);
    }
}

impl Engine {
    /// Enters, by repeated sequences or atomically.
    fn enter(&self) -> Mark {
        if self.tier() == Tier::Rseq {
            for _ in 0..RETRIES {
                if !sequences_may_work(self.slots()) {
                    break;
                }
                // SAFETY: the gate describes the engine's lines.
                if let Some(mark) = unsafe { reader::enter(self.gate()) } {
                    return mark;
                }
                add(&self.counts.retries);
            }
        }
        // The fallback: counts in a line that is never stored to plainly.
        let phase = &self.lines()[self.shard()].phases[self.current_phase()];
        // Relaxed: ordered by the light fence. Partner: the grace period's heavy fence.
        phase.entered.fetch_add(1, Ordering::Relaxed);
        if !broken(Mutant::NoLightFence) {
            fence::light(self.tier());
        }
        Mark { phase: NonNull::from(phase), cpu: NO_CPU }
    }

    /// Leaves, on whatever CPU, or atomically.
    fn leave(&self, mark: Mark) {
        if self.tier() == Tier::Rseq {
            for _ in 0..RETRIES {
                if !sequences_may_work(self.slots()) {
                    break;
                }
                // SAFETY: the caller's mark, of this engine; nothing was counted yet.
                if unsafe { reader::leave(self.gate(), mark) } {
                    return;
                }
            }
        }
        // SAFETY: a phase of the line that counted, or of line 0, where no sequence stores; the
        // lines live as long as the engine.
        let phase = unsafe { &*mark.atomic_phase() };
        // Release: partner is the acquire in `is_drained`.
        let order =
            if broken(Mutant::RelaxedLeave) { Ordering::Relaxed } else { Ordering::Release };
        phase.left.fetch_add(1, order);
    }

    /// True if every section counted in this phase has left it.
    pub(super) fn is_drained(&self, phase: usize) -> bool {
        broken(Mutant::NoWait) || self.sections_in(phase) == 0
    }

    /// How many sections counted in this phase have not left it: zero only if there are none;
    /// else a guess, since they come and go while it is made.
    pub(super) fn sections_in(&self, phase: usize) -> u64 {
        let counts = || self.lines().iter().map(move |line| &line.phases[phase]);
        // Acquire: partner is the release of each leave. It also keeps the second sum second, whose
        // loads need no order of their own.
        let left = || counts().fold(0, |n: u64, c| n.wrapping_add(c.left.load(Ordering::Acquire)));
        let entered =
            || counts().fold(0, |n: u64, c| n.wrapping_add(c.entered.load(Ordering::Relaxed)));
        if broken(Mutant::EntersBeforeLeaves) {
            let entered = entered();
            return entered.wrapping_sub(left());
        }
        let left = left();
        entered().wrapping_sub(left)
    }

    /// The current phase's index. Which one it is orders nothing.
    pub(super) fn current_phase(&self) -> usize {
        let phase = self.gate().phase.load(Ordering::Relaxed);
        usize::from(!std::ptr::eq(phase, &raw const self.lines()[1].phases[0]))
    }

    /// Makes `phase` the current one. Called with the grace period's lock held.
    pub(super) fn flip_to(&self, phase: usize) {
        let phase: *const Phase = &raw const self.lines()[1].phases[phase];
        // Release: hands the lines on to readers who meet this store first.
        self.gate().phase.store(phase.cast_mut(), Ordering::Release);
    }
}

impl Drop for Domain {
    /// Runs every pending callback, at once: no guard borrows the domain any more, so nobody can
    /// reach what they free. Callbacks have no way to queue more. Waits for callbacks that the
    /// reclaimer is running.
    fn drop(&mut self) {
        // Relaxed: `&mut self` came here after all use.
        let engine = self.engine.load(Ordering::Relaxed);
        if engine.is_null() {
            return;
        }
        #[cfg(not(stillpoint_loom))]
        super::registry::remove(engine);
        // SAFETY: the domain's own reference keeps it alive, and is given back once.
        unsafe {
            (*engine).run_all();
            #[cfg(not(stillpoint_loom))]
            super::readers::forget(&*engine);
            Engine::release(engine);
        }
    }
}

impl Default for Domain {
    fn default() -> Domain {
        Domain::new()
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("name", &self.settings.name)
            .field("ceiling", &self.settings.ceiling)
            .field("grace_periods", &self.grace_periods())
            .field("pending", &self.pending())
            .finish()
    }
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;

    /// A fork may come before it; the child's readers do it.
    #[test]
    fn what_was_published_is_opened() {
        let domain = Domain::new();
        let engine = domain.publish().ok().unwrap();
        assert!(!domain.is_open(engine));
        let listed = || super::super::registry::all();
        assert!(listed().iter().any(|found| std::ptr::eq(&**found, engine)));
        drop(domain.read());
        assert_eq!(domain.is_open(engine), domain.tier() == Tier::Rseq);
        let period = domain.start_poll();
        let guard = domain.read();
        assert!(!domain.start_poll().is_complete());
        drop(guard);
        period.wait();
    }
}

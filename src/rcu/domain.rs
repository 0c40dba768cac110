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

use super::callbacks::Callbacks;
use super::grace::Grace;
use super::guard::ReadGuard;
use super::lines::{Line, Lines};
use crate::machine::{Shape, Tier, fence, shape};
use crate::rseq::reader::{self, Gate, Mark, NO_CPU, Phase};
use crate::sync::mutant::{Mutant, broken};
use crate::sync::{AtomicPtr, AtomicU32, Ordering, const_unless_modelled, thread_token};
use std::fmt;
use std::ptr::NonNull;

/// How often the cold paths try a sequence before they count atomically. Under a debugger's
/// single step, or a timer faster than a section, no attempt ever succeeds.
const RETRIES: u32 = 8;

/// A set of readers that grace periods wait for.
///
/// Most programs use the global one through the free functions of [`rcu`](crate::rcu). A
/// domain of one's own keeps its grace periods free of other people's long readers.
///
/// # Cost
///
/// `new` is `const`; the counters (128 bytes per possible CPU, rounded up to pages) are mapped on
/// first use and unmapped by `drop`. Nothing is registered per thread, and memory does not grow
/// with threads.
///
/// A read-side critical section costs two restartable sequences, on x86-64 ten plain instructions
/// to enter and six to leave: no atomic instruction, no fence, no system call. A grace period
/// costs one `membarrier` broadcast and two scans of the counters.
///
/// # Fork
///
/// A child of `fork` inherits the counters. If other threads of the parent were reading at that
/// moment, the child's grace periods never end, since those readers do not exist there. A child
/// that only executes another program is not concerned. Between `vfork` and `exec`, call nothing
/// here.
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
#[repr(C)]
pub struct Domain {
    gate: Apart<Shared>,
    pub(super) grace: Apart<Grace>,
    pub(super) callbacks: Apart<Callbacks>,
}

/// On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Apart<T>(T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The read-mostly line.
#[repr(C)]
struct Shared {
    gate: Gate,
    lines: Lines,
    ceiling: Tier,
}

/// Settings of a new [`Domain`].
///
/// # Examples
///
/// ```
/// use stillpoint::Tier;
/// use stillpoint::rcu::Domain;
///
/// // A domain for tests of the portable path, whatever the machine has.
/// static PORTABLE: Domain = Domain::builder().tier(Tier::Fence).build();
/// assert_eq!(PORTABLE.tier(), Tier::Fence);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DomainBuilder {
    ceiling: Tier,
}

impl DomainBuilder {
    /// Forces a tier no higher than this one. The process's own tier
    /// ([`Machine::tier`](crate::Machine::tier)) bounds it as well.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{Tier, rcu::Domain};
    /// let domain = Domain::builder().tier(Tier::Membarrier).build();
    /// assert!(domain.tier() <= Tier::Membarrier);
    /// ```
    pub const fn tier(mut self, highest: Tier) -> DomainBuilder {
        self.ceiling = highest;
        self
    }

    const_unless_modelled! {
        /// The domain. Allocates nothing.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::Domain;
        /// let domain = Domain::builder().build();
        /// domain.synchronize();
        /// ```
        #[must_use]
        pub const fn build(self) -> Domain {
            Domain {
                gate: Apart(Shared {
                    gate: Gate {
                        phase: AtomicPtr::new(std::ptr::null_mut()),
                        slots: AtomicU32::new(0),
                    },
                    lines: Lines::new(),
                    ceiling: self.ceiling,
                }),
                grace: Apart(Grace::new()),
                callbacks: Apart(Callbacks::new()),
            }
        }
    }
}

impl Domain {
    const_unless_modelled! {
        /// A domain of the process's tier. Allocates nothing; can stand in a `static`.
        ///
        /// # Examples
        ///
        /// ```
        /// use stillpoint::rcu::Domain;
        /// static DOMAIN: Domain = Domain::new();
        /// assert_eq!(DOMAIN.pending(), 0);
        /// ```
        #[must_use]
        pub const fn new() -> Domain {
            Domain::builder().build()
        }
    }

    /// Settings for a domain that differs from [`Domain::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::{Tier, rcu::Domain};
    /// static FENCES_ONLY: Domain = Domain::builder().tier(Tier::Fence).build();
    /// ```
    pub const fn builder() -> DomainBuilder {
        DomainBuilder { ceiling: Tier::Rseq }
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
        self.shape().tier
    }

    /// Begins a read-side critical section, which lasts until the guard is dropped.
    ///
    /// Never blocks and never fails. Sections nest freely and may overlap in any order. May be
    /// called in signal handlers, in thread-local destructors, and by threads the library has
    /// never seen.
    ///
    /// A grace period that starts while the guard is alive does not end before it is dropped. So,
    /// with a guard of this domain alive, the same thread must not call
    /// [`synchronize`](Domain::synchronize) or [`barrier`](Domain::barrier): it would wait for
    /// itself for ever. Nor may it wait for another thread that does. Forgetting a guard
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
    pub fn read(&self) -> ReadGuard<'_> {
        // SAFETY: the gate's bound is nonzero only after `Lines` mapped that many lines behind
        // line 0 and the phase pointer to it was published. They are unmapped when the
        // domain is dropped, which the guard's borrow prevents.
        let mark = match unsafe { reader::enter(&self.gate.gate) } {
            Some(mark) => mark,
            None => self.enter_cold(),
        };
        // SAFETY: `mark` counts one entry, which this guard ends.
        unsafe { ReadGuard::new(self, mark) }
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

    #[inline]
    fn shape(&self) -> Shape {
        shape(self.gate.ceiling)
    }

    /// The lines, mapped now if they were not before, and the shape they have.
    pub(super) fn lines(&self) -> (Shape, &[Line]) {
        let shape = self.shape();
        let lines = self.gate.lines.get(shape);
        let gate = &self.gate.gate;
        // Acquire: whoever published the phase had the lines.
        if gate.phase.load(Ordering::Acquire).is_null() {
            let first: *const Phase = &raw const lines[1].phases[0];
            // Release: the zeroed lines come first. Only the first can succeed; the phase
            // is never null again.
            let _ = gate.phase.compare_exchange(
                std::ptr::null_mut(),
                first.cast_mut(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if shape.tier == Tier::Rseq {
                // Release: after the phase, as the sequences expect. The same value from everyone.
                gate.slots.store(shape.slots, Ordering::Release);
            }
        }
        (shape, lines)
    }

    /// What *enter* does when one attempt at the sequence did not count.
    #[cold]
    #[inline(never)]
    fn enter_cold(&self) -> Mark {
        let (shape, lines) = self.lines();
        if shape.tier != Tier::Rseq {
            // A shard of its own for most threads; any would do. The top half of the product
            // scales the hash to the number of lines.
            let hash = (thread_token() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let line = (hash * lines.len() as u64) >> 32;
            return self.enter_atomically(shape.tier, lines, line as usize);
        }
        for _ in 0..RETRIES {
            if !sequences_may_work(shape.slots) {
                break;
            }
            // SAFETY: as in `read`.
            if let Some(mark) = unsafe { reader::enter(&self.gate.gate) } {
                return mark;
            }
        }
        self.enter_atomically(shape.tier, lines, 0)
    }

    /// The fallback: counts in a line that is never stored to plainly.
    fn enter_atomically(&self, tier: Tier, lines: &[Line], line: usize) -> Mark {
        let phase = &lines[line].phases[self.current_phase(lines)];
        // Relaxed: ordered by the light fence. Partner: the grace period's heavy fence.
        phase.entered.fetch_add(1, Ordering::Relaxed);
        if !broken(Mutant::NoLightFence) {
            fence::light(tier);
        }
        Mark { phase: NonNull::from(phase), cpu: NO_CPU }
    }

    /// What *leave* does when the section did not end where it began, or not at the first attempt.
    #[cold]
    #[inline(never)]
    fn leave_cold(&self, mark: Mark) {
        let shape = self.shape();
        if shape.tier == Tier::Rseq {
            for _ in 0..RETRIES {
                if !sequences_may_work(shape.slots) {
                    break;
                }
                // SAFETY: as in `leave`; nothing was counted yet.
                if unsafe { reader::leave(&self.gate.gate, mark) } {
                    return;
                }
            }
        }
        // SAFETY: a phase of the line that counted, or of line 0, where no sequence stores; the
        // lines live as long as the domain.
        let phase = unsafe { &*mark.atomic_phase() };
        // Release: partner is the acquire in `drained`.
        let order =
            if broken(Mutant::RelaxedLeave) { Ordering::Relaxed } else { Ordering::Release };
        phase.left.fetch_add(1, order);
    }

    /// True if every section counted in this phase has left it.
    pub(super) fn drained(&self, lines: &[Line], phase: usize) -> bool {
        let counts = || lines.iter().map(move |line| &line.phases[phase]);
        // Acquire: partner is the release of each leave. It also keeps the second sum second.
        let left = || counts().fold(0, |n: u64, c| n.wrapping_add(c.left.load(Ordering::Acquire)));
        let entered =
            || counts().fold(0, |n: u64, c| n.wrapping_add(c.entered.load(Ordering::Acquire)));
        if broken(Mutant::NoWait) {
            return true;
        }
        if broken(Mutant::EntersBeforeLeaves) {
            let entered = entered();
            return left() == entered;
        }
        let left = left();
        left == entered()
    }

    /// The current phase's index. Which one it is orders nothing.
    pub(super) fn current_phase(&self, lines: &[Line]) -> usize {
        let phase = self.gate.gate.phase.load(Ordering::Relaxed);
        usize::from(!std::ptr::eq(phase, &raw const lines[1].phases[0]))
    }

    /// Makes `phase` the current one. Called with the grace period's lock held.
    pub(super) fn flip_to(&self, lines: &[Line], phase: usize) {
        let phase: *const Phase = &raw const lines[1].phases[phase];
        // Release: hands the lines on to readers who meet this store first. Partner: their load of
        // the phase, on whose address all they do with the lines depends.
        self.gate.gate.phase.store(phase.cast_mut(), Ordering::Release);
    }
}

/// False if this thread cannot be registered, or runs on a CPU without a line: another attempt
/// would be in vain.
#[cfg(stillpoint_sections)]
fn sequences_may_work(slots: u32) -> bool {
    use crate::rseq::area;
    area::ensure_registered() && area::cpu_id().is_some_and(|cpu| cpu < slots)
}

#[cfg(not(stillpoint_sections))]
fn sequences_may_work(_: u32) -> bool {
    cfg!(stillpoint_loom)
}

impl Default for Domain {
    fn default() -> Domain {
        Domain::new()
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("ceiling", &self.gate.ceiling)
            .field("grace_periods", &self.grace.completed())
            .field("pending", &self.callbacks.pending())
            .finish()
    }
}

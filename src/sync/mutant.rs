//! Switches that break the library on purpose, to prove that its tests can fail.
//!
//! They exist only under `cfg(stillpoint_mutants)`, which the test packages' build scripts
//! set; elsewhere [`broken`] is the constant `false` and every switch folds away.

/// One deliberate defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[cfg_attr(
    not(stillpoint_mutants),
    allow(dead_code, unreachable_pub, reason = "only the test packages choose one")
)]
pub enum Mutant {
    /// The library as shipped.
    None,
    /// A grace period sends no broadcast.
    NoBroadcast,
    /// A grace period waits for nobody.
    NoWait,
    /// A grace period waits for the current phase without leaving it first.
    NoFlip,
    /// A reader loads the phase before its section begins.
    PhaseOutsideSection,
    /// A fallback reader does not fence after counting.
    NoLightFence,
    /// A scan sums `entered` before `left`.
    EntersBeforeLeaves,
    /// A grace period does not wait for the phase that was not current when it began.
    SkipOtherPhase,
    /// A cell publishes its pointer with a relaxed store.
    RelaxedPublish,
    /// A reader's end does not release.
    RelaxedLeave,
    /// The number of a period that begins does not hand on the end of the one before.
    RelaxedBegin,
    /// `synchronize` takes the period in progress for its own.
    NoRoundUp,
    /// A callback runs before its grace period.
    EarlyCallback,
    /// A list of callbacks counts as due after the first of its two grace periods.
    EarlyTake,
    /// A callback is pushed outside of a read-side critical section.
    PushOutsideSection,
    /// `barrier` does not wait for the last grace period.
    BarrierEarly,
    /// A cookie counts as complete one grace period too soon.
    PollEarly,
    /// One callback in a hundred is taken off its list and never run.
    LostCallback,
    /// A reader of a lock looks at the gate once, before its section begins.
    BiasOutsideSection,
    /// A reader of a lock does not look at the gate again behind its section.
    NoSecondLook,
    /// A reader that ends looks for a writer to wake before its slot is free.
    WakeBeforeSlot,
    /// Whoever opens a lock's gate does not release.
    RelaxedOpen,
    /// A writer that waited in vain leaves the gate closed as if no reader were there.
    ForgottenReaders,
    /// An addition to a part looks at the number of its CPU, and is no section.
    PartOutsideSection,
    /// An exact sum loads the rest before the parts are closed.
    RestFirst,
    /// An exact sum adds the parts up once.
    OneCollect,
    /// Neither is a CPU's part stopped nor its other list put in use.
    NoStop,
    /// A stop sends one broadcast although the kernel may lose its abort.
    OneBroadcast,
    /// A stop that ends does not release.
    RelaxedRestart,
    /// A sequence looks at the word that says whether its part is stopped before its section
    /// begins.
    StopOutsideSection,
    /// A pop knows what comes behind the top before its section begins.
    NextOutsideSection,
    /// A pop from a shared list compares and exchanges its top.
    PopByExchange,
    /// A record is published before it is copied.
    RingCommitFirst,
    /// The header that commits a record does not release.
    RingPlainHeader,
    /// Who commits a record wakes nobody.
    RingNoWake,
    /// A consumer leaves old bytes where headers will be awaited.
    RingNotCleared,
    /// A consumer gives space back before it has read what is there.
    RingEarlyTail,
    /// A consumer that merges looks at each lane once.
    RingOneLook,
    /// A consumer that was woken takes what it finds then, or nothing.
    RingOneTry,
    /// A lane whose oldest records are about to be overwritten counts as empty.
    RingClaimEmpty,
    /// A consumer that waits for the lowest stamp is not told of one that becomes known.
    RingStampUntold,
    /// One drop in a hundred is not counted.
    RingUncounted,
    /// A reader that ends removes a token by a plain store.
    TokenByStore,
    /// A claim that was too late, and whose token somebody removed, removes no other.
    TokenKept,
    /// A waiter whose time is over leaves a cohort lock's queue without taking its node out.
    LeaveWithoutDesk,
    /// A waiter whose time is over ignores that it is about to be granted a cohort lock.
    GrantLost,
    /// A cohort lock wakes whom it goes to before it tells so.
    WakeBeforeGrant,
    /// Who grants a cohort lock does not release.
    RelaxedGrant,
    /// Who moves the arrivals at a cohort lock does not acquire.
    RelaxedSort,
    /// A cohort lock never leaves a cohort that has waiters.
    NoBound,
    /// A cohort lock that is given up while waiters sleep wakes none of them.
    NobodyCompetes,
    /// A release wakes the head of the queue only, even if that is a reader.
    WakeOne,
    /// A leaf's section loads the address; what is there is copied behind it.
    CopyOutsideSection,
    /// The section that takes a reference loads the address; it is counted behind it.
    RetainOutsideSection,
    /// Whoever gives up a mutex wakes the next thread, and then lets it go.
    WakeBeforeRelease,
    /// A release that wakes one thread forgets that others are parked.
    LostParked,
    /// A thread parks without looking at the lock again.
    ParkUnchecked,
    /// A mutex is taken without acquiring.
    RelaxedTake,
    /// A mutex is given up without releasing.
    RelaxedGive,
    /// A thread that was to have a mutex next, and parks again or gives up, does not say so.
    HeirForgotten,
    /// A thread that is handed a mutex when its time is over leaves without it.
    HandoverLost,
    /// All who take a CPU's part from elsewhere use one ticket.
    SameTicket,
    /// A leader that is done wakes nobody.
    LostWakeup,
    /// A bucket of a map counts as moved before its entries are where it was moved to.
    MarkFirst,
    /// A bucket of a map is emptied before it counts as moved.
    WipeFirst,
    /// A bucket of a map that was moved keeps its entries.
    MovedStays,
    /// Whoever has moved a bucket lets writers to where it went before the old one is empty.
    UnlockEarly,
    /// Whoever leads through several grace periods tells sleepers at the end of the last one only.
    WakeAtTheEnd,
    /// Whoever wakes one of a map's writers does not ask whether the bucket was moved meanwhile.
    MovedAsleep,
    /// A lookup in a map that found nothing does not ask whether the bucket was moved.
    NoMovedLook,
    /// A writer to a map does not ask whether the bucket it locked was moved.
    MovedUnderLock,
    /// An entry stands in its bucket before its tag does.
    TagLast,
    /// A map publishes an entry with a relaxed store.
    RelaxedEntry,
    /// A map frees a table that was moved without a grace period.
    TableAtOnce,
    /// What a change stages is stored before its section begins.
    StageOutsideSection,
    /// A swap gives back what was there before its section began.
    TakenOutsideSection,
    /// A change commits by a store that does not release.
    PlainChange,
    /// The flag is tested before the section that ends with a system call begins.
    FlagOutsideSection,
    /// Whose page a counter's section reads is known before it begins.
    PageOutsideSection,
    /// Whoever has read a counter does not ask whether its page changed meanwhile.
    PageLockIgnored,
    /// A section's commit stands one instruction behind its end.
    LateCommit,
    /// The kernel aborts no section. Some kernels are so: the self-test must find it.
    NoAbort,
}

/// True if the tests chose this defect.
#[cfg(not(stillpoint_mutants))]
#[inline(always)]
pub(crate) const fn broken(_: Mutant) -> bool {
    false
}

#[cfg(stillpoint_mutants)]
pub(crate) use chosen::broken;
#[cfg(stillpoint_mutants)]
pub use chosen::choose;
#[cfg(all(stillpoint_mutants, not(stillpoint_loom)))]
pub(crate) use chosen::choose_early;

/// The choice of the whole process.
#[cfg(all(stillpoint_mutants, not(stillpoint_loom)))]
mod chosen {
    use super::Mutant;
    use std::sync::atomic::{AtomicU32, Ordering};

    static CHOSEN: AtomicU32 = AtomicU32::new(Mutant::None as u32);

    /// Breaks the library from here on.
    pub fn choose(mutant: Mutant) {
        CHOSEN.store(mutant as u32, Ordering::SeqCst);
    }

    /// The one defect that must be there before `main`, if the environment asks for it.
    pub(crate) fn choose_early() {
        if std::env::var_os("STILLPOINT_MUTANT").is_some_and(|name| name == "NoAbort") {
            choose(Mutant::NoAbort);
        }
    }

    #[inline(always)]
    pub(crate) fn broken(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as u32
    }
}

/// The choice of one model: the checker runs all threads of a model on one of the system's.
#[cfg(all(stillpoint_mutants, stillpoint_loom))]
mod chosen {
    use super::Mutant;
    use std::cell::Cell;

    thread_local!(static CHOSEN: Cell<Mutant> = const { Cell::new(Mutant::None) });

    /// Breaks the library, for models that run on this thread, from here on.
    pub fn choose(mutant: Mutant) {
        CHOSEN.set(mutant);
    }

    pub(crate) fn broken(mutant: Mutant) -> bool {
        CHOSEN.get() == mutant
    }
}

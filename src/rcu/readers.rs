//! Who is reading, for reports and against self-deadlock: with feature `debug-readers`, and
//! wherever debug assertions are on. Otherwise everything here is empty and costs nothing.
//!
//! A table of slots, claimed and freed by atomics, so that signal handlers may read. If it is
//! full, further sections are not recorded.

pub(super) use table::{Record, forbid, of};
#[cfg(not(stillpoint_loom))]
pub(super) use table::{forget, forget_after_fork};

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// A read-side critical section in progress; part of a [`StallReport`](super::StallReport).
///
/// # Examples
///
/// ```
/// fn print(report: &stillpoint::rcu::StallReport) {
///     for reader in &report.readers {
///         println!("entered at {}, {:?} ago", reader.location, reader.age);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Reader {
    /// Where `read` was called.
    pub location: &'static Location<'static>,
    /// The thread's number as the system has it; `None` if the guard may have moved to another
    /// thread since.
    pub thread: Option<u64>,
    /// How long ago the section began.
    pub age: Duration,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thread {
            Some(thread) => write!(f, "thread {thread}")?,
            None => f.write_str("a guard that was sent")?,
        }
        write!(f, " at {}, for {:.3?}", self.location, self.age)
    }
}

#[cfg(all(any(feature = "debug-readers", debug_assertions), not(stillpoint_loom)))]
mod table {
    use super::Reader;
    use crate::rcu::engine::Engine;
    use crate::sync::nanos;
    use std::cell::Cell;
    use std::panic::Location;
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    /// More sections than this at once are not all recorded.
    const SLOTS: usize = 1024;

    struct Slot {
        /// The engine's address; 0 if the slot is free, [`CLAIMED`] while it is being filled.
        engine: AtomicUsize,
        /// How often it was claimed: in the child of a fork, guards may outlive their records.
        uses: AtomicU32,
        thread: AtomicU64,
        location: AtomicPtr<Location<'static>>,
        since: AtomicU64,
    }

    const FREE: usize = 0;
    const CLAIMED: usize = 1;
    const NO_THREAD: u64 = 0;

    static TABLE: [Slot; SLOTS] = [const {
        Slot {
            engine: AtomicUsize::new(FREE),
            uses: AtomicU32::new(0),
            thread: AtomicU64::new(NO_THREAD),
            location: AtomicPtr::new(null_mut()),
            since: AtomicU64::new(0),
        }
    }; SLOTS];

    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(NO_THREAD) });

    /// The calling thread's number, as tools show it.
    fn this_thread() -> u64 {
        match NUMBER.get() {
            NO_THREAD => renumber().1,
            number => number,
        }
    }

    /// The calling thread's number as it was known, and as it is. They differ in the child of
    /// a fork.
    fn renumber() -> (u64, u64) {
        // SAFETY: gettid has no preconditions.
        #[cfg(target_os = "linux")]
        let number = unsafe { libc::gettid() as u64 };
        #[cfg(not(target_os = "linux"))]
        let number = crate::sync::thread_token() as u64;
        (NUMBER.replace(number), number)
    }

    /// What a guard remembers of its entry: the slot, and which use of it.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::rcu) struct Record(u32, u32);

    impl Record {
        pub(in crate::rcu) const IS_KEPT: bool = true;
        pub(in crate::rcu) const NONE: Record = Record(u32::MAX, 0);

        /// Records a section that the caller's caller has just entered.
        #[track_caller]
        pub(in crate::rcu) fn new(engine: &Engine) -> Record {
            let thread = this_thread();
            let start = thread as usize * 7;
            for i in 0..SLOTS {
                let slot = &TABLE[(start + i) % SLOTS];
                let free = slot.engine.load(Ordering::Relaxed) == FREE;
                // Acquire: partner is the release of whoever freed it.
                if free
                    && slot
                        .engine
                        .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                {
                    let uses = slot.uses.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                    slot.thread.store(thread, Ordering::Relaxed);
                    slot.since.store(nanos(), Ordering::Relaxed);
                    let location = std::ptr::from_ref(Location::caller()).cast_mut();
                    slot.location.store(location, Ordering::Relaxed);
                    // Release: partner is the acquire in `all`.
                    slot.engine.store(std::ptr::from_ref(engine).addr(), Ordering::Release);
                    return Record(((start + i) % SLOTS) as u32, uses);
                }
            }
            Record::NONE
        }

        /// The guard may end on another thread from now on.
        pub(in crate::rcu) fn sent(self) {
            if let Some(slot) = self.slot() {
                slot.thread.store(NO_THREAD, Ordering::Relaxed);
            }
        }

        pub(in crate::rcu) fn ended(self) {
            if let Some(slot) = self.slot() {
                slot.engine.store(FREE, Ordering::Release);
            }
        }

        fn slot(self) -> Option<&'static Slot> {
            let slot = TABLE.get(self.0 as usize)?;
            (slot.uses.load(Ordering::Relaxed) == self.1).then_some(slot)
        }
    }

    fn all(engine: &Engine) -> impl Iterator<Item = &'static Slot> {
        let engine = std::ptr::from_ref(engine).addr();
        TABLE.iter().filter(move |slot| slot.engine.load(Ordering::Acquire) == engine)
    }

    fn location(slot: &Slot) -> &'static Location<'static> {
        // SAFETY: a slot in use has had a location, and those are static.
        unsafe { &*slot.location.load(Ordering::Relaxed) }
    }

    /// The sections of this engine in progress. A slot that is freed and claimed meanwhile may
    /// show something of both.
    pub(in crate::rcu) fn of(engine: &Engine) -> Vec<Reader> {
        let now = nanos();
        let reader = |slot: &Slot| Reader {
            location: location(slot),
            thread: Some(slot.thread.load(Ordering::Relaxed)).filter(|&t| t != NO_THREAD),
            age: Duration::from_nanos(now.saturating_sub(slot.since.load(Ordering::Relaxed))),
        };
        all(engine).map(reader).collect()
    }

    /// Panics if the calling thread holds a guard of this engine: it would wait for itself.
    #[track_caller]
    pub(in crate::rcu) fn forbid(engine: &Engine, what: &str) {
        let me = this_thread();
        if let Some(slot) = all(engine).find(|slot| slot.thread.load(Ordering::Relaxed) == me) {
            panic!(
                "stillpoint: {what} at {} inside a read-side critical section of the same domain, \
                 which this thread entered at {}: it would wait for itself",
                Location::caller(),
                location(slot),
            );
        }
    }

    /// Forgets this engine's sections, whose guards were forgotten: another engine may come to
    /// stand here.
    pub(in crate::rcu) fn forget(engine: &Engine) {
        all(engine).for_each(|slot| slot.engine.store(FREE, Ordering::Release));
    }

    /// In the child of a fork: forgets the sections of threads that are not here, and those of
    /// guards that were sent.
    pub(in crate::rcu) fn forget_after_fork() {
        let (then, now) = renumber();
        for slot in &TABLE {
            // A thread that has never read has no number.
            if then != NO_THREAD && slot.thread.load(Ordering::Relaxed) == then {
                slot.thread.store(now, Ordering::Relaxed);
            } else {
                slot.engine.store(FREE, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(not(all(any(feature = "debug-readers", debug_assertions), not(stillpoint_loom))))]
mod table {
    use super::Reader;
    use crate::rcu::engine::Engine;

    /// Nothing is remembered.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::rcu) struct Record;

    impl Record {
        pub(in crate::rcu) const IS_KEPT: bool = false;
        pub(in crate::rcu) const NONE: Record = Record;

        #[inline(always)]
        pub(in crate::rcu) fn new(_: &Engine) -> Record {
            Record
        }
        #[inline(always)]
        pub(in crate::rcu) fn sent(self) {}
        #[inline(always)]
        pub(in crate::rcu) fn ended(self) {}
    }

    pub(in crate::rcu) fn of(_: &Engine) -> Vec<Reader> {
        Vec::new()
    }

    #[inline(always)]
    pub(in crate::rcu) fn forbid(_: &Engine, _: &str) {}

    #[cfg(not(stillpoint_loom))]
    #[inline(always)]
    pub(in crate::rcu) fn forget(_: &Engine) {}

    #[cfg(not(stillpoint_loom))]
    pub(in crate::rcu) fn forget_after_fork() {}
}

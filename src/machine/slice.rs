//! The time-slice extension (Linux 7.0): a thread in a critical section asks the kernel not to
//! take the CPU away right now.
//!
//! # Protocol
//!
//! `struct rseq` has a byte by which the thread asks, and one by which the kernel says that it
//! granted: some microseconds more, once, when the thread's time is up. Who was granted gives the
//! rest back by `rseq_slice_yield` as soon as it is done; any other system call ends the grant as
//! well, and so does the end of those microseconds, after which the kernel has cleared both bytes.
//! All of it are plain stores and loads of one thread, which the kernel reads and writes on that
//! thread's behalf, when it interrupts it.
//!
//! Locks ask when they had to wait, never on their fast path: asking costs a nanosecond or two,
//! and matters only if others wait. Locks nest: a thread counts how many of those that it holds
//! have asked, and only the last takes the request back.
//!
//! A guard that is forgotten leaves the request standing. Then the kernel grants that thread some
//! microseconds, once, takes the byte back by itself, and nothing else happens.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence};

/// `slice_ctrl` of `struct rseq`.
#[derive(Debug, Default)]
#[repr(C, align(4))]
pub(crate) struct Control {
    request: AtomicU8,
    granted: AtomicU8,
    reserved: [u8; 2],
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another that the thread has made goes on.
    Nested,
    /// The kernel did not want the CPU.
    Unused,
    /// Granted, and given back.
    Yielded,
    /// Granted, and ended by the system call that woke the next thread.
    Woke,
    /// Granted, and it took too long.
    Revoked,
}

/// Asks, as one more of the thread's locks.
fn ask_by(control: &Control, depth: &Cell<u32>) {
    depth.set(depth.get().saturating_add(1));
    // While it lasts, a grant is not asked for again; one that was revoked is.
    if control.granted.load(Ordering::Relaxed) == 0 {
        control.request.store(1, Ordering::Relaxed);
    }
    // The kernel looks when it interrupts this thread: only the compiler could change the order.
    compiler_fence(Ordering::SeqCst);
}

/// Is done, as one of the thread's locks. `was_granted`: there was a grant before a system call may
/// have been made, which would have ended it. `give_back` ends a grant, and says whether it still
/// was one.
fn done_by(
    control: &Control,
    depth: &Cell<u32>,
    was_granted: bool,
    give_back: impl FnOnce() -> bool,
) -> End {
    compiler_fence(Ordering::SeqCst);
    depth.set(depth.get().saturating_sub(1));
    if depth.get() > 0 {
        return End::Nested;
    }
    let stands = control.request.load(Ordering::Relaxed) != 0;
    control.request.store(0, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if control.granted.load(Ordering::Relaxed) != 0 {
        return if give_back() { End::Yielded } else { End::Revoked };
    }
    match (stands, was_granted) {
        (true, _) => End::Unused,
        (false, true) => End::Woke,
        (false, false) => End::Revoked,
    }
}

static YIELDED: AtomicU64 = AtomicU64::new(0);
static WOKE: AtomicU64 = AtomicU64::new(0);
static REVOKED: AtomicU64 = AtomicU64::new(0);

/// What became of the time-slice extensions that the kernel granted to locks of this process.
///
/// # Examples
///
/// ```
/// let slices = stillpoint::lock::slice_statistics();
/// assert_eq!(slices.granted, slices.yielded + slices.ended_by_wake + slices.revoked);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SliceStatistics {
    /// How often the kernel let a thread that held a lock go on, although its time was up: the sum of
    /// the others, so at most so often, since `revoked` may count what was refused.
    pub granted: u64,
    /// Of these, how many were given back by `rseq_slice_yield`.
    pub yielded: u64,
    /// How many were ended by the system call that woke the next thread.
    pub ended_by_wake: u64,
    /// How many took too long: the kernel took the CPU away with the lock held. Also counted is who
    /// had asked and lost the CPU without a grant, because the kernel had refused it: whenever it takes
    /// a CPU away it clears both bytes, whether it had granted or not, so a thread cannot tell. It
    /// refuses if more than a reschedule is pending, such as a signal, and always if somebody has
    /// disabled the extension of that thread by `prctl`.
    pub revoked: u64,
}

/// What became of the time-slice extensions so far. All 0 where there are none.
///
/// # Examples
///
/// ```
/// println!("{:?}", stillpoint::lock::slice_statistics());
/// ```
pub fn slice_statistics() -> SliceStatistics {
    // Relaxed: numbers. Granted is their sum, so that they fit.
    let [yielded, ended_by_wake, revoked] =
        [&YIELDED, &WOKE, &REVOKED].map(|count| count.load(Ordering::Relaxed));
    SliceStatistics { granted: yielded + ended_by_wake + revoked, yielded, ended_by_wake, revoked }
}

/// Asks for a longer slice, as one more of the calling thread's locks. False if there is none to be
/// had; otherwise [`done`] must follow on this thread, once.
#[inline]
pub(crate) fn ask() -> bool {
    asking(ask_by).is_some()
}

/// Whether the calling thread's time was up, and it goes on by a grant.
pub(crate) fn is_granted() -> bool {
    asking(|control, _| control.granted.load(Ordering::Relaxed) != 0).unwrap_or(false)
}

/// One of the calling thread's locks that have asked is given up. `was_granted`: there was a grant
/// before a thread was woken.
pub(crate) fn done(was_granted: bool) {
    let end = asking(|control, depth| done_by(control, depth, was_granted, give_back));
    let count = match end {
        Some(End::Yielded) => &YIELDED,
        Some(End::Woke) => &WOKE,
        Some(End::Revoked) => &REVOKED,
        Some(End::Nested | End::Unused) | None => return,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Whether the kernel lets the calling thread ask for longer time slices while it holds a lock
/// (Linux 7.0 and later, built with `CONFIG_RSEQ_SLICE_EXTENSION`, and a registration of more than
/// 32 bytes).
///
/// The first call on a thread tries to enable that, by a system call. Locks do the same when they
/// first have to wait on a thread.
///
/// # Examples
///
/// ```
/// println!("longer slices: {}", stillpoint::lock::has_slice_extension());
/// ```
pub fn has_slice_extension() -> bool {
    asking(|_, _| ()).is_some()
}

#[cfg(stillpoint_sections)]
use native::{asking, give_back};

#[cfg(stillpoint_sections)]
mod native {
    use super::Control;
    use crate::machine::decide::decision;
    use crate::rseq::abi;
    use crate::rseq::area::thread_area;
    use crate::rseq::quiet::preserving_errno;
    use std::cell::Cell;

    const UNKNOWN: u8 = 0;
    const ABSENT: u8 = 1;
    const THERE: u8 = 2;

    thread_local! {
        /// What this thread has, and how many of its locks have asked.
        static THREAD: (Cell<u8>, Cell<u32>) = const { (Cell::new(UNKNOWN), Cell::new(0)) };
    }

    /// Calls `with` with the thread's own, if the kernel grants anything to it.
    #[inline]
    pub(super) fn asking<R>(with: impl FnOnce(&Control, &Cell<u32>) -> R) -> Option<R> {
        THREAD.with(|(state, depth)| {
            match state.get() {
                ABSENT => return None,
                THERE => {}
                _ => {
                    state.set(if enable() { THERE } else { ABSENT });
                    if state.get() == ABSENT {
                        return None;
                    }
                }
            }
            // SAFETY: enabled, so the thread has a registered area that is long enough. It lives as
            // long as the thread; the kernel changes it on this thread's behalf only, as if a
            // signal handler did, and all accesses are atomic.
            let control =
                unsafe { &*thread_area().cast::<u8>().add(abi::SLICE_CONTROL).cast::<Control>() };
            Some(with(control, depth))
        })
    }

    #[cold]
    fn enable() -> bool {
        let has = |area: &crate::rseq::area::Registration| area.has_slice_ctrl();
        if !decision().registration.as_ref().is_ok_and(has)
            || !crate::rseq::area::ensure_registered()
        {
            return false;
        }
        // SAFETY: a call of numbers; it changes what the kernel does with this thread's area.
        let status = preserving_errno(|| unsafe {
            let [set, enable]: [libc::c_ulong; 2] = [abi::PR_SLICE_SET, abi::PR_SLICE_ENABLE];
            let none: libc::c_ulong = 0;
            libc::prctl(abi::PR_RSEQ_SLICE_EXTENSION, set, enable, none, none)
        });
        status == 0
    }

    /// Gives the rest of a grant back. False if there was no rest.
    #[cold]
    pub(super) fn give_back() -> bool {
        // SAFETY: a system call without arguments.
        preserving_errno(|| unsafe { libc::syscall(abi::SYS_RSEQ_SLICE_YIELD) }) == 1
    }
}

#[cfg(not(stillpoint_sections))]
use absent::{asking, give_back};

#[cfg(not(stillpoint_sections))]
mod absent {
    use super::Control;
    use std::cell::Cell;

    pub(super) fn asking<R>(_: impl FnOnce(&Control, &Cell<u32>) -> R) -> Option<R> {
        None
    }

    pub(super) fn give_back() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fake area, and what the kernel would do to it.
    #[derive(Default)]
    struct Fake {
        control: Control,
        depth: Cell<u32>,
        yields: Cell<u32>,
    }

    impl Fake {
        fn ask(&self) {
            ask_by(&self.control, &self.depth);
        }

        fn done(&self, was_granted: bool) -> End {
            done_by(&self.control, &self.depth, was_granted, || {
                self.yields.set(self.yields.get() + 1);
                self.revoke_or_end()
            })
        }

        fn is_asked(&self) -> bool {
            self.control.request.load(Ordering::Relaxed) == 1
        }

        fn is_granted(&self) -> bool {
            self.control.granted.load(Ordering::Relaxed) == 1
        }

        /// An interrupt, with another thread waiting for the CPU.
        fn interrupt(&self) {
            if self.is_asked() {
                self.control.request.store(0, Ordering::Relaxed);
                self.control.granted.store(1, Ordering::Relaxed);
            } else {
                self.revoke_or_end();
            }
        }

        /// The time of a grant is over, or a system call was made. Whether there was one.
        fn revoke_or_end(&self) -> bool {
            self.control.request.store(0, Ordering::Relaxed);
            self.control.granted.swap(0, Ordering::Relaxed) == 1
        }
    }

    #[test]
    fn nothing_happens() {
        let fake = Fake::default();
        fake.ask();
        assert!(fake.is_asked());
        assert_eq!(fake.done(false), End::Unused);
        assert!(!fake.is_asked());
        // Nobody asks any more: the kernel takes the CPU.
        fake.interrupt();
        assert_eq!((fake.is_granted(), fake.yields.get()), (false, 0));
    }

    #[test]
    fn granted_and_given_back() {
        let fake = Fake::default();
        fake.ask();
        fake.interrupt();
        assert!(fake.is_granted() && !fake.is_asked());
        assert_eq!(fake.done(false), End::Yielded);
        assert_eq!((fake.is_granted(), fake.yields.get()), (false, 1));
    }

    #[test]
    fn too_long() {
        let fake = Fake::default();
        fake.ask();
        fake.interrupt();
        fake.interrupt();
        assert!(!fake.is_granted());
        assert_eq!((fake.done(false), fake.yields.get()), (End::Revoked, 0));
    }

    /// The system call that wakes the next thread ends the grant: no second one is made.
    #[test]
    fn ended_by_the_wake() {
        let fake = Fake::default();
        fake.ask();
        fake.interrupt();
        let granted = fake.is_granted();
        fake.revoke_or_end();
        assert_eq!((fake.done(granted), fake.yields.get()), (End::Woke, 0));
    }

    #[test]
    fn a_lock_inside_leaves_the_question_of_the_one_outside() {
        let fake = Fake::default();
        fake.ask();
        fake.ask();
        assert_eq!(fake.done(false), End::Nested);
        assert!(fake.is_asked());
        fake.interrupt();
        fake.ask();
        assert!(fake.is_granted() && !fake.is_asked(), "asked for more within a grant");
        assert_eq!((fake.done(false), fake.yields.get()), (End::Nested, 0));
        assert!(fake.is_granted());
        assert_eq!((fake.done(false), fake.yields.get()), (End::Yielded, 1));
    }

    /// Whatever the order in which guards end.
    #[test]
    fn locks_that_overlap() {
        let fake = Fake::default();
        for _ in 0..3 {
            fake.ask();
        }
        fake.interrupt();
        assert_eq!([fake.done(false), fake.done(false)], [End::Nested; 2]);
        assert_eq!(fake.done(false), End::Yielded);
    }

    /// One revoked inside, and the outer lock goes on: it may be granted another.
    #[test]
    fn asked_again_after_a_revocation() {
        let fake = Fake::default();
        fake.ask();
        fake.interrupt();
        fake.revoke_or_end();
        fake.ask();
        assert!(fake.is_asked());
        fake.interrupt();
        assert_eq!([fake.done(false), fake.done(false)], [End::Nested, End::Yielded]);
    }

    #[test]
    fn a_forgotten_guard() {
        let fake = Fake::default();
        fake.ask();
        fake.ask();
        assert_eq!(fake.done(false), End::Nested);
        assert!(fake.is_asked());
        fake.interrupt();
        fake.interrupt();
        assert!(!fake.is_asked() && !fake.is_granted());
    }

    #[test]
    fn one_done_too_many() {
        let fake = Fake::default();
        assert_eq!(fake.done(false), End::Revoked);
        fake.ask();
        assert_eq!(fake.done(false), End::Unused);
    }

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!((size_of::<Control>(), align_of::<Control>()), (4, 4));
        assert_eq!(std::mem::offset_of!(Control, granted), 1);
    }
}

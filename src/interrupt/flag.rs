//! The flag, and the one way to make a call that it stops.

use super::sleepers::{Enlisted, Sleepers};
use crate::rseq::RETRIES;
use crate::rseq::syscall::{Call, unless};
use crate::sync::{AtomicU32, Ordering};
use std::ffi::c_int;
use std::{fmt, io};

/// Stops blocking calls of the threads that look at it.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use stillpoint::interrupt::{self, Error, Flag};
///
/// static STOP: Flag = Flag::new();
///
/// extern "C" fn on_signal(_: libc::c_int) {
///     STOP.set_and_wake();
/// }
///
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"work")?;
/// let mut bytes = [0; 16];
/// assert_eq!(interrupt::read(&STOP, &reader, &mut bytes)?, 4);
///
/// // SAFETY: the handler is async-signal-safe.
/// unsafe { libc::signal(libc::SIGTERM, on_signal as *const () as libc::sighandler_t) };
/// // SAFETY: it has a handler.
/// unsafe { libc::raise(libc::SIGTERM) };
/// let outcome = interrupt::read(&STOP, &reader, &mut bytes);
/// assert!(matches!(outcome, Err(Error::Interrupted)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Flag {
    /// 0 or 1. What sections test, and what futexes wait at.
    pub(super) word: AtomicU32,
    sleepers: Sleepers,
}

/// How an attempt ended.
pub(super) enum Made {
    /// The flag is set, and the call was not made.
    Set,
    /// It was made: what it returned, an error as minus its number.
    Done(isize),
    /// No section succeeds here.
    Unable,
}

impl Flag {
    /// A flag that is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// static STOP: stillpoint::interrupt::Flag = stillpoint::interrupt::Flag::new();
    /// assert!(!STOP.is_set());
    /// ```
    pub const fn new() -> Flag {
        Flag { word: AtomicU32::new(0), sleepers: Sleepers::new() }
    }

    /// Sets it. Calls of the calling thread that look at it are not begun any more, and the one
    /// that was interrupted by the handler that calls this one is not made again. Other
    /// threads' calls are not begun; but those that block go on: see
    /// [`set_and_wake`](Flag::set_and_wake).
    ///
    /// One store, which releases. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// let flag = stillpoint::interrupt::Flag::new();
    /// flag.set();
    /// assert!(flag.is_set());
    /// ```
    pub fn set(&self) {
        // Release: partner is the acquire in `is_set`.
        self.word.store(1, Ordering::Release);
    }

    /// Sets it, and sends a signal to every thread that is [enlisted](Flag::enlist). All calls that
    /// look at this flag, made by these threads and the calling one, end soon.
    ///
    /// A system call for each. Async-signal-safe; keeps `errno`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use stillpoint::interrupt::{Flag, sleep};
    ///
    /// let stop = Flag::new();
    /// std::thread::scope(|threads| {
    ///     let worker = threads.spawn(|| {
    ///         let _enlisted = stop.enlist(libc::SIGURG).unwrap();
    ///         sleep(&stop, Duration::from_secs(3600)).is_err()
    ///     });
    ///     stop.set_and_wake();
    ///     assert!(worker.join().unwrap());
    /// });
    /// ```
    pub fn set_and_wake(&self) {
        self.set();
        self.sleepers.wake();
    }

    /// Whether it is set. One load, which acquires. Async-signal-safe.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!stillpoint::interrupt::Flag::new().is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        // Acquire: partner is the release in `set`.
        self.word.load(Ordering::Acquire) != 0
    }

    /// Lets calls be made again. Whoever has not noticed until then that it was set never may.
    ///
    /// # Examples
    ///
    /// ```
    /// let flag = stillpoint::interrupt::Flag::new();
    /// flag.set();
    /// flag.clear();
    /// assert!(!flag.is_set());
    /// ```
    pub fn clear(&self) {
        // Relaxed: nothing is handed on.
        self.word.store(0, Ordering::Relaxed);
    }

    /// Puts the calling thread on the list of those that [`set_and_wake`](Flag::set_and_wake) wakes
    /// by `signal`, until what this returns is dropped.
    ///
    /// The signal gets a handler that does nothing, without `SA_RESTART`, unless it has one; it
    /// keeps it. It is unblocked for this thread, as long as it is enlisted, here or by another
    /// flag. In the child of a `fork` enlist again: the list names threads of the parent. `SIGURG` is
    /// a good one: it is ignored by default, few use it, and who does must expect it at any time. Do
    /// not take one that calls `set_and_wake` in its handler, and do not give it back its default.
    ///
    /// Allocates if more threads are enlisted than ever were; a few system calls. Not
    /// async-signal-safe.
    ///
    /// # Errors
    ///
    /// As `sigaction`: there is no such signal, or it can have no handler.
    ///
    /// # Examples
    ///
    /// ```
    /// let stop = stillpoint::interrupt::Flag::new();
    /// let _enlisted = stop.enlist(libc::SIGURG)?;
    /// assert!(stop.enlist(libc::SIGKILL).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn enlist(&self, signal: c_int) -> io::Result<Enlisted<'_>> {
        self.sleepers.enlist(signal)
    }

    /// Makes a call in a section that begins with a look at the flag. `call` is asked before
    /// each attempt.
    pub(super) fn attempt(&self, mut call: impl FnMut() -> Call) -> Made {
        if self.is_set() {
            return Made::Set;
        }
        if !has_sections() {
            return Made::Unable;
        }
        for _ in 0..RETRIES {
            let call = call();
            // SAFETY: the functions of this module make calls that return, whose pointers are
            // valid until then.
            if let Some(result) = unsafe { unless(&self.word, &call) } {
                return Made::Done(result);
            }
            if self.is_set() {
                return Made::Set;
            }
        }
        Made::Unable
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

/// Whether sections of the calling thread are aborted by signals.
#[cfg(stillpoint_sections)]
fn has_sections() -> bool {
    use crate::machine::{Tier, shape};
    shape(Tier::Rseq).tier == Tier::Rseq && crate::rseq::area::ensure_registered()
}

#[cfg(not(stillpoint_sections))]
fn has_sections() -> bool {
    false
}

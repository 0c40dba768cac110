//! Blocking calls that a signal handler stops, whenever it comes.
//!
//! The usual ways to stop a thread that blocks are a pipe or an `eventfd` to wait for as well, or a
//! `signalfd`: since a thread that tests a flag, and then calls `read`, may be interrupted between
//! the two, and blocks though the flag is set. Here test and call are one
//! [section](crate::rseq::syscall): a handler that sets a [`Flag`] before the call keeps it from
//! being made, and one that comes later interrupts it. So there is nothing to wait for but what the
//! thread wants.
//!
//! # Rules
//!
//! All functions return [`Error::Interrupted`] if the flag is set, at once if it was set before.
//! They make no call once the flag has been set by a handler of the calling thread. What a call has
//! done when a handler comes is not lost: that is returned, and the next call is refused.
//! Handlers that do not set the flag interrupt nothing: the call is made again, for the
//! time that is left.
//!
//! Another thread's blocking call ends only by a signal. [`Flag::enlist`] puts the calling thread
//! on the flag's list; [`Flag::set_and_wake`] signals all that are on it.
//!
//! # Where it holds
//!
//! | call | tier `Rseq` | below, and for threads that cannot be registered |
//! |---|---|---|
//! | [`sleep`] | always | always: a futex on the flag itself |
//! | [`poll`], [`epoll_wait`] | always | always: all signals are masked, but for the call |
//! | [`futex_wait`] | always | with `futex_waitv` (Linux 5.16); else a look every 10 ms |
//! | [`read`], [`accept`] | before Linux 6.19 always; later see below | see below |
//!
//! These two are calls that the kernel itself makes again behind a handler with `SA_RESTART`; since
//! 6.19 without a look at sections. Where that may be, they wait by `poll`, and then make a call
//! that does not block. There is one for sockets, files, FIFOs and pipes (these since Linux 6.4 or
//! so), and for accepting from a non-blocking listener: then nothing is lost, everywhere. For the
//! rest, such as terminals, and listeners that block, they make a call that does block, if another
//! thread took what `poll` had found; then a stop that comes just before, or by a handler with
//! `SA_RESTART`, is noticed only when something comes. So make listeners that threads share
//! non-blocking, as [`accept`] expects them to be.
//!
//! # Cost
//!
//! On tier `Rseq` a call costs some loads and four instructions more than without. `read` and
//! `accept` are preceded by a `poll` where they may not block, and a timeout by a look at the
//! clock. Masking signals takes two calls.
//!
//! Only [`Flag::enlist`] allocates: one node for each thread that is enlisted at the same time as all
//! others; nodes are used again.

mod calls;
mod deadline;
mod flag;
mod sleepers;
mod transfer;

pub use calls::{PollFd, epoll_wait, futex_wait, poll, sleep};
pub use flag::Flag;
pub use sleepers::Enlisted;
pub use transfer::{accept, read};

use std::fmt;
use std::io;

/// Why a call brought nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::interrupt::{Error, Flag, sleep};
///
/// static STOP: Flag = Flag::new();
/// STOP.set();
/// assert!(matches!(sleep(&STOP, Duration::from_secs(3600)), Err(Error::Interrupted)));
/// ```
#[derive(Debug)]
pub enum Error {
    /// The flag is set.
    Interrupted,
    /// The system refused. Never [`io::ErrorKind::Interrupted`].
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Interrupted => f.write_str("interrupted: the flag is set"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Interrupted => None,
            Error::Io(error) => Some(error),
        }
    }
}

/// The flag becomes an error of kind [`Other`](io::ErrorKind::Other): who meets
/// [`Interrupted`](io::ErrorKind::Interrupted) tries again.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Interrupted => io::Error::other(error),
            Error::Io(error) => error,
        }
    }
}

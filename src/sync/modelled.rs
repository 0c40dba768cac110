//! The seam under the model checker: loom.

pub(crate) use loom::sync::Mutex;
pub(crate) use loom::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

use loom::sync::Condvar;

/// Paces a waiter: lets the others run.
#[derive(Debug)]
pub(crate) struct Pace;

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace
    }

    pub(crate) fn wait(&mut self) {
        loom::thread::yield_now();
    }
}

loom::lazy_static! {
    static ref THREADS: AtomicUsize = AtomicUsize::new(0);
}

loom::thread_local! {
    /// Counted per execution: loom's own thread ids differ from one execution to the next, and
    /// a model must repeat itself.
    static TOKEN: usize = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
}

/// A number that no other living thread has.
pub(crate) fn thread_token() -> usize {
    TOKEN.with(|token| *token)
}

/// Time stands still.
pub(crate) fn nanos() -> u64 {
    0
}

loom::lazy_static! {
    /// One parking place for all keys: waking too many is allowed.
    static ref LOT: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

/// Parks the calling thread unless `still` says that there is nothing to wait for. Nobody's
/// time runs out.
pub(crate) fn park(
    _: *const (),
    _: u64,
    _: Option<std::time::Instant>,
    still: impl FnOnce() -> bool,
) {
    if let Ok(guard) = LOT.0.lock()
        && still()
    {
        drop(LOT.1.wait(guard));
    }
}

/// Wakes every parked thread.
pub(crate) fn unpark(_: *const (), _: u64) {
    let guard = LOT.0.lock();
    LOT.1.notify_all();
    drop(guard);
}

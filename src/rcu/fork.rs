//! The child of a fork.
//!
//! It has one thread, and the memory of a moment in which the others may have been anywhere. What
//! they have left half done is mended here, before the child goes on:
//!
//! * The sections of the others will never be left: each domain gets fresh lines, and the old
//!   ones stay for guards of the thread that forked to end in.
//! * Locks that they held are free. What those protect changes by single stores, so it is
//!   whole at every instant: a grace period in progress begins again under its number;
//!   callbacks are on a list or off it, and those that the others were about to run, or running,
//!   are lost to the child. No callback runs twice in one process.
//! * The parking lot may be locked for ever: the child's waiters nap.
//! * The reclaimer is gone: it starts again when the child retires something.
//! * A domain's engine is in the list of all before the domain has it, so no domain is overlooked.
//!   Whoever made it may not have opened it to sequences: the child's first reader does.
//!
//! Nothing happens in the parent, and nothing before the fork: so nothing can hang there. The
//! child's handler looks at each domain in use, a cache line per CPU, and maps fresh lines where somebody
//! was reading; it calls no allocator.

use super::engine::Engine;
use super::{readers, reclaimer, registry};
use crate::sync::stop_parking;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks libc to call [`in_child`]. Where there are constructors, it was asked by one: asking
/// is not for signal handlers.
pub(super) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.load(Ordering::Relaxed) && !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler only stores to memory of ours, and maps some. If there is no memory for the
        // registration, children cannot be helped.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}

#[cfg(target_os = "linux")]
#[used]
// SAFETY: the loader calls every pointer of this section as a C function, which this one is;
// it uses nothing that is not ready by then.
#[unsafe(link_section = ".init_array.00099")]
static EARLY: extern "C" fn() = {
    extern "C" fn early() {
        watch();
    }
    early
};

unsafe extern "C" fn in_child() {
    stop_parking();
    reclaimer::forget_after_fork();
    readers::forget_after_fork();
    registry::after_fork(Engine::mend_after_fork);
}

impl Engine {
    fn mend_after_fork(&self) {
        // Whoever queues does so in a section: without one, counts and lists agree.
        let quiet = (0..2).all(|phase| self.sections_in(phase) == 0);
        if !quiet {
            self.renew_lines();
        }
        self.grace.restart_after_fork();
        self.unlock_after_fork(quiet);
    }
}

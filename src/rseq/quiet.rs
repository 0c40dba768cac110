//! What a signal handler must not see, and must not change: for code that it may interrupt, or that
//! runs in one.

use std::ffi::c_int;
use std::mem::MaybeUninit;

/// The calling thread's error number.
pub(crate) fn errno() -> c_int {
    // SAFETY: errno's location is valid for the calling thread.
    unsafe { *libc::__errno_location() }
}

/// Runs `f` and puts `errno` back: the caller may be a signal handler.
pub(crate) fn preserving_errno<R>(f: impl FnOnce() -> R) -> R {
    let saved = errno();
    let result = f();
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = saved };
    result
}

/// Runs `f` with every signal masked that can be.
pub(crate) fn with_signals_masked<R>(f: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set; pthread_sigmask writes the old mask.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = f();
    // SAFETY: `before` was written above, if the call succeeded, and it cannot fail with
    // these arguments.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
    result
}

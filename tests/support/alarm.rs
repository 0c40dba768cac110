//! Signals that interrupt a stress test.

#![allow(dead_code, reason = "not every test needs all of it")]

/// Installs a handler, which must be async-signal-safe.
pub(crate) fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: all-zero is a valid action, and so is a handler of this type.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

/// A 1 ms interval timer, as long as it lives. The process has one.
pub(crate) struct Timer;

impl Timer {
    /// Its signals run this handler on some thread.
    pub(crate) fn start(handler: extern "C" fn(libc::c_int)) -> Timer {
        handle(libc::SIGALRM, handler);
        Timer::every(1000);
        Timer
    }

    fn every(micros: u16) {
        let interval = libc::timeval { tv_sec: 0, tv_usec: micros.into() };
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        // SAFETY: `timer` is a live local.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        Timer::every(0);
    }
}

//! Does this kernel abort a section when it must?
//!
//! arm64 kernels 6.19 to 7.0.13 register rseq and keep its fields up to date, but abort no section
//! on preemption; up to 7.0.9 none at all. Version strings lie (distributions carry the fix under old numbers), so we look:
//! a thread-directed timer sends a signal while a section spins. Either the section is
//! aborted, or it finds, at a later look, the flag that the handler set: then it was interrupted
//! and went on. A signal that comes too early, before the section, says nothing; the next one comes
//! later.
//!
//! One kind of kernel deceives: arm64 from 7.0.10 on up to 7.0.13 aborts a section for a signal, but not
//! for a preemption, if the area was registered with 32 bytes. With more, signals tell the truth. So for
//! 32 bytes these versions are not believed, nor are their neighbours, which distributions patch: there
//! the version string lies in one direction only, and being wrong costs speed.
//!
//! The signal is one whose default is to be ignored and which nobody handles. For the tenth
//! of a millisecond that this takes, our handler does what the default would: nothing.

/// What the self-test found.
///
/// # Examples
///
/// ```
/// if stillpoint::machine().self_test() == stillpoint::SelfTest::Failed {
///     eprintln!("this kernel's rseq is broken");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelfTest {
    /// A section was aborted.
    Passed,
    /// A signal was delivered inside a section that then went on: sequences protect nothing.
    Failed,
    /// It could not be tried; holds what was missing.
    Inconclusive(&'static str),
    /// There was nothing to test.
    NotRun,
}

#[cfg(stillpoint_sections)]
pub(crate) use native::run;

/// True for a release of the kernel, as `uname` gives it, under which arm64 sections may be aborted
/// for signals only.
#[cfg(any(test, all(stillpoint_sections, target_arch = "aarch64")))]
fn deceives(release: &[u8]) -> bool {
    let mut numbers = release.split(|c| !c.is_ascii_digit()).map(|digits| {
        digits.iter().fold(0_u32, |n, c| n.saturating_mul(10).saturating_add(u32::from(c - b'0')))
    });
    let mut next = || numbers.next().unwrap_or(0);
    let version = [next(), next(), next()];
    ([6, 19, 0]..[7, 0, 14]).contains(&version)
}

/// Nothing to test on this target.
#[cfg(not(stillpoint_sections))]
pub(crate) fn run(_: &crate::rseq::area::Registration) -> SelfTest {
    SelfTest::NotRun
}

#[cfg(stillpoint_sections)]
mod native {
    use super::SelfTest;
    use crate::rseq::area::{Mode, Registration};
    use crate::rseq::probe::{Spin, spin};
    use std::ffi::c_int;
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Between them the delay doubles; they are needed where instructions are slow or CPUs are not
    /// run for a while.
    const ATTEMPTS: u32 = 20;
    /// Sections that went on, none aborted before: more than any race in a kernel could lose.
    const PROOF: u32 = 3;
    /// Until the first signal comes.
    const FIRST_DELAY_NANOS: i64 = 40_000;
    const LONGEST_DELAY_NANOS: i64 = 10_000_000;
    /// Some tens of milliseconds: far beyond the delay, should no signal come.
    const ROUNDS: u64 = 1 << 25;

    static DELIVERED: AtomicU32 = AtomicU32::new(0);

    extern "C" fn note_delivery(_: c_int) {
        DELIVERED.store(1, Ordering::Relaxed);
    }

    /// Runs the test on the calling thread, which must be registered.
    pub(crate) fn run(registration: &Registration) -> SelfTest {
        if registration.mode() == Mode::Legacy && aborts_for_signals_only() {
            return SelfTest::Inconclusive("arm64 Linux 6.19 to 7.0.13, registered with 32 bytes");
        }
        let Some(signal) = [libc::SIGURG, libc::SIGWINCH].into_iter().find(|&s| is_free(s)) else {
            return SelfTest::Inconclusive("no free signal");
        };
        // SAFETY: an all-zero sigaction is valid: no flags, empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_delivery as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        let mut before = MaybeUninit::uninit();
        // SAFETY: both point at live locals; the handler stores to a static and returns.
        if unsafe { libc::sigaction(signal, &action, before.as_mut_ptr()) } != 0 {
            return SelfTest::Inconclusive("sigaction refused");
        }
        let result = with_unblocked(signal, || spin_under_signals(signal));
        // SAFETY: `before` was written by the successful call above.
        unsafe { libc::sigaction(signal, before.as_ptr(), std::ptr::null_mut()) };
        result
    }

    #[cfg(target_arch = "aarch64")]
    fn aborts_for_signals_only() -> bool {
        // SAFETY: all-zero is a valid utsname, and uname fills it with C strings.
        unsafe {
            let mut name: libc::utsname = std::mem::zeroed();
            libc::uname(&mut name) == 0
                && super::deceives(std::ffi::CStr::from_ptr(name.release.as_ptr()).to_bytes())
        }
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn aborts_for_signals_only() -> bool {
        false
    }

    fn is_free(signal: c_int) -> bool {
        let mut now = MaybeUninit::uninit();
        // SAFETY: `now` is a live local; it is read only if the call wrote it.
        unsafe {
            libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
                && matches!(now.assume_init().sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
        }
    }

    fn with_unblocked(signal: c_int, f: impl FnOnce() -> SelfTest) -> SelfTest {
        let mut set = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: the set is initialised first; the old mask is written by the call.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), before.as_mut_ptr());
        }
        let result = f();
        // SAFETY: written above; the call cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
        result
    }

    fn spin_under_signals(signal: c_int) -> SelfTest {
        let Some(timer) = Timer::for_this_thread(signal) else {
            return SelfTest::Inconclusive("no timer");
        };
        let (mut delivered, mut continued, mut delay) = (false, 0, FIRST_DELAY_NANOS);
        for _ in 0..ATTEMPTS {
            DELIVERED.store(0, Ordering::Relaxed);
            if !timer.arm(delay) {
                return SelfTest::Inconclusive("timer refused");
            }
            match spin(&DELIVERED, ROUNDS) {
                Spin::Aborted => return SelfTest::Passed,
                Spin::Continued => continued += 1,
                Spin::Undisturbed => {}
            }
            if continued == PROOF {
                return SelfTest::Failed;
            }
            delivered |= DELIVERED.load(Ordering::Relaxed) != 0;
            delay = (2 * delay).min(LONGEST_DELAY_NANOS);
        }
        SelfTest::Inconclusive(if delivered {
            "hardly a signal came inside a section"
        } else {
            "no signal came"
        })
    }

    /// A one-shot timer that signals the thread that made it. By system call: before glibc 2.34 the
    /// wrappers are in another library.
    struct Timer(c_int);

    impl Timer {
        fn for_this_thread(signal: c_int) -> Option<Timer> {
            // SAFETY: an all-zero sigevent is valid.
            let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            // SAFETY: gettid has no preconditions.
            event.sigev_notify_thread_id = unsafe { libc::syscall(libc::SYS_gettid) } as c_int;
            let mut id: c_int = 0;
            // SAFETY: both point at live locals of the kernel's types.
            let r = unsafe {
                libc::syscall(
                    libc::SYS_timer_create,
                    libc::CLOCK_MONOTONIC,
                    &raw mut event,
                    &raw mut id,
                )
            };
            (r == 0).then_some(Timer(id))
        }

        fn arm(&self, nanos: i64) -> bool {
            // SAFETY: an all-zero itimerspec is valid.
            let mut when: libc::itimerspec = unsafe { std::mem::zeroed() };
            when.it_value.tv_nsec = nanos as _;
            // SAFETY: the timer exists; `when` is a live local.
            let r = unsafe {
                libc::syscall(
                    libc::SYS_timer_settime,
                    self.0,
                    0,
                    &raw const when,
                    std::ptr::null_mut::<libc::itimerspec>(),
                )
            };
            r == 0
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            // SAFETY: the timer exists and is ours. Deleting it also drops what it left pending.
            unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::deceives;

    #[test]
    fn versions_that_are_not_believed() {
        for release in ["6.19.0", "6.19.14+deb13-cloud-arm64", "7.0.0-31-generic", "7.0", "7.0.13"]
        {
            assert!(deceives(release.as_bytes()), "{release}");
        }
        for release in
            ["", "5.10.0-32", "6.1.0", "6.18.44", "7.0.14", "7.1.0-rc3", "7.2.12", "70.0"]
        {
            assert!(!deceives(release.as_bytes()), "{release}");
        }
        assert!(!deceives(b"99999999999999999999.7.0"));
    }
}

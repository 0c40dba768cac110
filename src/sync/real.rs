//! The seam as shipped: std, and `parking_lot_core` for waiting.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

pub(crate) use std::cell::Cell;

use super::Choice;
pub(crate) use parking_lot_core::SpinWait;
use parking_lot_core::{FilterOp, ParkResult, ParkToken, UnparkToken};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long a waiter spins before it sleeps. A grace period with short readers ends within it.
const SPIN: Duration = Duration::from_micros(30);
/// The longest sleep between two looks.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// Between two looks of a waiter that must not park.
const NAP_IN_CHILD: Duration = Duration::from_micros(100);

/// Paces one waiter that nobody will wake: spin, then sleep an eighth of the time waited.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Option<Instant>,
    looks: u32,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace { since: None, looks: 0 }
    }

    /// Called between two looks at what is waited for.
    pub(crate) fn wait(&mut self) {
        // Each look pulls the readers' lines over here: leave them longer from look to look.
        for _ in 0..1 << self.looks.min(7) {
            std::hint::spin_loop();
        }
        self.looks = self.looks.saturating_add(1);
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited > SPIN {
            std::thread::sleep((waited / 8).min(LONGEST_NAP));
        }
    }
}

/// A number that no other living thread has.
pub(crate) fn thread_token() -> usize {
    // SAFETY: pthread_self has no preconditions.
    unsafe { libc::pthread_self() as usize }
}

/// The monotonic clock, in nanoseconds.
pub(crate) fn nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local. The call cannot fail: the clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Stores to a word that others exchange, over whatever is there.
#[inline(always)]
pub(crate) fn replace(word: &AtomicU32, by: u32, order: Ordering) {
    word.store(by, order);
}

/// Lets so many turns of a spinning loop pass.
#[inline]
pub(crate) fn pause(turns: u32) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

/// Spins as long as `word` has this value, for so many turns at most. Returns what it has in the
/// end; acquires.
#[inline]
pub(crate) fn spin_while(word: &AtomicU32, value: u32, turns: u32) -> u32 {
    for _ in 1..turns {
        let now = word.load(Ordering::Acquire);
        if now != value {
            return now;
        }
        std::hint::spin_loop();
    }
    word.load(Ordering::Acquire)
}

/// Tells ThreadSanitizer, which does not see what sequences store, that one is about to store
/// to `word`, or to a word that is always acquired with it, and releases. Elsewhere it is nothing.
#[cfg(stillpoint_sections)]
#[inline(always)]
pub(crate) fn sequence_releases(word: *const AtomicU64) {
    #[cfg(stillpoint_tsan)]
    {
        unsafe extern "C" {
            fn __tsan_release(address: *mut std::ffi::c_void);
        }
        // SAFETY: the sanitizer's runtime looks at the address only, not at what is there.
        unsafe { __tsan_release(word.cast_mut().cast()) };
    }
    let _ = word;
}

/// Tells ThreadSanitizer that a sequence has loaded what was last released to `word`, and hands it
/// on. Elsewhere it is nothing.
#[cfg(stillpoint_sections)]
#[inline(always)]
pub(crate) fn sequence_acquires(word: *const AtomicU64) {
    #[cfg(stillpoint_tsan)]
    {
        unsafe extern "C" {
            fn __tsan_acquire(address: *mut std::ffi::c_void);
        }
        // SAFETY: as above.
        unsafe { __tsan_acquire(word.cast_mut().cast()) };
    }
    let _ = word;
}

/// Set in a child of `fork`. There the parking lot may be in a state that no thread will ever
/// mend, so waiters nap instead of parking.
static FORKED: AtomicBool = AtomicBool::new(false);

/// From here on nobody parks. For the child of a fork, as long as it has one thread.
pub(crate) fn stop_parking() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Parks the calling thread at `key` with a token, unless `still` says, under the key's queue
/// lock, that there is nothing to wait for. Returns what it was told by the thread that woke it;
/// may also wake without cause.
pub(crate) fn park(
    key: *const (),
    token: u64,
    deadline: Option<Instant>,
    still: impl FnOnce() -> bool,
) -> Option<usize> {
    if FORKED.load(Ordering::Relaxed) {
        std::thread::sleep(NAP_IN_CHILD);
        return None;
    }
    let token = ParkToken(token as usize);
    // SAFETY: the callbacks neither panic nor call into the parking lot; the key is the address of
    // a word of ours that outlives the call.
    match unsafe { parking_lot_core::park(key as usize, still, || {}, |_, _| {}, token, deadline) }
    {
        ParkResult::Unparked(UnparkToken(told)) => Some(told),
        ParkResult::Invalid | ParkResult::TimedOut => None,
    }
}

/// Offers the threads parked at `key`, first come first, to `choose`, which sees their tokens.
/// Then, with the queue still locked, `then` hears whether any are left, and says what those that
/// wake are told.
pub(crate) fn wake(
    key: *const (),
    mut choose: impl FnMut(u64) -> Choice,
    then: impl FnOnce(bool) -> usize,
) {
    if FORKED.load(Ordering::Relaxed) {
        then(false);
        return;
    }
    let filter = |ParkToken(token): ParkToken| match choose(token as u64) {
        Choice::Wake => FilterOp::Unpark,
        Choice::Skip => FilterOp::Skip,
        Choice::Stop => FilterOp::Stop,
    };
    // SAFETY: as in `park`.
    unsafe {
        parking_lot_core::unpark_filter(key as usize, filter, |result| {
            UnparkToken(then(result.have_more_threads))
        })
    };
}

/// Sleeps until [`rouse`] is called for `word`, or the time is over, or a signal comes; not at all
/// unless `word` holds `value`.
pub(crate) fn doze(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    #[cfg(stillpoint_futex)]
    {
        // As this call wants it: two longs, whatever the C library's own may have become.
        let time = timeout.map(|timeout| -> [libc::c_long; 2] {
            let seconds = timeout.as_secs().try_into().unwrap_or(libc::c_long::MAX);
            [seconds, timeout.subsec_nanos() as libc::c_long]
        });
        let time = time.as_ref().map_or(std::ptr::null(), |time| time.as_ptr());
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: a live word, and a live time or none.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wait, value, time) };
    }
    #[cfg(not(stillpoint_futex))]
    {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let still = || word.load(Ordering::Relaxed) == value;
        park(word.as_ptr().cast_const().cast(), 0, deadline, still);
    }
}

/// Wakes who [dozes](doze). Async-signal-safe on Linux: no lock is taken.
pub(crate) fn rouse(word: &AtomicU32) {
    #[cfg(stillpoint_futex)]
    {
        let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: a live word. It cannot fail, so `errno` stays.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, i32::MAX) };
    }
    #[cfg(not(stillpoint_futex))]
    super::unpark(word.as_ptr().cast_const().cast(), 0);
}

/// Widens the window that a mutant opens, so that tests meet it.
#[cfg(stillpoint_mutants)]
pub(crate) fn dither() {
    use std::cell::Cell;
    thread_local!(static STATE: Cell<u32> = const { Cell::new(1) });
    let draw = STATE.try_with(|state| {
        let next = state.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.set(next);
        next >> 24
    });
    match draw {
        Ok(0..2) => std::thread::yield_now(),
        Ok(2..16) => (0..500).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

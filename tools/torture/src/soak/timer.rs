//! Signals every millisecond, each to one thread, whose handler reads.

use super::seat;
use super::section::{Kind, Section};
use super::world::{CELLS, world};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const SIGNAL: libc::c_int = libc::SIGALRM;

/// Two overlapping sections, below whatever the thread was doing.
extern "C" fn read_in_handler(_: libc::c_int) {
    let Some(world) = world() else { return };
    let round = seat::mine().handler.spans[0].load(Relaxed) as usize;
    let mut outer = Section::begin(world, Kind::Handler);
    outer.look(world, round % (2 * CELLS), round.is_multiple_of(8));
    let mut inner = Section::begin(world, Kind::Handler);
    outer.linger(round % 16);
    drop(outer);
    inner.look(world, (round / 2) % (2 * CELLS), false);
    inner.linger(round % 64);
}

/// At least this many times as long as a handler takes lies between two of them: who is interrupted
/// all the time gets nowhere, which is no fault of the library's.
const SHARE: u32 = 8;

/// What a signal and its handler take here, at best.
fn cost() -> Duration {
    static COST: OnceLock<Duration> = OnceLock::new();
    let one = |_| {
        let begin = Instant::now();
        // SAFETY: the signal has a handler.
        unsafe { libc::raise(SIGNAL) };
        begin.elapsed()
    };
    *COST.get_or_init(|| (0..20).map(one).min().expect("some"))
}

/// Makes the handler ready. To be called before there are timers.
pub(crate) fn handle() {
    // SAFETY: all-zero is a valid action; the handler is async-signal-safe: it reads, and stores
    // to atomics.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = read_in_handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(SIGNAL, &action, std::ptr::null_mut()), 0);
    }
}

/// Interrupts the thread that made it until it is dropped, and perhaps once more.
#[derive(Debug)]
pub(crate) struct Timer(libc::timer_t);

impl Timer {
    /// Nothing, if the kernel has no more timers to give. Not so often that nothing else is done.
    pub(crate) fn every(interval: Duration) -> Option<Timer> {
        let interval = interval.max(SHARE * cost());
        let interval = libc::timespec {
            tv_sec: interval.as_secs() as _,
            tv_nsec: interval.subsec_nanos().into(),
        };
        let setting = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: all-zero is a valid event; event, timer and setting are live locals; the signal
        // has a handler.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = std::ptr::null_mut();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
                return None;
            }
            let timer = Timer(timer);
            let set = libc::timer_settime(timer.0, 0, &setting, std::ptr::null_mut());
            (set == 0).then_some(timer)
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: created by `every`, deleted once, here.
        unsafe { libc::timer_delete(self.0) };
    }
}

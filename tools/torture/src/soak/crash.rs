//! What else may go wrong in a broken process: faults and panics, as evidence.

use super::evidence::{What, note};
use super::seat;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static SEED: AtomicU64 = AtomicU64::new(0);
/// Whether a crash is what we are waiting for.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// From here on, a panic of any thread is a violation, and a fault tells the seed. A fault is
/// passed on to the system, which makes a core dump, unless it is `expected`: then the process
/// exits as after any violation.
pub(crate) fn report(seed: u64, expected: bool) {
    SEED.store(seed, Relaxed);
    EXPECTED.store(expected, Relaxed);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        note(
            What::Panicked,
            seat::mine().look().map_or("between two rounds", |(what, _)| what),
            [],
        );
        print(info);
    }));
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGABRT] {
        // SAFETY: all-zero is a valid action; the handler does only what is allowed in one, and
        // is reset before it runs.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_fault(signal: libc::c_int) {
    let mut line = Line { bytes: [0; 160], length: 0 };
    line.text(b"\ntorture: VIOLATION: crashed by signal ");
    line.number(signal.unsigned_abs().into());
    line.text(b" [thread ");
    line.number(seat::number() as u64);
    line.text(b"], seed ");
    line.number(SEED.load(Relaxed));
    line.text(b"\n");
    // SAFETY: writes from a live local; both calls are async-signal-safe.
    unsafe {
        libc::write(2, line.bytes.as_ptr().cast(), line.length);
        if EXPECTED.load(Relaxed) {
            libc::_exit(1);
        }
        // Comes again, and finds no handler; an abort does so by itself.
        libc::raise(signal);
    }
}

/// Text made without allocating.
struct Line {
    bytes: [u8; 160],
    length: usize,
}

impl Line {
    fn text(&mut self, text: &[u8]) {
        for &byte in text {
            if let Some(room) = self.bytes.get_mut(self.length) {
                *room = byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, number: u64) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.text(&[b'0' + (number % 10) as u8]);
    }
}

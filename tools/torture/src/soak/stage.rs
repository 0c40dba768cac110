//! Who runs, who pauses, and when all is over.

use std::sync::atomic::{AtomicU8, Ordering::*};
use std::sync::{Condvar, Mutex};

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const STOP: u8 = 2;

/// Where the threads of a run meet.
#[derive(Debug)]
pub(crate) struct Stage {
    state: AtomicU8,
    paused: Mutex<usize>,
    changed: Condvar,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage { state: AtomicU8::new(RUN), paused: Mutex::new(0), changed: Condvar::new() }
    }

    /// For a thread between two rounds: waits while all pause. False if it is over.
    #[inline(always)]
    pub(crate) fn goes_on(&self) -> bool {
        self.state.load(Relaxed) == RUN || self.wait()
    }

    #[cold]
    fn wait(&self) -> bool {
        let mut paused = self.paused.lock().unwrap();
        *paused += 1;
        while self.state.load(Relaxed) == PAUSE {
            paused = self.changed.wait(paused).unwrap();
        }
        *paused -= 1;
        self.state.load(Relaxed) != STOP
    }

    /// How many threads pause.
    pub(crate) fn paused(&self) -> usize {
        *self.paused.lock().unwrap()
    }

    pub(crate) fn runs(&self) -> bool {
        self.state.load(Relaxed) == RUN
    }

    pub(crate) fn pause(&self) {
        self.change(PAUSE);
    }

    pub(crate) fn resume(&self) {
        self.change(RUN);
    }

    pub(crate) fn stop(&self) {
        self.change(STOP);
    }

    fn change(&self, state: u8) {
        let _paused = self.paused.lock().unwrap();
        self.state.store(state, Relaxed);
        self.changed.notify_all();
    }
}

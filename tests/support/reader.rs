//! Readers on threads of their own, and waiting for what others do.

use super::tiers::PATIENCE;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use stillpoint::rcu::Domain;

/// A thread that holds a guard until it is told to leave, or this is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    leave: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// In its section on return.
    pub(crate) fn of(domain: &'static Domain) -> Reader {
        let (leave, left) = channel();
        let (entered, has_entered) = channel();
        let thread = spawn(move || {
            let guard = domain.read();
            entered.send(()).unwrap();
            let _ = left.recv();
            drop(guard);
        });
        has_entered.recv().unwrap();
        Reader { leave: Some(leave), thread: Some(thread) }
    }

    /// Returns when its guard is dropped.
    pub(crate) fn leave(self) {}

    /// Leaves after so long.
    pub(crate) fn leave_after(self, time: Duration) -> JoinHandle<()> {
        spawn(move || {
            sleep(time);
            self.leave();
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Waits until `happened`, which must be soon.
#[track_caller]
pub(crate) fn soon(what: &str, happened: impl Fn() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < PATIENCE / 2, "{what}: not within {:?}", begin.elapsed());
        sleep(Duration::from_millis(1));
    }
}

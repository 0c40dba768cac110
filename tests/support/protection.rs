//! What a guard is for, as an assertion.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{scope, sleep};
use std::time::Duration;
use stillpoint::rcu::{self, RcuCell, ReadGuard};

/// A value that says, in memory that is never freed, whether it was dropped.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) number: u64,
    alive: &'static AtomicBool,
}

impl Tracked {
    pub(crate) fn new(number: u64) -> Tracked {
        Tracked { number, alive: Box::leak(Box::new(AtomicBool::new(true))) }
    }

    /// Tells of this value for ever.
    pub(crate) fn witness(&self) -> &'static AtomicBool {
        self.alive
    }

    pub(crate) fn assert_alive(&self) {
        assert!(self.alive.load(SeqCst), "value {} was dropped under a guard", self.number);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        assert!(self.alive.swap(false, SeqCst), "value {} was dropped twice", self.number);
    }
}

/// To be called once, with a guard of the global domain.
pub(crate) type Hold<'h> = &'h (dyn Fn(&ReadGuard<'_>) + Sync);

/// Runs `reader` on a thread of its own. As long as that is in `hold`, its guard must hold up
/// a grace period, and must keep what was loaded under it; afterwards it must do neither.
pub(crate) fn protects(reader: impl FnOnce(Hold<'_>) + Send) {
    let cell = RcuCell::new(Tracked::new(1));
    let (reading, released) = (Barrier::new(2), AtomicBool::new(false));
    let hold = |guard: &ReadGuard<'_>| {
        let seen = cell.load(guard);
        reading.wait();
        while !released.load(SeqCst) {
            sleep(Duration::from_millis(1));
            seen.assert_alive();
        }
        seen.assert_alive();
    };
    let witness = scope(|s| {
        let reader = s.spawn(|| reader(&hold));
        reading.wait();
        let old = cell.swap(Tracked::new(2));
        let witness = old.witness();
        drop(old);
        let waiter = s.spawn(rcu::synchronize);
        sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished(), "a grace period ended under a guard");
        assert!(witness.load(SeqCst));
        released.store(true, SeqCst);
        reader.join().unwrap();
        waiter.join().unwrap();
        witness
    });
    rcu::barrier();
    assert!(!witness.load(SeqCst), "not dropped after a grace period");
}

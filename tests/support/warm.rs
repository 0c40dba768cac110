//! Locks biased towards their readers, and locks that are not.

use std::time::{Duration, Instant};
use stillpoint::RwLock;

/// Whatever has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether readers may claim slots. The lock says so in the debug format of its raw part only.
pub(crate) fn is_biased<T: ?Sized>(lock: &RwLock<T>) -> bool {
    const CLOSED: u64 = 1 << 63;
    // SAFETY: it is only looked at.
    let raw = format!("{:?}", unsafe { lock.raw() });
    let gate = raw.split_once("gate: ").and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    gate.unwrap_or_else(|| panic!("no gate in {raw}")) & CLOSED == 0
}

/// Reads until the lock is biased. Nobody may write meanwhile.
pub(crate) fn warm<T: ?Sized>(lock: &RwLock<T>) {
    let begin = Instant::now();
    while !is_biased(lock) {
        for _ in 0..1001 {
            drop(lock.read());
        }
        assert!(begin.elapsed() < PATIENCE, "still cold: {:?}", begin.elapsed());
    }
}

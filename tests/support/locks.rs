//! What tests of locks share.

use super::tiers::{PATIENCE, in_time};
use super::warm::{is_biased, warm};
use std::thread::sleep;
use std::time::{Duration, Instant};
use stillpoint::RwLock;

/// Long enough for a thread to get stuck where it should.
pub(crate) const MOMENT: Duration = Duration::from_millis(20);

/// Runs `test` with a new lock, then with one that is biased.
pub(crate) fn cold_and_warm<T: Default>(test: impl Fn(RwLock<T>)) {
    in_time(|| {
        let cold = RwLock::new(T::default());
        assert!(!is_biased(&cold));
        test(cold);
        let biased = RwLock::new(T::default());
        warm(&biased);
        test(biased);
    });
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

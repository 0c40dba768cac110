//! Whoever waits for a limited time gets it in time, or comes back without.

use crate::stress::{Mutex, choose};
use crate::tiers::in_time;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(100);

#[test]
fn a_free_lock_is_taken_at_once_whatever_the_time() {
    let lock = Mutex::new(());
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    for time in [Duration::ZERO, MOMENT, LONG, Duration::MAX] {
        assert!(lock.try_lock_for(time).is_some());
    }
    for until in [past, Instant::now(), Instant::now() + LONG] {
        assert!(lock.try_lock_until(until).is_some());
    }
    assert!(lock.try_lock().is_some());
}

/// Waiters that leave from the front, the middle and the end of the queue, and from several
/// cohorts.
#[test]
fn a_holder_outlasts_everyone_elses_time() {
    let lock = Mutex::new(());
    in_time(|| {
        for _ in 0..3 {
            let guard = lock.lock();
            scope(|s| {
                for number in 0..9_u32 {
                    let lock = &lock;
                    s.spawn(move || {
                        choose(number % 3);
                        let time = MOMENT * (1 + number * 4 % 9) / 4;
                        let begin = Instant::now();
                        assert!(lock.try_lock_for(time).is_none());
                        assert!(begin.elapsed() >= time);
                    });
                }
            });
            assert!(lock.try_lock_for(Duration::ZERO).is_none());
            drop(guard);
            assert!(!lock.is_locked() && lock.try_lock().is_some());
        }
    });
}

/// Of those that wait, some leave; the others get it, each once.
#[test]
fn those_that_stay_get_it() {
    let lock = Mutex::new(0);
    in_time(|| {
        for round in 0..4_u32 {
            let guard = lock.lock();
            scope(|s| {
                for number in 0..12_u32 {
                    let lock = &lock;
                    s.spawn(move || {
                        choose(number % 2);
                        let stays = number % 4 != round;
                        let time = if stays { LONG } else { MOMENT / 2 };
                        match lock.try_lock_for(time) {
                            Some(mut guard) => *guard += 1,
                            None => assert!(!stays),
                        }
                    });
                }
                sleep(MOMENT);
                drop(guard);
            });
        }
        assert!((36..=48).contains(&*lock.lock()));
    });
}

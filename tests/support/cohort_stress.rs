//! Threads of several cohorts fight for a lock; some have little time.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, scope};
use std::time::Duration;
use stillpoint::lock::{Cohorts, RawCohortMutex, lock_api};

std::thread_local!(static COHORT: Cell<u32> = const { Cell::new(0) });

/// The cohort that the thread has chosen.
pub(crate) struct Chosen;

impl Cohorts for Chosen {
    fn cohort() -> u32 {
        COHORT.get()
    }
}

pub(crate) fn choose(cohort: u32) {
    COHORT.set(cohort);
}

pub(crate) type Mutex<T> = lock_api::Mutex<RawCohortMutex<Chosen>, T>;

/// Two words that are equal unless somebody is amid a change.
#[derive(Default)]
pub(crate) struct Pair {
    pub(crate) one: u64,
    pub(crate) other: u64,
}

impl Pair {
    /// False if somebody else changes it at the same time.
    pub(crate) fn change(&mut self) -> bool {
        let was_whole = self.one == self.other;
        self.one += 1;
        std::hint::black_box(&mut *self);
        self.other += 1;
        was_whole
    }
}

/// What has been done so far, for a watchdog.
pub(crate) static DONE: AtomicU64 = AtomicU64::new(0);

/// `threads` of four cohorts change a pair until `time` is over, and now and then their minds on
/// what cohort they are of. Every other one gives up after some microseconds, and tries again.
/// Returns how many changes got lost, or met others.
pub(crate) fn storm(threads: u32, time: Duration) -> u64 {
    let lock = Mutex::new(Pair::default());
    let (stop, violations, changes) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let run = &|number: u32| {
        let mut random = fastrand::Rng::with_seed(number.into());
        choose(number % 4);
        let mut mine = 0;
        while !stop.load(Ordering::Relaxed) {
            if random.u32(..1000) == 0 {
                choose(random.u32(..));
            }
            let guard = if number.is_multiple_of(2) {
                Some(lock.lock())
            } else {
                lock.try_lock_for(Duration::from_micros(random.u64(..300)))
            };
            let Some(mut guard) = guard else { continue };
            violations.fetch_add(u64::from(!guard.change()), Ordering::Relaxed);
            mine += 1;
            match random.u32(..100) {
                0 => std::thread::yield_now(),
                1 => std::thread::sleep(Duration::from_micros(50)),
                2..20 => lock_api::MutexGuard::unlock_fair(guard),
                _ => {}
            }
            DONE.fetch_add(1, Ordering::Relaxed);
        }
        changes.fetch_add(mine, Ordering::Relaxed);
    };
    scope(|s| {
        for number in 0..threads {
            let builder = Builder::new().stack_size(128 << 10);
            builder.spawn_scoped(s, move || run(number)).unwrap();
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let all = changes.load(Ordering::Relaxed);
    println!("{threads} threads: {all} changes");
    violations.load(Ordering::Relaxed) + u64::from(lock.into_inner().one != all)
}

//! Several threads.

use super::stress::{self, Canary};
use super::{Lock, Raw};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

pub(crate) fn nobody_meets<R: Raw>() {
    for threads in [2, 3, 8] {
        let lock = Lock::<R, Canary>::new(Canary::default());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..10_000).for_each(|_| lock.lock().enter()));
            }
        });
        assert_eq!(lock.into_inner().entered(), threads * 10_000);
    }
}

pub(crate) fn a_thousand_threads<R: Raw>() {
    const THREADS: usize = 1000;
    let lock = Lock::<R, Canary>::new(Canary::default());
    let all = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let body = || {
                all.wait();
                (0..20).for_each(|_| lock.lock().enter());
            };
            thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, body).unwrap();
        }
    });
    assert_eq!(lock.into_inner().entered(), THREADS as u64 * 20);
}

/// Two at once, given up in either order.
pub(crate) fn nested_locks<R: Raw>() {
    let locks = [(); 2].map(|()| Lock::<R, Canary>::new(Canary::default()));
    thread::scope(|scope| {
        for thread in 0..4 {
            let locks = &locks;
            scope.spawn(move || {
                for round in 0..2000 {
                    let mut outer = locks[0].lock();
                    let mut inner = locks[1].lock();
                    inner.enter();
                    outer.enter();
                    if (thread + round) % 2 == 0 {
                        drop(outer);
                        inner.enter();
                    } else {
                        drop(inner);
                        outer.enter();
                    }
                }
            });
        }
    });
    let entered = locks.map(|lock| lock.into_inner().entered());
    assert_eq!(entered.iter().sum::<u64>(), 3 * 4 * 2000);
}

/// Many that are neighbours in memory.
pub(crate) fn many_locks<R: Raw>() {
    let locks: Vec<_> = (0..64).map(|_| Lock::<R, Canary>::new(Canary::default())).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let locks = &locks;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                (0..20_000).for_each(|_| locks[random.usize(..locks.len())].lock().enter());
            });
        }
    });
    assert_eq!(locks.into_iter().map(|lock| lock.into_inner().entered()).sum::<u64>(), 80_000);
}

pub(crate) fn everything_at_once<R: Raw>() {
    let report = stress::run::<R>(Duration::from_millis(700), super::tiers::PATIENCE / 2);
    println!("{report:?}");
    assert_eq!(report.violations, 0);
    assert!(report.taken > 0);
}

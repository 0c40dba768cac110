//! The lock behind `lock_api` 0.4: exclusion among threads that move, and whatever unlocks what.
//!
//! `STILLPOINT_TIER` chooses the tier.

#[path = "support/cpus.rs"]
mod cpus;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "support/seccomp.rs"]
mod seccomp;
#[allow(dead_code, reason = "these tests choose no domain")]
#[path = "support/tiers.rs"]
mod tiers;
#[path = "support/tokens.rs"]
mod tokens;

use seccomp::{Filter, Rule};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::Tier;
use stillpoint::lock::v04::{
    MappedRwLockReadGuard, RawRwLock, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
    RwLockWriteGuard, lock_api,
};
use tiers::in_time;
use tokens::{ENOUGH, locks, opened, stress};

const SHORT: Duration = Duration::from_millis(20);
const RUN: Duration = Duration::from_millis(1500);

/// True if a writer on another thread gets the lock at once, or soon.
fn writable<T: Send + Sync>(lock: &RwLock<T>) -> bool {
    thread::scope(|s| s.spawn(|| lock.try_write_for(SHORT).is_some()).join().unwrap())
}

#[test]
fn is_small_and_static() {
    static LOCK: RwLock<()> = RwLock::new(());
    assert_eq!((size_of::<RawRwLock>(), size_of::<RwLock<()>>()), (16, 16));
    assert_eq!(size_of_val(&LOCK.read()), size_of::<usize>());
    assert_eq!(format!("{LOCK:?}"), "RwLock { data: () }");
}

#[test]
fn every_reader_counts_wherever_it_is_counted() {
    in_time(|| {
        let lock = opened(0);
        // More than a line has slots: the last are counted inside.
        for readers in [1, 7, 8, 9, 20] {
            let mut guards: Vec<_> = (0..readers).map(|_| lock.read()).collect();
            while let Some(guard) = guards.pop() {
                assert!(lock.is_locked() && !lock.is_locked_exclusive());
                assert!(lock.try_write().is_none());
                drop(guard);
            }
            assert!(!lock.is_locked(), "{readers} readers");
            *lock.try_write().unwrap() += 1;
            (0..ENOUGH * 20).for_each(|_| drop(lock.read()));
        }
        assert_eq!(lock.into_inner(), 5);
    });
}

#[test]
fn readers_of_other_locks_fill_the_slots() {
    in_time(|| {
        let locks: Vec<_> = (0..20).map(opened).collect();
        let guards: Vec<_> = locks.iter().map(RwLock::read).collect();
        assert!(locks.iter().all(|lock| !writable(lock)));
        for (lock, guard) in locks.iter().zip(guards) {
            drop(guard);
            assert!(writable(lock));
        }
    });
}

#[test]
fn a_forgotten_guard_is_found_by_force() {
    in_time(|| {
        let lock = opened(1);
        std::mem::forget((lock.read(), lock.read()));
        assert!(!writable(&lock));
        // SAFETY: forgotten above.
        unsafe { lock.force_unlock_read() };
        assert!(!writable(&lock));
        // SAFETY: as above, the other. Any thread may.
        thread::scope(|s| s.spawn(|| unsafe { lock.force_unlock_read() }).join().unwrap());
        assert!(writable(&lock));
    });
}

#[test]
fn timeouts_run_out_and_leave_no_trace() {
    in_time(|| {
        let lock = opened(0);
        let read = lock.read();
        thread::scope(|s| {
            let timed = || {
                let begin = Instant::now();
                assert!(lock.try_write().is_none());
                assert!(lock.try_write_for(SHORT).is_none());
                assert!(lock.try_write_until(Instant::now() + SHORT).is_none());
                assert!(begin.elapsed() >= 2 * SHORT);
            };
            s.spawn(timed).join().unwrap();
            assert!(s.spawn(|| lock.try_read_for(SHORT).is_some()).join().unwrap());
        });
        drop(read);
        let write = lock.try_write_for(SHORT).unwrap();
        thread::scope(|s| {
            let timed = || {
                assert!(lock.try_read().is_none() && lock.try_read_for(SHORT).is_none());
                assert!(lock.try_upgradable_read_for(SHORT).is_none());
            };
            s.spawn(timed).join().unwrap();
        });
        drop(write);
        assert!(lock.try_read_until(Instant::now()).is_some());
    });
}

/// While a guard of `lock_api` 0.4 is upgraded it is alive, and gives back what it has when a panic
/// drops it.
#[test]
fn a_refused_upgrade_is_given_back_once() {
    if stillpoint::machine().tier() == Tier::Fence {
        return println!("SKIPPED: nothing is broadcast on tier fence");
    }
    in_time(|| {
        let lock = opened(0);
        let refused = thread::scope(|s| {
            let filtered = s.spawn(|| {
                Filter::new(&[Rule::membarrier(libc::EPERM)]).install().ok()?;
                let guard = lock.upgradable_read();
                let upgrade = || *RwLockUpgradableReadGuard::upgrade(guard) += 1;
                Some(catch_unwind(AssertUnwindSafe(upgrade)).is_err())
            });
            filtered.join().unwrap()
        });
        match refused {
            None => return println!("SKIPPED: no filter can be installed"),
            Some(refused) => assert!(refused, "the broadcast was allowed, or not needed"),
        }
        assert!(!lock.is_locked());
        let guard = lock.try_upgradable_read().unwrap();
        assert!(lock.try_upgradable_read().is_none() && !writable(&lock));
        drop(guard);
        assert!(writable(&lock));
    });
}

#[test]
fn a_waiting_writer_is_woken_by_whoever_leaves_last() {
    in_time(|| {
        for _ in 0..20 {
            let lock = opened(0);
            let mut guards: Vec<_> = (0..12).map(|_| lock.read()).collect();
            thread::scope(|s| {
                let ((told, heard), lock) = (channel(), &lock);
                s.spawn(move || {
                    told.send(()).unwrap();
                    *lock.write() += 1;
                });
                heard.recv().unwrap();
                thread::sleep(Duration::from_millis(2));
                // From both ends: slots and shares mixed.
                while !guards.is_empty() {
                    drop(guards.swap_remove(guards.len() / 2));
                }
            });
            assert_eq!(*lock.read(), 1);
        }
    });
}

#[test]
fn modes_change_into_each_other() {
    in_time(|| {
        let lock = opened(vec![1, 2]);
        let mut upgradable = lock.upgradable_read();
        let read = lock.read();
        assert!(lock.try_upgradable_read().is_none() && lock.try_write().is_none());
        upgradable = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap_err();
        upgradable = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, SHORT).unwrap_err();
        drop(read);
        upgradable.with_upgraded(|v| v.push(3));
        let mut write = RwLockUpgradableReadGuard::upgrade(upgradable);
        write.push(4);
        let upgradable = RwLockWriteGuard::downgrade_to_upgradable(write);
        let read = RwLockUpgradableReadGuard::downgrade(upgradable);
        assert_eq!(*read, [1, 2, 3, 4]);
        assert!(lock.try_read().is_some() && lock.try_write().is_none());
        RwLockReadGuard::unlock_fair(read);
        let mut read = RwLockWriteGuard::downgrade(lock.write());
        RwLockReadGuard::bump(&mut read);
        let first: MappedRwLockReadGuard<'_, i32> = RwLockReadGuard::map(read, |v| &v[0]);
        assert_eq!(*first, 1);
        drop(first);
        RwLockWriteGuard::unlock_fair(lock.write());
        RwLockUpgradableReadGuard::unlock_fair(lock.upgradable_read());
        assert!(writable(&lock));
    });
}

#[test]
fn a_writer_is_alone_among_threads_that_move() {
    in_time(|| stress(&locks(1), RUN, Duration::from_micros(300)));
}

#[test]
fn a_writer_is_alone_when_slots_run_out() {
    in_time(|| stress(&locks(12), RUN, Duration::from_micros(100)));
}

#[test]
fn a_writer_is_alone_among_other_writers() {
    in_time(|| stress(&locks(2), RUN, Duration::ZERO));
}

/// The mutex and the spin lock, behind the older traits.
fn mutex<R>()
where
    R: lock_api::RawMutexFair
        + lock_api::RawMutexTimed<Duration = Duration, Instant = Instant>
        + Send
        + Sync,
{
    let lock = lock_api::Mutex::<R, u32>::new(0);
    let guard = lock.lock();
    assert!(lock.try_lock().is_none() && lock.try_lock_for(Duration::from_millis(1)).is_none());
    lock_api::MutexGuard::unlock_fair(guard);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5000).for_each(|_| *lock.lock() += 1));
        }
    });
    assert_eq!(lock.into_inner(), 20_000);
}

#[test]
fn mutexes() {
    mutex::<stillpoint::lock::v04::RawMutex>();
    mutex::<stillpoint::lock::v04::RawSpinLock>();
}

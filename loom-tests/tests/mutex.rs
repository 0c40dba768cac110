//! Models of the mutex and the spin lock, on the shipped source.
//!
//! What is protected is a loom cell: the checker itself reports accesses that no lock orders. A
//! thread that is never woken is a deadlock, which it reports too. In a model the lock is given up
//! by a store after the second quiet unlock, and nobody looks more than once.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use stillpoint::Tier;
use stillpoint::lock::{RawMutex, RawSpinLock};
use stillpoint::mutant::Mutant;
use stillpoint::rseq::model;
use support::{Tracked, registered};

/// What both locks can do.
trait Lock: 'static {
    fn fresh() -> Self;
    fn with(&self, work: &mut dyn FnMut());
    fn with_fairly(&self, work: &mut dyn FnMut());
    fn try_with(&self, work: &mut dyn FnMut()) -> bool;
    fn try_until_woken(&self, work: &mut dyn FnMut());
    fn try_until_parked(&self, work: &mut dyn FnMut());
    fn is_locked(&self) -> bool;
}

macro_rules! lock {
    ($name:ident) => {
        impl Lock for $name {
            fn fresh() -> $name {
                $name::new()
            }

            fn with(&self, work: &mut dyn FnMut()) {
                let state = self.lock();
                work();
                // SAFETY: locked above.
                unsafe { self.unlock(state) };
            }

            fn with_fairly(&self, work: &mut dyn FnMut()) {
                let state = self.lock();
                work();
                // SAFETY: locked above.
                unsafe { self.unlock_fair(state) };
            }

            fn try_with(&self, work: &mut dyn FnMut()) -> bool {
                let Some(state) = self.try_lock() else { return false };
                work();
                // SAFETY: locked above.
                unsafe { self.unlock(state) };
                true
            }

            fn try_until_woken(&self, work: &mut dyn FnMut()) {
                if let Some(state) = self.try_lock_until_woken() {
                    work();
                    // SAFETY: locked above.
                    unsafe { self.unlock(state) };
                }
            }

            fn try_until_parked(&self, work: &mut dyn FnMut()) {
                if let Some(state) = self.try_lock_until_parked() {
                    work();
                    // SAFETY: locked above.
                    unsafe { self.unlock(state) };
                }
            }

            fn is_locked(&self) -> bool {
                $name::is_locked(self)
            }
        }
    };
}

lock!(RawMutex);
lock!(RawSpinLock);

/// A lock and what it protects.
struct Shared<L> {
    lock: L,
    value: Tracked,
}

impl<L: Lock> Shared<L> {
    fn new(tier: Tier) -> Arc<Shared<L>> {
        model::set_limit(tier);
        Arc::new(Shared { lock: L::fresh(), value: Tracked::new(0) })
    }

    /// So many uses by one thread: then, if there are enough, the lock is given up by a store.
    fn used(tier: Tier, times: usize) -> Arc<Shared<L>> {
        let shared = Shared::new(tier);
        (0..times).for_each(|_| shared.add());
        shared
    }

    fn change(&self) {
        self.value.set(self.value.get() + 1);
    }

    fn add(&self) {
        self.lock.with(&mut || self.change());
    }

    fn add_twice(&self) {
        self.add();
        self.add();
    }

    fn add_fairly(&self) {
        self.lock.with_fairly(&mut || self.change());
    }

    fn try_add(&self) {
        self.lock.try_with(&mut || self.change());
    }

    fn add_or_give_up(&self) {
        self.lock.try_until_woken(&mut || self.change());
    }

    fn add_or_time_out(&self) {
        self.lock.try_until_parked(&mut || self.change());
    }
}

/// Threads that do this and that, the last of them on the main thread; each on the CPU that it is
/// given by turns. In the end the lock is free.
fn together<L: Lock, const N: usize>(
    tier: Tier,
    quiet: usize,
    script: fn(),
    work: [fn(&Shared<L>); N],
) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::<L>::used(tier, quiet);
        let (last, others) = work.split_last().expect("some thread");
        let others: Vec<JoinHandle<()>> = others
            .iter()
            .enumerate()
            .map(|(i, &work)| {
                let shared = shared.clone();
                thread::spawn(move || {
                    model::run_on(i % model::CPUS);
                    script();
                    work(&shared);
                })
            })
            .collect();
        model::run_on(1);
        last(&shared);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!shared.lock.is_locked(), "held by nobody: deadlock");
    }
}

type Mutex = Shared<RawMutex>;
type Spin = Shared<RawSpinLock>;
const PLAIN: usize = 2;

models! {
    two_rseq: 3, together(Tier::Rseq, 0, registered, [Mutex::add_twice, Mutex::add_twice]);
    two_plain_rseq: 3,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_twice, Mutex::add_twice]);
    #[ignore = "takes a minute"]
    two_plain_rseq_deeper: 4,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_twice, Mutex::add_twice]);
    two_plain_membarrier: 3,
        together(Tier::Membarrier, PLAIN, registered, [Mutex::add_twice, Mutex::add_twice]);
    two_fence: 3, together(Tier::Fence, PLAIN, registered, [Mutex::add_twice, Mutex::add_twice]);
    two_unregistered: 3,
        together(Tier::Rseq, PLAIN, model::unregister, [Mutex::add_twice, Mutex::add_twice]);
    two_lost_aborts: 3,
        together(Tier::Rseq, PLAIN, model::lose_aborts, [Mutex::add_twice, Mutex::add_twice]);
    three_rseq: 2, together(Tier::Rseq, 0, registered, [Mutex::add, Mutex::add, Mutex::add]);
    three_plain_rseq: 2,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add, Mutex::add, Mutex::add]);
    #[ignore = "takes a minute"]
    three_plain_rseq_deeper: 3,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add, Mutex::add, Mutex::add]);
    three_fence: 2, together(Tier::Fence, 0, registered, [Mutex::add, Mutex::add, Mutex::add]);
    fair: 2, together(Tier::Rseq, 0, registered, [Mutex::add_fairly, Mutex::add_fairly, Mutex::add]);
    tries: 2, together(Tier::Rseq, PLAIN, registered, [Mutex::try_add, Mutex::add, Mutex::add]);
    gives_up: 2,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_give_up, Mutex::add, Mutex::add]);
    gives_up_plain: 2,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_or_give_up, Mutex::add, Mutex::add]);
    times_out: 2,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_time_out, Mutex::add, Mutex::add]);
    times_out_plain: 2,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_or_time_out, Mutex::add, Mutex::add]);
    times_out_alone: 4,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_or_time_out, Mutex::add_twice]);
    times_out_handed: 4,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_time_out, Mutex::add_fairly]);
    two_time_out: 2, together(
        Tier::Rseq, 0, registered,
        [Mutex::add_or_time_out, Mutex::add_or_time_out, Mutex::add_fairly],
    );
    #[ignore = "takes a minute"]
    two_time_out_deeper: 3, together(
        Tier::Rseq, 0, registered,
        [Mutex::add_or_time_out, Mutex::add_or_time_out, Mutex::add_fairly],
    );
    spinning_times_out: 2,
        together(Tier::Rseq, 0, registered, [Spin::add_or_time_out, Spin::add, Spin::add]);
    spinning_two: 3, together(Tier::Rseq, 0, registered, [Spin::add_twice, Spin::add_twice]);
    spinning_plain: 3, together(Tier::Rseq, PLAIN, registered, [Spin::add_twice, Spin::add]);
    spinning_three: 2, together(Tier::Rseq, 0, registered, [Spin::add, Spin::add, Spin::add]);
}

mutants! {
    wake_before_release: WakeBeforeRelease, 3,
        together(Tier::Rseq, 0, registered, [Mutex::add_twice, Mutex::add_twice]);
    lost_parked: LostParked, 2,
        together(Tier::Rseq, 0, registered, [Mutex::add, Mutex::add, Mutex::add]);
    park_unchecked: ParkUnchecked, 3,
        together(Tier::Rseq, 0, registered, [Mutex::add, Mutex::add]);
    relaxed_take: RelaxedTake, 2, together(Tier::Rseq, 0, registered, [Mutex::add, Mutex::add]);
    relaxed_give: RelaxedGive, 2, together(Tier::Rseq, 0, registered, [Mutex::add, Mutex::add]);
    relaxed_give_plain: RelaxedGive, 2,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add, Mutex::add]);
    heir_forgotten: HeirForgotten, 3,
        together(Tier::Rseq, 0, registered, [Mutex::add_twice, Mutex::add_twice]);
    heir_gives_up: HeirForgotten, 2,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_give_up, Mutex::add, Mutex::add]);
    heir_times_out: HeirForgotten, 2,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_time_out, Mutex::add, Mutex::add]);
    handover_lost: HandoverLost, 3,
        together(Tier::Rseq, 0, registered, [Mutex::add_or_time_out, Mutex::add_fairly]);
    no_broadcast: NoBroadcast, 3,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_twice, Mutex::add]);
    no_light_fence: NoLightFence, 3,
        together(Tier::Rseq, PLAIN, registered, [Mutex::add_twice, Mutex::add]);
}

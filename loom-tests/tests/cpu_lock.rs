//! Models of the lock on a CPU's slot, on the shipped source.
//!
//! What is protected is a loom cell: the checker itself reports accesses that no lock orders.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread;
use stillpoint::Tier;
use stillpoint::mutant::Mutant;
use stillpoint::percpu::CpuLock;
use stillpoint::rseq::model;
use support::{Tracked, registered};

type Lock = CpuLock<Tracked>;

fn change(value: &Tracked) {
    value.set(value.get() + 1);
}

/// On CPU 0.
fn here(lock: &Lock) {
    model::run_on(0);
    change(&lock.lock());
}

fn moves(lock: &Lock) {
    model::run_on(0);
    let guard = lock.lock();
    model::run_on(1);
    change(&guard);
    drop(guard);
}

fn try_here(lock: &Lock) {
    model::run_on(0);
    if let Some(guard) = lock.try_lock() {
        change(&guard);
    }
}

/// From CPU 1.
fn from_elsewhere(lock: &Lock) {
    model::run_on(1);
    change(&lock.lock_cpu(0));
}

fn try_from_elsewhere(lock: &Lock) {
    model::run_on(1);
    if let Some(guard) = lock.try_lock_cpu(0) {
        change(&guard);
    }
}

fn together<const N: usize>(
    tier: Tier,
    script: fn(),
    work: [fn(&Lock); N],
) -> impl Fn() + Sync + Send + 'static {
    move || {
        model::set_limit(tier);
        let lock = Arc::new(CpuLock::new(|_| Tracked::new(0)));
        let (last, others) = work.split_last().expect("some thread");
        let others: Vec<_> = others
            .iter()
            .map(|&work| {
                let lock = lock.clone();
                thread::spawn(move || {
                    script();
                    work(&lock);
                })
            })
            .collect();
        last(&lock);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

models! {
    here_and_elsewhere: 3, together(Tier::Rseq, registered, [here, from_elsewhere]);
    two_here: 3, together(Tier::Rseq, registered, [here, here]);
    two_from_elsewhere: 3, together(Tier::Rseq, registered, [from_elsewhere, from_elsewhere]);
    moved: 3, together(Tier::Rseq, registered, [moves, from_elsewhere]);
    tries: 2, together(Tier::Rseq, registered, [try_here, try_from_elsewhere, here]);
    unregistered: 3, together(Tier::Rseq, model::unregister, [here, here]);
    lost_abort: 2, together(Tier::Rseq, model::lose_an_abort, [here, from_elsewhere]);
    three: 2, together(Tier::Rseq, registered, [here, from_elsewhere, from_elsewhere]);
    membarrier: 3, together(Tier::Membarrier, registered, [here, from_elsewhere]);
    fence: 2, together(Tier::Fence, registered, [here, here, from_elsewhere]);
}

mutants! {
    no_broadcast: NoBroadcast, 3, together(Tier::Rseq, registered, [here, from_elsewhere]);
    relaxed_give: RelaxedGive, 3, together(Tier::Rseq, registered, [here, from_elsewhere]);
    park_unchecked: ParkUnchecked, 3, together(Tier::Rseq, registered, [here, from_elsewhere]);
    lost_parked: LostParked, 3, together(Tier::Rseq, registered, [here, from_elsewhere]);
    same_ticket: SameTicket, 4,
        together(Tier::Rseq, registered, [try_from_elsewhere, try_from_elsewhere, try_here]);
}

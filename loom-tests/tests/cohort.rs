//! Models of the cohort lock, on the shipped source.
//!
//! What is protected is a loom cell, and so are the links of waiters: the checker itself reports
//! accesses that no lock orders. A thread that is never woken, or a lock that nobody has and nobody
//! gets, is a deadlock, which it reports too. A turn is over after one pass here, and a waiter
//! parks after one look.

#[macro_use]
mod support;

use loom::cell::Cell;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use stillpoint::lock::{Cohorts, RawCohortMutex};
use stillpoint::mutant::Mutant;
use support::Tracked;

loom::thread_local! {
    static COHORT: Cell<u32> = Cell::new(0);
}

struct Chosen;

impl Cohorts for Chosen {
    fn cohort() -> u32 {
        COHORT.with(Cell::get)
    }
}

/// A lock and what it protects.
struct Shared {
    lock: RawCohortMutex<Chosen>,
    value: Tracked,
    /// Who has had the lock, one digit each.
    order: Tracked,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: RawCohortMutex::new(),
            value: Tracked::new(0),
            order: Tracked::new(0),
        })
    }

    fn change(&self) {
        self.value.set(self.value.get() + 1);
    }

    fn lock(&self) {
        let was_handed = self.lock.lock();
        self.change();
        // SAFETY: locked above.
        unsafe { self.lock.unlock(was_handed) };
    }

    fn lock_twice(&self) {
        self.lock();
        self.lock();
    }

    fn fairly(&self) {
        self.lock.lock();
        self.change();
        // SAFETY: locked above.
        unsafe { self.lock.unlock_fair() };
    }

    fn try_lock(&self) {
        if let Some(was_handed) = self.lock.try_lock() {
            self.change();
            // SAFETY: locked above.
            unsafe { self.lock.unlock(was_handed) };
        }
    }

    /// Queues, and leaves at once, unless it is given the lock meanwhile.
    fn soon(&self) {
        if let Some(was_handed) = self.lock.try_lock_soon() {
            self.change();
            // SAFETY: locked above.
            unsafe { self.lock.unlock(was_handed) };
        }
    }

    /// Queues and parks, and leaves then, unless it is given the lock meanwhile.
    fn parked(&self) {
        if let Some(was_handed) = self.lock.try_lock_until_parked() {
            self.change();
            // SAFETY: locked above.
            unsafe { self.lock.unlock(was_handed) };
        }
    }

    fn soon_twice(&self) {
        self.soon();
        self.soon();
    }
}

type Action = fn(&Shared);

fn spawn(shared: &Arc<Shared>, cohort: u32, run: impl FnOnce(&Shared) + 'static) -> JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        COHORT.with(|c| c.set(cohort));
        run(&shared);
    })
}

/// The main thread and others, of these cohorts, do this and that. In the end the lock is free.
fn together<const N: usize>(
    main: Action,
    others: [(u32, Action); N],
) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new();
        let others = others.map(|(cohort, action)| spawn(&shared, cohort, action));
        main(&shared);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(!shared.lock.is_locked(), "deadlock: nobody has it, nobody gets it");
        shared.lock();
    }
}

/// The lock is held while waiters arrive, of these cohorts, one after the other. The one of another
/// cohort than the holder's must not be the last to get it.
fn queue_of(cohorts: [u32; 3]) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::new();
        let was_handed = shared.lock.lock();
        let mut before = shared.lock.latest_arrival();
        let mut waiters = Vec::new();
        for cohort in cohorts {
            waiters.push(spawn(&shared, cohort, move |shared| {
                let was_handed = shared.lock.lock();
                shared.order.set(shared.order.get() * 10 + u64::from(cohort));
                // SAFETY: locked above.
                unsafe { shared.lock.unlock(was_handed) };
            }));
            while shared.lock.latest_arrival() == before {
                thread::yield_now();
            }
            before = shared.lock.latest_arrival();
        }
        // SAFETY: locked above.
        unsafe { shared.lock.unlock(was_handed) };
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        // The digits are the cohorts, in the order in which they had the lock.
        let last = shared.order.get() % 10;
        assert_eq!(last, 0, "too late: passed over beyond the bound");
        let handovers = shared.lock.counted();
        assert!(handovers.local + handovers.remote <= 3);
    }
}

models! {
    two: 4, together(Shared::lock, [(0, Shared::lock)]);
    two_again_and_again: 2, together(Shared::lock_twice, [(1, Shared::lock_twice)]);
    three: 2, together(Shared::lock, [(0, Shared::lock), (0, Shared::lock)]);
    three_cohorts: 2, together(Shared::lock, [(1, Shared::lock), (2, Shared::lock)]);
    fair: 2, together(Shared::fairly, [(0, Shared::fairly), (1, Shared::fairly)]);
    one_tries: 2, together(Shared::lock, [(1, Shared::lock), (0, Shared::try_lock)]);
    one_leaves: 4, together(Shared::lock, [(0, Shared::soon)]);
    // With 3, two that wait for the desk look at it in turns for ever: the checker never lets go on
    // who has it.
    two_leave: 2, together(Shared::lock, [(0, Shared::soon), (1, Shared::soon)]);
    one_leaves_and_one_stays: 2, together(Shared::lock, [(0, Shared::soon), (0, Shared::lock)]);
    one_leaves_twice: 2, together(Shared::lock, [(0, Shared::soon_twice), (1, Shared::lock)]);
    one_leaves_that_parked: 4, together(Shared::lock, [(0, Shared::parked)]);
    one_leaves_that_parked_fair: 4, together(Shared::fairly, [(0, Shared::parked)]);
    // With 3, as above.
    two_leave_that_parked: 2, together(Shared::lock, [(0, Shared::parked), (1, Shared::parked)]);
    one_leaves_that_parked_and_one_stays: 2,
        together(Shared::lock, [(0, Shared::parked), (1, Shared::lock)]);
    the_bound_holds: 1, queue_of([1, 0, 0]);
    the_bound_holds_behind_others: 1, queue_of([0, 1, 0]);
    #[ignore = "takes minutes"]
    the_bound_holds_deeper: 2, queue_of([1, 0, 0]);
}

mutants! {
    leave_without_desk: LeaveWithoutDesk, 2, together(Shared::lock, [(0, Shared::soon)]);
    grant_lost: GrantLost, 2, together(Shared::lock, [(0, Shared::soon)]);
    leave_parked_without_desk: LeaveWithoutDesk, 2, together(Shared::lock, [(0, Shared::parked)]);
    grant_lost_by_the_parked: GrantLost, 2, together(Shared::lock, [(0, Shared::parked)]);
    wake_before_grant: WakeBeforeGrant, 2, together(Shared::lock, [(0, Shared::lock)]);
    nobody_competes: NobodyCompetes, 2, together(Shared::lock, [(0, Shared::lock)]);
    relaxed_grant: RelaxedGrant, 2, together(Shared::lock, [(0, Shared::lock)]);
    relaxed_sort: RelaxedSort, 2, together(Shared::lock, [(0, Shared::lock), (0, Shared::lock)]);
    no_bound: NoBound, 1, queue_of([1, 0, 0]);
}

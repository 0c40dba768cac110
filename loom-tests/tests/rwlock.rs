//! Models of the reader-writer lock, on the shipped source.
//!
//! What is protected is a loom cell: the checker itself reports accesses that no lock orders. A
//! thread that is never woken is a deadlock, which it reports too. The bias opens at the first read
//! that takes the lock inside.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use stillpoint::Tier;
use stillpoint::lock::RawRwLock;
use stillpoint::mutant::Mutant;
use stillpoint::rseq::model;
use support::{Tracked, registered};

/// A lock and what it protects.
struct Shared {
    lock: RawRwLock,
    value: Tracked,
}

impl Shared {
    /// Locked never before.
    fn fresh(tier: Tier) -> Arc<Shared> {
        model::set_limit(tier);
        Arc::new(Shared { lock: RawRwLock::new(), value: Tracked::new(0) })
    }

    /// With readers admitted to slots.
    fn biased(tier: Tier) -> Arc<Shared> {
        let shared = Shared::fresh(tier);
        shared.read();
        shared
    }

    fn read(&self) {
        let state = self.lock.lock_shared();
        self.value.get();
        self.value.get();
        // SAFETY: this lock's, given back once.
        unsafe { self.lock.unlock_shared(state) };
    }

    fn write(&self) {
        self.lock.lock_exclusive();
        self.value.set(1);
        // SAFETY: locked above.
        unsafe { self.lock.unlock_exclusive() };
    }

    fn write_fairly(&self) {
        self.lock.lock_exclusive();
        self.value.set(1);
        // SAFETY: locked above.
        unsafe { self.lock.unlock_exclusive_fair() };
    }

    /// Writes if nobody is there.
    fn try_write(&self) {
        if self.lock.try_lock_exclusive() {
            self.value.set(1);
            // SAFETY: locked above.
            unsafe { self.lock.unlock_exclusive() };
        }
    }

    fn upgrade(&self) {
        self.lock.lock_upgradable();
        self.value.get();
        // SAFETY: locked above, then exclusively.
        unsafe {
            self.lock.upgrade();
            self.value.set(1);
            self.lock.unlock_exclusive();
        }
    }

    fn downgrade(&self) {
        self.lock.lock_exclusive();
        self.value.set(1);
        // SAFETY: locked above; then this lock's, given back once.
        unsafe {
            let state = self.lock.downgrade_exclusive();
            self.value.get();
            self.lock.unlock_shared(state);
        }
    }
}

fn spawn(shared: &Arc<Shared>, run: impl FnOnce(&Shared) + 'static) -> JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
}

/// A reader, to whom the kernel does what `script` says, and what the main thread does meanwhile.
fn reader_and(tier: Tier, script: fn(), main: fn(&Shared)) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::biased(tier);
        let reader = spawn(&shared, move |shared| {
            script();
            shared.read();
        });
        model::run_on(1);
        main(&shared);
        reader.join().unwrap();
    }
}

/// Two readers, on two CPUs, or on one; a writer.
fn two_readers(tier: Tier, cpus: [usize; 2]) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::biased(tier);
        let readers = cpus.map(|cpu| {
            spawn(&shared, move |shared| {
                model::run_on(cpu);
                shared.read();
            })
        });
        model::run_on(1);
        shared.write();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }
}

/// One thread reads, two others do this and that.
fn three(tier: Tier, biased: bool, others: [fn(&Shared); 2]) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = if biased { Shared::biased(tier) } else { Shared::fresh(tier) };
        let [other, main] = others;
        let other = spawn(&shared, move |shared| {
            model::run_on(1);
            other(shared);
        });
        let reader = spawn(&shared, |shared| shared.read());
        model::run_on(1);
        main(&shared);
        other.join().unwrap();
        reader.join().unwrap();
    }
}

/// A reader that claims, loses the bias to the writer, opens it again, and claims again; a
/// writer that comes twice.
fn bias_comes_back(tier: Tier) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::biased(tier);
        let reader = spawn(&shared, |shared| {
            shared.read();
            shared.read();
        });
        model::run_on(1);
        shared.write();
        shared.write();
        reader.join().unwrap();
    }
}

/// A reader that moves to another CPU, or can run no sequence any more, before it ends.
fn reader_moves(end: fn()) -> impl Fn() + Sync + Send + 'static {
    move || {
        let shared = Shared::biased(Tier::Rseq);
        let reader = spawn(&shared, move |shared| {
            let state = shared.lock.lock_shared();
            shared.value.get();
            end();
            // SAFETY: this lock's, given back once.
            unsafe { shared.lock.unlock_shared(state) };
        });
        model::run_on(1);
        shared.write();
        reader.join().unwrap();
    }
}

/// All slots of the CPU hold readers of another lock.
fn slots_are_full() -> impl Fn() + Sync + Send + 'static {
    || {
        let (shared, other) = (Shared::biased(Tier::Rseq), Shared::biased(Tier::Rseq));
        let held = [other.lock.lock_shared(), other.lock.lock_shared()];
        let writer = spawn(&shared, |shared| {
            model::run_on(1);
            shared.write();
        });
        shared.read();
        writer.join().unwrap();
        for state in held {
            // SAFETY: that lock's, given back once.
            unsafe { other.lock.unlock_shared(state) };
        }
    }
}

fn move_on() {
    model::run_on(1);
}

fn try_then_write(shared: &Shared) {
    shared.try_write();
    shared.write();
}

models! {
    writer_rseq: 3, reader_and(Tier::Rseq, registered, Shared::write);
    writer_membarrier: 3, reader_and(Tier::Membarrier, registered, Shared::write);
    writer_fence: 3, reader_and(Tier::Fence, registered, Shared::write);
    writer_unregistered_reader: 3, reader_and(Tier::Rseq, model::unregister, Shared::write);
    writer_lost_abort: 3, reader_and(Tier::Rseq, model::lose_aborts, Shared::write);
    two_readers_rseq: 1, two_readers(Tier::Rseq, [0, 1]);
    #[ignore = "takes minutes"]
    two_readers_rseq_deeper: 2, two_readers(Tier::Rseq, [0, 1]);
    two_readers_of_one_cpu: 1, two_readers(Tier::Rseq, [0, 0]);
    #[ignore = "ten seconds"]
    two_readers_membarrier: 1, two_readers(Tier::Membarrier, [0, 1]);
    #[ignore = "takes minutes"]
    two_readers_membarrier_deeper: 2, two_readers(Tier::Membarrier, [0, 1]);
    #[ignore = "ten seconds"]
    two_readers_fence: 1, two_readers(Tier::Fence, [0, 1]);
    two_writers_rseq: 2, three(Tier::Rseq, true, [Shared::write, Shared::write]);
    #[ignore = "ten seconds"]
    two_writers_membarrier: 2, three(Tier::Membarrier, true, [Shared::write, Shared::write]);
    two_writers_unbiased: 2, three(Tier::Rseq, false, [Shared::write, Shared::write]);
    fair_writers: 2, three(Tier::Rseq, false, [Shared::write_fairly, Shared::write_fairly]);
    upgrade_rseq: 3, reader_and(Tier::Rseq, registered, Shared::upgrade);
    #[ignore = "ten seconds"]
    upgrade_fence: 3, reader_and(Tier::Fence, registered, Shared::upgrade);
    upgrade_and_writer: 2, three(Tier::Rseq, true, [Shared::upgrade, Shared::write]);
    two_upgrades: 2, three(Tier::Rseq, false, [Shared::upgrade, Shared::upgrade]);
    downgrade_rseq: 3, reader_and(Tier::Rseq, registered, Shared::downgrade);
    downgrade_and_writer: 2, three(Tier::Rseq, false, [Shared::downgrade, Shared::write]);
    bias_comes_back_rseq: 2, bias_comes_back(Tier::Rseq);
    bias_comes_back_membarrier: 2, bias_comes_back(Tier::Membarrier);
    bias_comes_back_fence: 2, bias_comes_back(Tier::Fence);
    try_write_rseq: 3, reader_and(Tier::Rseq, registered, Shared::try_write);
    try_then_write_rseq: 3, reader_and(Tier::Rseq, registered, try_then_write);
    try_then_write_fence: 3, reader_and(Tier::Fence, registered, try_then_write);
    reader_moves_to_another_cpu: 3, reader_moves(move_on);
    reader_ends_unregistered: 3, reader_moves(model::unregister);
    full_slots: 2, slots_are_full();
}

mutants! {
    no_broadcast_rseq: NoBroadcast, 3, reader_and(Tier::Rseq, registered, Shared::write);
    no_broadcast_membarrier: NoBroadcast, 3, reader_and(Tier::Membarrier, registered, Shared::write);
    bias_outside_section: BiasOutsideSection, 3, reader_and(Tier::Rseq, registered, Shared::write);
    no_second_look: NoSecondLook, 3, reader_and(Tier::Rseq, model::lose_aborts, Shared::write);
    no_light_fence: NoLightFence, 3, reader_and(Tier::Fence, registered, Shared::write);
    wake_before_slot: WakeBeforeSlot, 3, reader_and(Tier::Rseq, registered, Shared::write);
    wake_before_slot_fence: WakeBeforeSlot, 3, reader_and(Tier::Fence, registered, Shared::write);
    relaxed_leave: RelaxedLeave, 3, reader_and(Tier::Rseq, registered, Shared::write);
    relaxed_open: RelaxedOpen, 2, two_readers(Tier::Fence, [0, 1]);
    forgotten_readers: ForgottenReaders, 3, reader_and(Tier::Rseq, registered, try_then_write);
    wake_one: WakeOne, 2, three(Tier::Rseq, false, [Shared::write, Shared::write]);
}

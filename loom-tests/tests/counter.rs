//! Models of the sequence that reads a CPU's counter, against interrupts on its CPU and elsewhere.

#[macro_use]
mod support;

use loom::sync::Arc;
use loom::thread;
use stillpoint::mutant::Mutant;
use stillpoint::rseq::counter::{Raw, Table, read};
use stillpoint::rseq::model::{self, counter::move_before_section};

/// What the CPUs have counted; interrupts move some of it from the counter to the page.
const COUNTS: [u64; 2] = [100, 2000];

/// A thread reads twice, the second time on another CPU, to which it is moved at the last instant.
fn read_while_interrupted() {
    let table = Arc::new(Table::default());
    (0..2).for_each(|cpu| table.set(cpu, COUNTS[cpu]));
    let interrupts = {
        let table = table.clone();
        thread::spawn(move || {
            table.interrupt(0, 10);
            table.interrupt(1, 30);
        })
    };
    for _ in 0..2 {
        let mut raw = Raw::default();
        // SAFETY: the table lives.
        let done = unsafe { read(&raw const *table, &mut raw) };
        if done && raw.is_consistent() {
            let count = raw.head.offset as u64 + raw.counter;
            assert_eq!(count, COUNTS[raw.cpu as usize], "no moment has that on CPU {}", raw.cpu);
        }
        move_before_section(1);
    }
    interrupts.join().unwrap();
}

/// Who is preempted has read nothing; who cannot be registered neither.
fn read_while_preempted() {
    let table = Arc::new(Table::default());
    (0..2).for_each(|cpu| table.set(cpu, COUNTS[cpu]));
    let other = {
        let table = table.clone();
        thread::spawn(move || {
            model::broadcast_to_all();
            table.interrupt(0, 10);
        })
    };
    let mut raw = Raw::default();
    // SAFETY: as above.
    if unsafe { read(&raw const *table, &mut raw) } && raw.is_consistent() {
        assert_eq!(raw.head.offset as u64 + raw.counter, COUNTS[0], "no moment has that");
    }
    model::unregister();
    // SAFETY: as above.
    assert!(!unsafe { read(&raw const *table, &mut raw) });
    other.join().unwrap();
}

models! {
    a_count_is_that_of_a_moment_and_a_cpu: 3, read_while_interrupted;
    a_preempted_reader_has_read_nothing: 3, read_while_preempted;
}

mutants! {
    page_outside_section: PageOutsideSection, 3, read_while_interrupted;
    page_lock_ignored: PageLockIgnored, 3, read_while_interrupted;
    page_lock_ignored_when_preempted: PageLockIgnored, 3, read_while_preempted;
}

//! Models of the reader's sequences alone.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use loom::thread;
use stillpoint::mutant::{Mutant, choose};
use stillpoint::rseq::model;
use stillpoint::rseq::reader::{Gate, Line, Phase, enter, leave};

struct Lines {
    gate: Gate,
    lines: Box<[Line]>,
}

impl Lines {
    fn new() -> Arc<Lines> {
        let mut lines: Box<[Line]> = (0..=model::CPUS).map(|_| Line::default()).collect();
        let phase = AtomicPtr::new(&raw mut lines[1].phases[0]);
        Arc::new(Lines { gate: Gate { phase, slots: AtomicU32::new(model::CPUS as u32) }, lines })
    }

    fn sum(&self, phase: usize, of: impl Fn(&Phase) -> &AtomicU64) -> u64 {
        self.lines.iter().map(|l| of(&l.phases[phase]).load(Ordering::Acquire)).sum()
    }
}

/// After a flip and a broadcast nobody enters the old phase any more: loading the phase and
/// counting are one section. (A grace period needs less; that late entries are one per CPU, and
/// over in an instant, follows from this.)
fn frozen_after_a_broadcast() {
    loom::model(|| {
        let lines = Lines::new();
        let reader = {
            let lines = lines.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    // SAFETY: the gate describes `lines`, which live as long as the model.
                    if let Some(mark) = unsafe { enter(&lines.gate) } {
                        model::run_on(1);
                        // SAFETY: the same gate, a mark that it gave.
                        assert!(unsafe { leave(&lines.gate, mark) });
                    }
                }
            })
        };
        let other = (&raw const lines.lines[1].phases[1]).cast_mut();
        lines.gate.phase.store(other, Ordering::Release);
        model::broadcast_to_all();
        let at_once = lines.sum(0, |c| &c.entered);
        reader.join().unwrap();
        let in_the_end = lines.sum(0, |c| &c.entered);
        assert_eq!(at_once, in_the_end, "somebody entered the old phase after the broadcast");
        let left = lines.sum(0, |c| &c.left) + lines.sum(1, |c| &c.left);
        assert_eq!(left, in_the_end + lines.sum(1, |c| &c.entered), "a count was lost");
    });
}

#[test]
fn entered_is_frozen_after_a_broadcast() {
    frozen_after_a_broadcast();
}

#[test]
#[should_panic(expected = "somebody entered the old phase after the broadcast")]
fn mutant_phase_outside_section() {
    choose(Mutant::PhaseOutsideSection);
    frozen_after_a_broadcast();
}

/// Two threads that share a CPU lose no count.
#[test]
fn sections_of_one_cpu_exclude_each_other() {
    loom::model(|| {
        let lines = Lines::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let lines = lines.clone();
                thread::spawn(move || {
                    // SAFETY: as above.
                    u64::from(unsafe { enter(&lines.gate) }.is_some())
                })
            })
            .collect();
        let counted: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert_eq!(lines.sum(0, |c| &c.entered), counted);
    });
}

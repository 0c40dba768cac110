//! What the models of domains share.

#![allow(dead_code, reason = "not every file of models needs all of it")]

macro_rules! models {
    ($($(#[$attr:meta])* $name:ident: $bound:literal, $model:expr;)*) => {
        $(
            $(#[$attr])*
            #[test]
            fn $name() {
                $crate::support::check($bound, $model);
            }
        )*
    };
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident, $bound:literal, $model:expr;)*) => {
        mod mutants {
            use super::*;
            $(
                #[test]
                fn $name() {
                    $crate::support::must_fail(Mutant::$mutant, $bound, $model);
                }
            )*
        }
    };
}

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use stillpoint::Tier;
use stillpoint::mutant::{Mutant, choose};
use stillpoint::rcu::{Domain, RcuCell};

pub(crate) const FREED: u64 = 0xdead;

/// A value whose reads and whose end the checker tracks.
pub(crate) struct Tracked(UnsafeCell<u64>);

// SAFETY: the checker tells when accesses are not ordered; that is what the models are for.
unsafe impl Send for Tracked {}
// SAFETY: as above.
unsafe impl Sync for Tracked {}

impl Tracked {
    pub(crate) fn new(value: u64) -> Tracked {
        let tracked = Tracked(UnsafeCell::new(0));
        tracked.set(value);
        tracked
    }

    pub(crate) fn set(&self, value: u64) {
        // SAFETY: the checker reports an access that races with it.
        self.0.with_mut(|p| unsafe { *p = value });
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the checker reports a write that races with it.
        let value = self.0.with(|p| unsafe { *p });
        assert_ne!(value, FREED, "read after the end of its grace period");
        value
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.set(FREED);
    }
}

/// What the threads of a model share: a cell in a domain of the model's tier.
pub(crate) struct Shared {
    pub(crate) domain: std::sync::Arc<Domain>,
    pub(crate) cell: RcuCell<Tracked, std::sync::Arc<Domain>>,
}

impl Shared {
    pub(crate) fn new(tier: Tier) -> Arc<Shared> {
        let domain = std::sync::Arc::new(Domain::builder().tier(tier).build());
        let cell = RcuCell::new_in(Tracked::new(0), domain.clone());
        // Maps the lines, so that the models do not explore that.
        domain.synchronize();
        Arc::new(Shared { domain, cell })
    }

    /// One read-side critical section.
    pub(crate) fn read(&self) {
        let guard = self.domain.read();
        let value = self.cell.load(&guard);
        value.get();
        value.get();
    }

    /// Replaces the value, waits, marks the old one as freed. Its memory stays: the checker
    /// is to meet the mark, not a dangling pointer.
    pub(crate) fn replace(&self, value: u64) {
        let old = self.cell.swap(Tracked::new(value));
        self.domain.synchronize();
        old.set(FREED);
        std::mem::forget(old);
    }
}

/// A thread of the model.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) + 'static,
) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
}

/// The script of a reader to whom nothing happens.
pub(crate) fn registered() {}

/// One at a time: each execution maps and unmaps stacks, and two that do so in one address space take
/// more than twice as long.
pub(crate) fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 5_000;
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}

/// Set in a process that runs one mutant.
const CHILD: &str = "STILLPOINT_MUTANT_CHILD";

/// What the checker or [`Tracked`] says when a model goes wrong.
const DETECTIONS: [&str; 7] = [
    "Causality violation",
    "read after the end of its grace period",
    "deadlock",
    "too early",
    "too late",
    "no moment has",
    // A grace period that never ends.
    "Model exceeded maximum number of branches",
];

/// The mutant must make the model fail, and for a reason that these models are about.
///
/// In a process of its own: a failing model unwinds through half-done operations, whose
/// destructors may fail again and abort.
pub(crate) fn must_fail(mutant: Mutant, bound: usize, model: impl Fn() + Sync + Send + 'static) {
    if std::env::var_os(CHILD).is_some() {
        choose(mutant);
        return check(bound, model);
    }
    let this = thread_name();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &this, "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr) + String::from_utf8_lossy(&child.stdout);
    assert!(!child.status.success(), "{mutant:?} went unnoticed");
    assert!(DETECTIONS.iter().any(|d| said.contains(d)), "{mutant:?} failed otherwise: {said}");
}

fn thread_name() -> String {
    std::thread::current().name().expect("the harness names its threads").to_owned()
}

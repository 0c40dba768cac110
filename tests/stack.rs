//! Per-CPU stacks: what they promise, and that nothing is lost.

#![cfg(target_os = "linux")]

#[path = "support/stack_stress.rs"]
mod stress;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use stillpoint::percpu::{Node, Stack};
use stress::crowd::cpus;

fn boxed<T>(value: T) -> Box<Node<T>> {
    Box::new(Node::new(value))
}

/// A thread that stays where it is finds what it pushed, the last first.
#[test]
fn last_in_first_out() {
    cpus::restrict(0, &cpus::allowed()[..1]);
    let stack = Stack::new();
    assert!(stack.pop().is_none());
    (0..100).for_each(|n| stack.push(boxed(n)));
    for n in (50..100).rev() {
        assert_eq!(stack.pop().map(|node| node.into_inner()), Some(n));
    }
    let left: Vec<_> = stack.take_all().map(|node| node.into_inner()).collect();
    assert_eq!(left, (0..50).rev().collect::<Vec<_>>());
    assert!(stack.pop().is_none());
}

#[test]
fn lists_are_drained_from_elsewhere() {
    let stack = Stack::new();
    let allowed = cpus::allowed();
    for &cpu in &allowed {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                cpus::restrict(0, &[cpu]);
                stack.push(boxed(cpu));
            });
        });
    }
    let slots = stillpoint::machine().slots() as usize;
    let drained = || (0..4 * slots).flat_map(|cpu| stack.drain(cpu)).map(|node| node.into_inner());
    assert_eq!(drained().collect::<BTreeSet<_>>(), allowed.into_iter().collect());
    assert_eq!(stack.drain(usize::MAX).count(), 0);
    assert_eq!(stack.drain_all().count(), 0);
}

/// Who drains a CPU leaves the others their lists.
#[test]
fn only_that_cpu_is_drained() {
    let allowed = cpus::allowed();
    let tier = stillpoint::machine().tier();
    if allowed.len() < 2 || tier != stillpoint::Tier::Rseq {
        return println!("SKIPPED: {} CPUs, tier {tier}", allowed.len());
    }
    let stack = Stack::new();
    for &cpu in &allowed[..2] {
        cpus::restrict(0, &[cpu]);
        stack.push(boxed(cpu));
    }
    let drained: Vec<_> = stack.drain(allowed[0]).map(|node| node.into_inner()).collect();
    assert_eq!(drained, [allowed[0]]);
    assert_eq!(stack.pop().map(|node| node.into_inner()), Some(allowed[1]));
    cpus::restrict(0, &allowed);
}

/// Counts its ends.
struct Counted<'a>(&'a AtomicUsize, bool);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        assert!(!self.1, "as told");
    }
}

#[test]
fn what_is_left_is_dropped_once() {
    let ends = AtomicUsize::new(0);
    let stack = Stack::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| stack.push(boxed(Counted(&ends, false)))));
        }
    });
    let mut nodes = stack.drain_all();
    drop(nodes.next());
    assert_eq!(ends.load(Relaxed), 1);
    let eighty = 80;
    drop(nodes);
    assert_eq!(ends.load(Relaxed), eighty);
    (0..3).for_each(|_| stack.push(boxed(Counted(&ends, false))));
    drop(stack);
    assert_eq!(ends.load(Relaxed), eighty + 3);
}

/// The end of one may panic; the others end all the same.
#[test]
fn ends_that_panic() {
    let ends = AtomicUsize::new(0);
    let stack = Stack::new();
    (0..5).for_each(|n| stack.push(boxed(Counted(&ends, n == 2))));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(stack)));
    assert!(panic.is_err());
    assert_eq!(ends.load(Relaxed), 5);
}

/// A child of a fork can use what its parent's threads were using.
#[test]
fn after_a_fork() {
    static STACK: Stack<u32> = Stack::new();
    static STOP: AtomicUsize = AtomicUsize::new(0);
    let threads: [_; 2] = std::array::from_fn(|drains| {
        std::thread::spawn(move || {
            while STOP.load(Relaxed) == 0 {
                STACK.push(STACK.pop().unwrap_or_else(|| boxed(1)));
                if drains == 1 {
                    STACK.drain_all().for_each(|node| STACK.push(node));
                }
            }
        })
    });
    for _ in 0..50 {
        // SAFETY: the child uses what is async-signal-safe, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut found = 0_u64;
            for _ in 0..1000 {
                // Not dropped: the allocator may be locked.
                if let Some(node) = STACK.pop() {
                    found += 1;
                    STACK.push(node);
                }
            }
            std::mem::forget(STACK.drain_all());
            // SAFETY: ends the child, and runs nothing.
            unsafe { libc::_exit(i32::from(found == u64::MAX)) };
        }
        let mut status = 0;
        // SAFETY: our own child; `status` is a live local.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
    STOP.store(1, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// `STILLPOINT_STRESS_SECONDS` says how long.
#[test]
fn conservation() {
    let seconds = std::env::var("STILLPOINT_STRESS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let report = stress::run(Duration::from_secs(seconds));
    println!("{report:?}");
    assert_eq!(report.violations, 0);
    assert_ne!(report.operations, 0);
}

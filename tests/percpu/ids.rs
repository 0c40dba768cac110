//! Numbers of CPU, node and concurrency.

use super::cpus;
use std::collections::BTreeSet;
use std::hint::spin_loop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread::scope;
use stillpoint::{concurrency_id, current_cpu, current_node, machine};

/// CPU and node, by the kernel's word.
fn asked() -> (u32, u32) {
    let (mut cpu, mut node) = (0_u32, 0_u32);
    // SAFETY: the kernel writes to the first two of three pointers, live locals.
    let r = unsafe {
        libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, null_mut::<libc::c_void>())
    };
    assert_eq!(r, 0);
    (cpu, node)
}

/// Bound to each CPU in turn: what it finds there is what the kernel says.
pub(crate) fn right_on_every_cpu() {
    for cpu in cpus::allowed() {
        assert!(cpus::restrict(0, &[cpu]));
        let (asked_cpu, asked_node) = asked();
        assert_eq!(current_cpu(), asked_cpu);
        // SAFETY: no arguments.
        assert_eq!(current_cpu() as i32, unsafe { libc::sched_getcpu() });
        assert_eq!(current_cpu() as usize, cpu);
        assert_eq!(current_node(), asked_node, "CPU {cpu}");
        let group = machine().nodes().iter().find(|group| group.id == current_node());
        assert!(group.is_some_and(|group| group.cpus.contains(&(cpu as u32))), "CPU {cpu}");
        assert!(current_cpu() < machine().slots());
        assert!(concurrency_id() < machine().slots());
    }
}

#[test]
fn cpu_and_node_are_the_kernel_s() {
    // Threads of their own: they are moved about, and know of no other thread's numbers.
    for _ in 0..3 {
        std::thread::spawn(right_on_every_cpu).join().unwrap();
    }
}

#[test]
fn numbers_stay_below_the_slots_wherever_threads_go() {
    let cpus = cpus::allowed();
    let mover = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]);
            assert!(current_cpu() < machine().slots());
            assert!(concurrency_id() < machine().slots());
            assert!(machine().nodes().iter().any(|group| group.id == current_node()));
        }
    };
    scope(|s| (0..4).for_each(|seed| drop(s.spawn(move || mover(seed)))));
}

/// How often the kernel has taken the CPU from the calling thread.
fn switches() -> libc::c_long {
    // SAFETY: all-zero is a valid value, which the call overwrites.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage
    };
    usage.ru_nvcsw + usage.ru_nivcsw
}

/// Who runs at the same time as others has another number than they. It takes a round in which
/// nobody lost the CPU to be sure that they did: others are not judged.
#[test]
fn concurrency_ids_are_unique_among_those_who_run() {
    const ROUNDS: usize = 400;
    const ENOUGH: usize = 20;
    let cpus: Vec<_> = cpus::allowed().into_iter().take(8).collect();
    let (arrived, quiet, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let ids: Vec<_> = cpus.iter().map(|_| (AtomicU32::new(0), AtomicBool::new(false))).collect();
    scope(|s| {
        for (me, &cpu) in cpus.iter().enumerate() {
            let (arrived, quiet, stop, ids, cpus) = (&arrived, &quiet, &stop, &ids, &cpus);
            s.spawn(move || {
                assert!(cpus::restrict(0, &[cpu]));
                let mut passed = 0;
                // Who waits keeps its CPU.
                let mut meet = || {
                    passed += cpus.len();
                    arrived.fetch_add(1, SeqCst);
                    while arrived.load(SeqCst) < passed {
                        spin_loop();
                    }
                };
                for _ in 0..ROUNDS {
                    meet();
                    let before = switches();
                    meet();
                    ids[me].0.store(concurrency_id(), SeqCst);
                    meet();
                    ids[me].1.store(switches() == before, SeqCst);
                    meet();
                    if me == 0 && ids.iter().all(|(_, quiet)| quiet.load(SeqCst)) {
                        let all: BTreeSet<_> = ids.iter().map(|(id, _)| id.load(SeqCst)).collect();
                        if all.len() < ids.len() {
                            eprintln!("two of {} have the same: {ids:?}", ids.len());
                            // The others would wait for ever.
                            std::process::abort();
                        }
                        stop.store(quiet.fetch_add(1, SeqCst) + 1 == ENOUGH, SeqCst);
                    }
                    meet();
                    if stop.load(SeqCst) {
                        break;
                    }
                }
            });
        }
    });
    match quiet.into_inner() {
        0 => println!("SKIPPED concurrency ids: always was one of {} away", cpus.len()),
        quiet => println!("{} different ids in {quiet} rounds", cpus.len()),
    }
}

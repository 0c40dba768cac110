//! The simulator shows what is known of locks, and the shipped lock what it promises.
//!
//! Simulated time is the model's: these comparisons do not depend on how busy the machine is.

use sim::Shape;
use sim::workload::{Outcome, Setting, simulate};

fn with(lock: &str, change: impl FnOnce(&mut Setting)) -> Outcome {
    let mut setting = Setting { nanos: 5_000_000, ..Setting::default() };
    change(&mut setting);
    simulate(lock, &setting).expect("there is such a lock")
}

/// With critical sections so short that a turn of all cohorts takes less time than waiters spin.
fn brief(lock: &str) -> Outcome {
    with(lock, |setting| (setting.nanos, setting.lines) = (10_000_000, 2))
}

fn saturated(lock: &str) -> Outcome {
    with(lock, |setting| setting.nanos = 10_000_000)
}

/// The median of what seeds 1 to 4 give.
fn median(of: impl Fn(u64) -> f64) -> f64 {
    let mut values = [1, 2, 3, 4].map(of);
    values.sort_by(f64::total_cmp);
    (values[1] + values[2]) / 2.0
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for lock in ["cohort", "rwlock", "mcs"] {
        let run = |seed| {
            with(lock, |setting| {
                setting.seed = seed;
                // Preemption, parking, stealing.
                setting.threads = 200;
            })
        };
        assert_eq!(run(1), run(1), "{lock}");
        assert_ne!(run(1), run(2), "{lock}");
    }
}

/// Everybody exchanges one word: each more makes all slower. Each in a queue has its own.
#[test]
fn test_and_set_collapses_and_a_queue_stays_flat() {
    // No lines but the lock's, on one node: what is left is the lock itself.
    let on_one_node = |lock, threads| {
        let seen = with(lock, |setting| {
            setting.shape = Shape { cpus: 64, nodes: 1, caches_per_node: 1 };
            (setting.threads, setting.lines) = (threads, 0);
        });
        seen.per_micro
    };
    let (few, many) = (on_one_node("tas", 4), on_one_node("tas", 64));
    assert!(many < few / 3.0, "tas: {few} with 4, {many} with 64");
    let (few, many) = (on_one_node("ticket", 4), on_one_node("ticket", 64));
    assert!(many < few / 1.5, "ticket: {few} with 4, {many} with 64");
    let (few, many) = (on_one_node("mcs", 8), on_one_node("mcs", 64));
    assert!(many > few * 0.9 && many < few * 1.1, "mcs: {few} with 8, {many} with 64");
}

/// `facts`: with D equal domains a queue in the order of arrival leaves the node in D - 1 of D
/// handovers; a bound of B passes in 1 of B + 1.
#[test]
fn handovers_are_as_theory_has_them() {
    let near = |seen: f64, theory: f64| (seen - theory).abs() < theory * 0.08;
    for (nodes, theory) in [(2, 500.0), (4, 750.0), (8, 875.0)] {
        for lock in ["mcs", "ticket"] {
            let seen = with(lock, |setting| setting.shape.nodes = nodes).remote;
            assert!(near(seen, theory), "{lock} on {nodes} nodes: {seen}, not {theory}");
        }
    }
    for (bound, locks) in [
        (10.0, ["cohort-10", "c-tkt-mcs-10"].as_slice()),
        (64.0, ["cohort", "c-tkt-mcs"].as_slice()),
        (100.0, ["cohort-100"].as_slice()),
    ] {
        for lock in locks {
            let (seen, theory) = (brief(lock).remote, 1000.0 / (bound + 1.0));
            assert!(near(seen, theory), "{lock}: {seen}, not {theory}");
        }
    }
    // CNA turns by chance. A turn leaves a queue that begins with the waiters of one node, and as
    // long as that lasts there is no secondary queue to turn to: 31 handovers, and then 64 on
    // average. In this time that is some 90 turns, with a deviation of 7 in 100.
    let (seen, theory) = (brief("cna-64").remote, 1000.0 / (31.0 + 64.0));
    assert!((seen - theory).abs() < theory * 0.2, "cna-64: {seen}, not {theory}");
    let seen = brief("cna").remote;
    assert!(seen < 1.0, "cna: {seen} of 1000 handovers leave the node");
}

/// A classic cohort lock on the default machine, where a line from another node costs 4.3 times one
/// from this node. The queue's holder pays the mean of three of the former and one of the latter,
/// 358 ns, for each line that comes along, the cohort lock's 102: nothing can gain more than 3.51,
/// and what does not come from elsewhere, the computation and the 65th handover, takes some of it.
#[test]
fn a_classic_cohort_lock_gains_what_the_lines_cost() {
    let gain = saturated("c-tkt-mcs").per_micro / saturated("mcs").per_micro;
    assert!((2.8..3.51).contains(&gain), "{gain} times the queue");
}

/// A machine of sockets of 18 cores, 36 hardware threads, as those that CNA was measured on: an
/// Oracle X5-4, four E7-8895 v3, each linked to all others. For its lines we have figures of the
/// generation after it, of the same kind of ring and links: 44 ns between cores of an E5-2695 v4,
/// 118 ns between two of these (core-to-core-latency by N. Viennot, 2022).
fn xeon(lock: &str, sockets: usize, far: u64, lines: usize, seed: u64) -> Outcome {
    with(lock, |setting| {
        setting.shape = Shape { cpus: 36 * sockets, nodes: sockets, caches_per_node: 1 };
        // As there: 142 of 144.
        setting.threads = setting.shape.cpus - 2;
        (setting.costs.same_node, setting.costs.other_node) = (44, far);
        (setting.nanos, setting.lines, setting.seed) = (2_000_000, lines, seed);
    })
}

/// What CNA gains over the queue that it is made of was measured by its authors in the kernel
/// (patch series v11, 2020-09), on four sockets. With 72 threads and more it has 1.67 to 1.77
/// times the throughput in locktorture, 1.83 to 1.88 in leveldb, 2.01 to 2.19 in open1 and 2.09 to
/// 2.16 in lock2 of will-it-scale: 1.67 to 2.19, as sections differ.
///
/// On two sockets every second handover of the queue leaves the socket, on four three in four. So
/// of what CNA spares a handover, two thirds are left: 1.45 to 1.79.
///
/// Sections are those of the other tests, of four lines, and of eight. They gain 1.80 and 1.94 on
/// four sockets, 1.49 and 1.58 on two. Two differences are known, and are no reasons for a wider
/// range:
///
/// * On the default machine CNA gains 2.9 times: there a far line costs 4.3 times a near one, as on
///   eight sockets of Skylake, here 2.7 times.
/// * Sections of one line and of two gain 1.6 and 1.7 on four sockets, 1.4 on two: the lower end,
///   and below, where locktorture with its short sections has 1.67. The lock that is simulated is
///   that of the paper: who gives it up reads its successor's node first, a third line on the way
///   from holder to holder. In the kernel that is done while waiting for the lock.
///
/// With the far line off by a factor of two, either way, all of them are outside. Medians of four
/// seeds: threads come again in the order in which they came first, so how often the queue leaves
/// the node hardly changes during a run, and is 0.41 to 0.53, not 0.5, from one run to the other.
#[test]
fn cna_gains_what_was_measured() {
    for (sockets, measured) in [(4, 1.67..=2.19), (2, 1.45..=1.79)] {
        for lines in [4, 8] {
            let gain = |far| {
                let run = |lock, seed| xeon(lock, sockets, far, lines, seed).per_micro;
                median(|seed| run("cna", seed) / run("mcs", seed))
            };
            let [seen, halved, doubled] = [118, 118 / 2, 118 * 2].map(gain);
            let text = format!("{seen}, {halved}, {doubled} on {sockets} sockets, {lines} lines");
            assert!(measured.contains(&seen), "{text}");
            assert!(halved < *measured.start() && doubled > *measured.end(), "{text}");
        }
    }
}

/// The goal of the shipped lock: 4 nodes of 32 CPUs, saturated; the median of four seeds.
#[test]
fn the_shipped_lock_stays_near_and_is_fair() {
    let gain = |seed| {
        let [queue, cohort] = ["mcs", "cohort"]
            .map(|lock| with(lock, |setting| (setting.nanos, setting.seed) = (10_000_000, seed)));
        let (remote, fairness) = (cohort.remote, cohort.fairness);
        assert!(remote <= 20.0, "seed {seed}: {remote} of 1000 handovers leave the node");
        assert!(fairness <= 0.6, "seed {seed}: the busier half has {fairness}");
        cohort.per_micro / queue.per_micro
    };
    let gain = median(gain);
    assert!(gain >= 1.7, "{gain} times the queue's throughput");
}

/// With more threads than CPUs a queue hands the lock to threads that do not run; the shipped lock
/// passes them over, and all get their turn.
#[test]
fn preempted_waiters_are_passed_over() {
    let crowded = |lock| {
        with(lock, |setting| {
            (setting.threads, setting.nanos) = (256, 20_000_000);
        })
    };
    let (queue, cohort) = (crowded("mcs"), crowded("cohort"));
    assert!(cohort.per_micro > queue.per_micro * 2.0, "{cohort:?} {queue:?}");
}

#[test]
fn caches_can_be_cohorts() {
    let on_caches = |lock| {
        with(lock, |setting| {
            setting.shape = Shape { cpus: 64, nodes: 1, caches_per_node: 8 };
            setting.threads = 64;
        })
    };
    let (by_node, by_cache) = (on_caches("cohort"), on_caches("cohort-cache"));
    assert!(by_cache.per_micro > by_node.per_micro * 1.1, "{by_cache:?} {by_node:?}");
}

#[test]
fn every_lock_runs() {
    for lock in sim::locks::NAMES {
        for threads in [1, 2, 5, 40] {
            let seen = with(lock, |setting| {
                setting.shape = Shape { cpus: 16, nodes: 2, caches_per_node: 2 };
                (setting.threads, setting.nanos) = (threads, 1_000_000);
            });
            assert!(seen.sections > 0, "{lock} with {threads} threads: {seen:?}");
        }
    }
}

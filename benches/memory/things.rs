//! What is made in numbers, and used.

use crate::clock;
use arc_swap::ArcSwap;
use crossbeam_utils::sync::ShardedLock;
use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, LazyLock, Mutex};
use std::thread;
use stillpoint::percpu::{Counter, Histogram, Pool};
use stillpoint::rcu::{self, Domain, RcuCell, Shared, SnapshotCell};

pub(crate) const IDLE: &str = "a thread that waits";

/// Makes and uses many of them, with the CPUs that it shall do so on.
pub(crate) type BytesEach = Box<dyn Fn(&[usize]) -> f64>;

/// One kind.
pub(crate) struct Thing {
    pub(crate) title: &'static str,
    pub(crate) name: &'static str,
    /// Of the thing itself.
    pub(crate) size: usize,
    pub(crate) bytes_each: BytesEach,
}

/// What this process has in memory.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u32>().ok());
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    f64::from(pages.expect("/proc/self/statm")) * page as f64
}

fn on_every_cpu(cpus: &[usize], work: impl Fn() + Sync) {
    for &cpu in cpus {
        thread::scope(|scope| {
            scope.spawn(|| {
                clock::pin(cpu);
                work();
            });
        });
    }
}

/// So many, each used on every CPU.
fn many<T: Sync + 'static>(
    title: &'static str,
    name: &'static str,
    count: usize,
    new: fn() -> T,
    used: fn(&T),
) -> Thing {
    let bytes_each = move |cpus: &[usize]| {
        // What the first of them brings along for all stays out.
        let first = new();
        on_every_cpu(cpus, || used(&first));
        let before = resident();
        let all: Vec<T> = (0..count).map(|_| new()).collect();
        on_every_cpu(cpus, || all.iter().for_each(used));
        let grown = (resident() - before) / count as f64;
        drop(black_box(all));
        grown
    };
    Thing { title, name, size: size_of::<T>(), bytes_each: Box::new(bytes_each) }
}

/// So many threads at once, each of which did it once.
fn threads(name: &'static str, work: fn()) -> Thing {
    const COUNT: usize = 500;
    let bytes_each = move |_: &[usize]| {
        thread::scope(|scope| _ = scope.spawn(work).join());
        let (there, end) = (Barrier::new(COUNT + 1), Barrier::new(COUNT + 1));
        let before = resident();
        thread::scope(|scope| {
            for _ in 0..COUNT {
                scope.spawn(|| {
                    work();
                    there.wait();
                    end.wait();
                });
            }
            there.wait();
            let grown = (resident() - before) / COUNT as f64;
            end.wait();
            grown
        })
    };
    Thing { title: "a thread", name, size: 0, bytes_each: Box::new(bytes_each) }
}

type Piece = Box<[u64; 8]>;

fn handle_of(collector: &crossbeam_epoch::Collector) {
    drop(collector.register().pin());
}

pub(crate) fn all() -> Vec<Thing> {
    static CELL: LazyLock<RcuCell<u64>> = LazyLock::new(|| RcuCell::new(1));
    const MANY: usize = 20_000;
    const FEW: usize = 500;
    let mutex = "a mutex around 8 bytes";
    let rwlock = "a reader-writer lock around 8 bytes";
    let counter = "a counter";
    let cell = "a cell of 8 bytes";
    let mut all = vec![
        many("a domain", "stillpoint Domain", FEW, Domain::new, |of| drop(of.read())),
        many("a domain", "crossbeam-epoch Collector", FEW, Default::default, handle_of),
        many("a domain", "seize Collector", FEW, seize::Collector::new, |of| drop(of.enter())),
        many(
            cell,
            "stillpoint RcuCell",
            MANY,
            || RcuCell::new(1_u64),
            |of| {
                black_box(*of.load(&rcu::read()));
            },
        ),
        many(
            cell,
            "stillpoint SnapshotCell",
            MANY,
            || SnapshotCell::new(1_u64),
            |of| {
                black_box(of.get());
            },
        ),
        many(
            cell,
            "stillpoint Shared",
            MANY,
            || Shared::new(1_u64),
            |of| {
                black_box(*of.load());
            },
        ),
        many(
            cell,
            "arc-swap",
            MANY,
            || ArcSwap::from_pointee(1_u64),
            |of| {
                black_box(**of.load());
            },
        ),
        many(
            mutex,
            "stillpoint Mutex",
            MANY,
            || stillpoint::Mutex::new(0_u64),
            |of| *of.lock() += 1,
        ),
        many(
            mutex,
            "stillpoint SpinLock",
            MANY,
            || stillpoint::SpinLock::new(0_u64),
            |of| {
                *of.lock() += 1;
            },
        ),
        many(
            rwlock,
            "stillpoint RwLock",
            MANY,
            || stillpoint::RwLock::new(0_u64),
            |of| {
                black_box(*of.read());
            },
        ),
        many(
            mutex,
            "parking_lot Mutex",
            MANY,
            || parking_lot::Mutex::new(0_u64),
            |of| {
                *of.lock() += 1;
            },
        ),
        many(
            rwlock,
            "parking_lot RwLock",
            MANY,
            || parking_lot::RwLock::new(0_u64),
            |of| {
                black_box(*of.read());
            },
        ),
        many(mutex, "std Mutex", MANY, || Mutex::new(0_u64), |of| *of.lock().unwrap() += 1),
        many(
            rwlock,
            "std RwLock",
            MANY,
            || std::sync::RwLock::new(0_u64),
            |of| {
                black_box(*of.read().unwrap());
            },
        ),
        many(
            rwlock,
            "crossbeam ShardedLock",
            FEW,
            || ShardedLock::new(0_u64),
            |of| {
                black_box(*of.read().unwrap());
            },
        ),
        many(counter, "stillpoint Counter", MANY, Counter::new, |of| of.add(1)),
        many(counter, "AtomicU64 on a line of its own", MANY, padded, |of| {
            of.fetch_add(1, Relaxed);
        }),
        many("a histogram", "stillpoint Histogram", FEW, Histogram::new, |of| {
            (0..20).for_each(|bit| of.record(1 << bit));
        }),
        many("a histogram", "Mutex<hdrhistogram>, 2 digits to 2^30", FEW, hdr, |of| {
            (0..20).for_each(|bit| of.lock().unwrap().saturating_record(1 << bit));
        }),
        many(
            "a pool, one piece of 64 bytes taken on each CPU",
            "stillpoint Pool",
            FEW,
            pool,
            |of| {
                drop(of.boxed([0; 8]));
            },
        ),
        threads(IDLE, || ()),
        threads("stillpoint, has read", || _ = black_box(*CELL.load(&rcu::read()))),
        threads("crossbeam-epoch, was pinned", || drop(crossbeam_epoch::pin())),
        threads("seize, has entered", || {
            static COLLECTOR: LazyLock<seize::Collector> = LazyLock::new(seize::Collector::new);
            drop(COLLECTOR.enter());
        }),
        threads("thread-local Vec of a box", || {
            thread_local!(static CACHE: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) });
            CACHE.with_borrow_mut(|cache| cache.push(Box::new([1; 8])));
        }),
    ];
    if peers::urcu().is_some() {
        all.push(threads("liburcu-memb, registered", || {
            peers::urcu().expect("looked at").registered(|_| ());
        }));
    }
    // Those of a title beside each other.
    all.sort_by_key(|thing| thing.title);
    all
}

fn padded() -> crossbeam_utils::CachePadded<AtomicU64> {
    crossbeam_utils::CachePadded::new(AtomicU64::new(0))
}

fn hdr() -> Mutex<hdrhistogram::Histogram<u64>> {
    Mutex::new(hdrhistogram::Histogram::new_with_bounds(1, 1 << 30, 2).expect("valid bounds"))
}

fn pool() -> Pool<[u64; 8]> {
    Pool::new()
}

//! What is measured, and what stands beside it.

use crate::clock;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::ffi::c_int;
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use stillpoint::percpu::{Counter, Histogram, PerCpu};

/// Something that does an operation so many times.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn Fn(u64) + Sync>,
}

impl Peer {
    pub(crate) fn new(name: &'static str, run: impl Fn(u64) + Sync + 'static) -> Peer {
        Peer { name, run: Box::new(run) }
    }
}

/// `Peer`s, each an operation in a loop of its own.
macro_rules! peers {
    ($($name:expr => $operation:expr;)*) => {
        vec![$(Peer::new($name, |n| (0..n).for_each(|_| $operation))),*]
    };
}

pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// How many threads add at once.
pub(crate) const THREADS: [usize; 4] = [1, 2, 4, 8];

/// Wall time of `n` operations by so many threads, times the CPUs that they have: flat if threads
/// do not hinder each other.
pub(crate) fn by_threads(peer: &Peer, threads: usize, cpus: &[usize], n: u64) -> Duration {
    let each = n.div_ceil(threads as u64);
    let span = clock::together(threads, cpus, |_| (peer.run)(clock::WARM_UP), |_| (peer.run)(each));
    span.length() * threads.min(cpus.len()) as u32
}

pub(crate) const CPU: &str = "current_cpu";
pub(crate) const NODE: &str = "current_node";
pub(crate) const CONCURRENCY: &str = "concurrency_id";
pub(crate) const LIBC_CPU: &str = "libc::sched_getcpu";
pub(crate) const POINTER_CPU: &str = "libc::sched_getcpu by pointer";
pub(crate) const CALL_CPU: &str = "the getcpu system call";
/// The names of what is ours.
pub(crate) fn is_ours(name: &str) -> bool {
    use crate::objects::{POOL, STACK};
    use crate::rings::{RING, RING_STAMPED};
    let ids = [CPU, NODE, CONCURRENCY];
    let counts = [COUNTER, HISTOGRAM, SUM, SUM_EXACT, SNAPSHOT];
    let objects = [POOL, STACK, RING, RING_STAMPED];
    [&ids[..], &counts, &objects].concat().contains(&name)
}

pub(crate) const NOTHING: &str = "the loop alone";

pub(crate) fn ids() -> Vec<Peer> {
    let pointer = |n| {
        let ask: unsafe extern "C" fn() -> c_int = black_box(libc::sched_getcpu);
        // SAFETY: no arguments.
        (0..n).for_each(|_| _ = black_box(unsafe { ask() }));
    };
    let call = |n| {
        for _ in 0..n {
            let mut cpu = 0_u32;
            let null = null_mut::<u8>();
            // SAFETY: the kernel writes to the first of three pointers, a live local.
            unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, null, null) };
            black_box(cpu);
        }
    };
    let mut peers = peers! {
        CPU => _ = black_box(stillpoint::current_cpu());
        NODE => _ = black_box(stillpoint::current_node());
        CONCURRENCY => _ = black_box(stillpoint::concurrency_id());
        // SAFETY: no arguments.
        LIBC_CPU => _ = black_box(unsafe { libc::sched_getcpu() });
        NOTHING => _ = black_box(0);
    };
    peers.push(Peer::new(POINTER_CPU, pointer));
    peers.push(Peer::new(CALL_CPU, call));
    peers
}

pub(crate) const COUNTER: &str = "Counter";
pub(crate) const ATOMIC: &str = "AtomicU64";
pub(crate) const SHARDED: &str = "AtomicU64, a shard a thread";
pub(crate) const PER_CPU: &str = "PerCpu<AtomicU64>";
pub(crate) const CELL: &str = "thread_local Cell";

static COUNTED: Counter = Counter::new();
static SHARED: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));
static SHARDS: [CachePadded<AtomicU64>; 64] = [const { CachePadded::new(AtomicU64::new(0)) }; 64];
static VALUES: PerCpu<AtomicU64> = PerCpu::new(|_| AtomicU64::new(0));
thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % SHARDS.len()
    };
}

pub(crate) fn counters() -> Vec<Peer> {
    peers! {
        COUNTER => COUNTED.add(black_box(1));
        ATOMIC => _ = SHARED.fetch_add(black_box(1), Relaxed);
        SHARDED => _ = SHARDS[SHARD.with(|at| *at)].fetch_add(black_box(1), Relaxed);
        PER_CPU => _ = VALUES.current().fetch_add(black_box(1), Relaxed);
        CELL => OWN.set(OWN.get() + black_box(1));
    }
}

pub(crate) const HISTOGRAM: &str = "Histogram";
pub(crate) const HDR: &str = "Mutex<hdrhistogram>";
pub(crate) const BUCKETS: &str = "16 atomic buckets, count and sum";

static RECORDED: Histogram = Histogram::new();

/// As metrics libraries have them: limits that are searched, and atomics that all share.
#[derive(Default)]
struct Buckets {
    counts: [AtomicU64; 16],
    count: AtomicU64,
    sum: AtomicU64,
}

impl Buckets {
    fn record(&self, value: u64) {
        let at = (0..self.counts.len()).find(|at| value <= 4 << (2 * at)).unwrap_or(15);
        self.counts[at].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// Values to record, round and round.
fn values() -> Box<[u64; 1024]> {
    let mut random = fastrand::Rng::with_seed(1);
    Box::new(std::array::from_fn(|_| random.u64(..1 << 20) >> random.u32(..12)))
}

pub(crate) fn histograms() -> Vec<Peer> {
    let (ours, theirs, atomics) = (values(), values(), values());
    let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 30, 2);
    let hdr = Mutex::new(hdr.expect("valid bounds"));
    let buckets = Buckets::default();
    vec![
        Peer::new(HISTOGRAM, move |n| {
            (0..n as usize).for_each(|at| RECORDED.record(ours[at % ours.len()]));
        }),
        Peer::new(HDR, move |n| {
            for at in 0..n as usize {
                let mut hdr = hdr.lock().expect("nobody panics");
                hdr.saturating_record(theirs[at % theirs.len()]);
            }
        }),
        Peer::new(BUCKETS, move |n| {
            (0..n as usize).for_each(|at| buckets.record(atomics[at % atomics.len()]));
        }),
    ]
}

pub(crate) const SUM: &str = "Counter::sum";
pub(crate) const SUM_EXACT: &str = "Counter::sum_exact";
pub(crate) const SNAPSHOT: &str = "Histogram::snapshot";
pub(crate) const SUM_SHARDS: &str = "sum of 64 shards";

pub(crate) fn sums() -> Vec<Peer> {
    // Without parts there is nothing to add up.
    COUNTED.add(1);
    RECORDED.record(1);
    peers! {
        SUM => _ = black_box(COUNTED.sum());
        SUM_EXACT => _ = black_box(COUNTED.sum_exact());
        SNAPSHOT => _ = black_box(RECORDED.snapshot());
        SUM_SHARDS => _ = black_box(SHARDS.iter().map(|shard| shard.load(Relaxed)).sum::<u64>());
    }
}

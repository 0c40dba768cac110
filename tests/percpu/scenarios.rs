//! What children do.

use super::counter::wander;
use super::ids::right_on_every_cpu;
use super::play::Scenarios;
use super::seccomp::{Filter, Rule, answer};
use std::ffi::c_int;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, take_hook};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{JoinHandle, scope, spawn};
use stillpoint::percpu::{Counter, Histogram, PerCpu, Policy, Ring};
use stillpoint::rseq::area::{Registrar, ensure_registered, thread_area};
use stillpoint::{Tier, current_cpu, machine};

pub(crate) const SCENARIOS: [(&str, fn()); 12] = [
    ("nothing", || {}),
    ("workload", workload),
    ("unregistered", unregistered),
    ("late refusal", late_refusal),
    ("first use in handlers", first_use_in_handlers),
    ("fork", fork),
    ("fork in exact sums", fork_in_exact_sums),
    ("fork while counters come and go", fork_while_counters_come_and_go),
    ("fork while rings are written", fork_while_rings_are_written),
    ("threads", threads),
    ("many counters", many_counters),
    ("broadcasts", broadcasts),
];
const _: &Scenarios = &SCENARIOS;

static COUNTER: Counter = Counter::new();
static HISTOGRAM: Histogram = Histogram::new();
static VALUES: PerCpu<AtomicU64> = PerCpu::new(|_| AtomicU64::new(0));

fn values() -> u64 {
    VALUES.iter().map(|(_, value)| value.load(SeqCst)).sum()
}

/// Everything once, with its results checked.
fn workload() {
    spawn(right_on_every_cpu).join().unwrap();
    let before = COUNTER.sum_exact();
    let told = wander(&COUNTER);
    assert_eq!(COUNTER.sum_exact().wrapping_sub(before), told);
    assert_eq!(COUNTER.sum(), COUNTER.sum_exact());
    let before = HISTOGRAM.snapshot();
    let values_before = values();
    scope(|s| {
        let record = || {
            for n in 0..1000 {
                HISTOGRAM.record(n);
                VALUES.current().fetch_add(1, SeqCst);
            }
        };
        // Joined: the end of a scope does not wait until its threads have ended; see `in_fork`.
        let threads = [(); 4].map(|()| s.spawn(record));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let now = HISTOGRAM.snapshot();
    assert_eq!(now.count() - before.count(), 4000);
    assert_eq!(now.sum() - before.sum(), 4 * 999 * 500);
    assert_eq!(values() - values_before, 4000);
    let fresh = Counter::new();
    fresh.add(3);
    assert_eq!((fresh.sum(), fresh.sum_exact()), (3, 3));
}

/// True if it is ours to register threads, once they need it, and works.
fn we_register() -> bool {
    machine().registration().is_ok_and(|r| r.registrar == Registrar::Own)
}

/// Unregisters the calling thread's area. False if it was not registered.
fn unregister() -> bool {
    const UNREGISTER: c_int = 1;
    const SIGNATURE: u32 = if cfg!(target_arch = "aarch64") { 0xd428_bc00 } else { 0x5305_3053 };
    let Ok(registration) = machine().registration() else { return false };
    let (area, length) = (thread_area(), registration.length);
    // SAFETY: this thread's area, as it was registered; it lives as long as the thread.
    unsafe { libc::syscall(libc::SYS_rseq, area, length, UNREGISTER, SIGNATURE) == 0 }
}

/// Threads without a registration: one that lost it, one that may not register.
fn unregistered() {
    spawn(|| {
        ensure_registered();
        println!("unregistered: {}", unregister());
        right_on_every_cpu();
        let told = wander(&COUNTER);
        assert_eq!(COUNTER.sum_exact(), told);
    })
    .join()
    .unwrap();
    spawn(|| {
        if we_register() {
            // Inherited by the threads that it starts.
            Filter::new(&[Rule::rseq(libc::EPERM)]).install().unwrap();
            assert!(!ensure_registered());
        } else if unregister() {
            // glibc makes no registered threads from an unregistered one.
            assert!(!spawn(ensure_registered).join().unwrap());
        }
        right_on_every_cpu();
        spawn(right_on_every_cpu).join().unwrap();
        // Beside threads on the same CPUs that are registered.
        let (orders, order) = mpsc::sync_channel::<()>(0);
        let counter = Counter::new();
        scope(|s| {
            let counter = &counter;
            s.spawn(move || {
                order.recv().unwrap();
                (0..100_000).for_each(|_| counter.add(1));
            });
            orders.send(()).unwrap();
            (0..100_000).for_each(|_| counter.add(1));
        });
        assert_eq!((counter.sum(), counter.sum_exact()), (200_000, 200_000));
    })
    .join()
    .unwrap();
    workload();
}

/// A filter that comes after the library has begun to rely on `membarrier`: who asks for an exact
/// sum is told, and everything else goes on.
fn late_refusal() {
    drop(take_hook());
    let (orders, order) = mpsc::channel::<()>();
    let elsewhere = spawn(move || {
        // There before the filter.
        order.recv().unwrap();
        COUNTER.sum_exact()
    });
    COUNTER.add(1);
    let _ = COUNTER.sum_exact();
    Filter::new(&[Rule::membarrier(libc::EPERM)]).install().unwrap();
    assert_eq!(answer(libc::SYS_membarrier, [0; 3]), libc::EPERM);
    for n in 1..4 {
        let sum = catch_unwind(AssertUnwindSafe(|| COUNTER.sum_exact()));
        match sum {
            Ok(sum) => assert_eq!((sum, machine().tier()), (n, Tier::Fence)),
            Err(panic) => {
                let message = panic.downcast_ref::<String>().expect("a message");
                assert!(message.contains("refuses membarrier"), "{message}");
                assert!(machine().tier() > Tier::Fence);
            }
        }
        COUNTER.add(1);
        assert_eq!(COUNTER.sum(), n + 1);
    }
    orders.send(()).unwrap();
    assert_eq!(elsewhere.join().unwrap(), 4);
}

/// Handlers that are the first of all to use a counter, in threads that have not used the library.
fn first_use_in_handlers() {
    static COUNTERS: [Counter; 40] = [const { Counter::new() }; 40];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static CPU: AtomicU64 = AtomicU64::new(u64::MAX);
    extern "C" fn count(_: c_int) {
        let counter = &COUNTERS[NEXT.load(SeqCst)];
        counter.add(7);
        counter.sub(3);
        CPU.store((current_cpu() as u64) << 32 | counter.sum(), SeqCst);
    }
    // SAFETY: all-zero is a valid action; the handler is async-signal-safe, as counting is.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    for (n, counter) in COUNTERS.iter().enumerate() {
        NEXT.store(n, SeqCst);
        let thread = move || {
            if n % 2 == 1 {
                Filter::new(&[Rule::rseq(libc::ENOSYS)]).install().unwrap();
            }
            // SAFETY: errno's location is this thread's; the signal has a handler.
            let errno = unsafe {
                *libc::__errno_location() = 4242;
                libc::raise(libc::SIGUSR1);
                *libc::__errno_location()
            };
            assert_eq!(errno, 4242);
        };
        spawn(thread).join().unwrap();
        assert_eq!(CPU.load(SeqCst) as u32, 4);
        assert_eq!((counter.sum(), counter.sum_exact()), (4, 4));
    }
}

/// Runs `f` in a forked child, which must exit well; an alarm kills one that hangs.
fn in_fork(f: impl FnOnce()) {
    /// Enough where CPUs are emulated and busy.
    const SECONDS: u32 = 100;
    // SAFETY: where other threads run, they neither begin nor end meanwhile, and hold no lock of
    // std's that the child takes. The child leaves without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: no preconditions.
            unsafe { libc::alarm(SECONDS) };
            f();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our own child; `status` is live.
            let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
            let status = ExitStatus::from_raw(status);
            assert!(waited == pid && status.success(), "a forked child did not end well: {status}");
        }
    }
}

/// Each process has its own counts from there on.
fn fork() {
    COUNTER.add(5);
    HISTOGRAM.record(100);
    VALUES.current().fetch_add(1, SeqCst);
    in_fork(|| {
        assert_eq!((COUNTER.sum(), COUNTER.sum_exact()), (5, 5));
        COUNTER.add(1);
        HISTOGRAM.record(50);
        workload();
        in_fork(workload);
        let seen = HISTOGRAM.snapshot();
        assert_eq!((seen.count(), seen.sum()), (4002, 150 + 4 * 999 * 500));
    });
    assert_eq!((COUNTER.sum(), COUNTER.sum_exact()), (5, 5));
    assert_eq!((HISTOGRAM.snapshot().count(), values()), (1, 1));
    workload();
}

/// Two threads that do something again and again.
struct Beside {
    shared: Arc<(AtomicBool, [AtomicU64; 2])>,
    threads: Vec<JoinHandle<()>>,
}

impl Beside {
    fn start(work: impl Fn() + Copy + Send + 'static) -> Beside {
        let shared = Arc::new((AtomicBool::new(false), [const { AtomicU64::new(0) }; 2]));
        let thread = |me: usize| {
            let shared = shared.clone();
            spawn(move || {
                while !shared.0.load(SeqCst) {
                    work();
                    shared.1[me].fetch_add(1, SeqCst);
                }
            })
        };
        Beside { threads: (0..2).map(thread).collect(), shared }
    }

    /// Until each of them has done it once more.
    fn wait(&self) {
        for rounds in &self.shared.1 {
            let before = rounds.load(SeqCst);
            while rounds.load(SeqCst) == before {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.shared.0.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// The parts may be closed in the child, for ever.
fn fork_in_exact_sums() {
    const FORKS: u64 = 25;
    COUNTER.add(5);
    let beside = Beside::start(|| _ = COUNTER.sum_exact());
    for n in 0..FORKS {
        beside.wait();
        in_fork(|| {
            let value = 5 + n;
            assert_eq!((COUNTER.sum(), COUNTER.sum_exact()), (value, value));
            (0..1000).for_each(|_| COUNTER.add(1));
            assert_eq!((COUNTER.sum(), COUNTER.sum_exact()), (value + 1000, value + 1000));
            let told = wander(&COUNTER);
            assert_eq!(COUNTER.sum_exact(), (value + 1000).wrapping_add(told));
            in_fork(|| {
                COUNTER.sub(1);
                assert_eq!(COUNTER.sum_exact(), (value + 999).wrapping_add(told));
            });
        });
        COUNTER.add(1);
    }
    drop(beside);
    assert_eq!((COUNTER.sum(), COUNTER.sum_exact()), (5 + FORKS, 5 + FORKS));
}

/// The list of what was given back may be locked in the child, for ever.
fn fork_while_counters_come_and_go() {
    let come_and_go = || {
        let counters: Vec<_> = (0..50).map(|_| Counter::new()).collect();
        counters.iter().for_each(|counter| counter.add(3));
        assert!(counters.iter().all(|counter| counter.sum() == 3));
    };
    let beside = Beside::start(come_and_go);
    for _ in 0..25 {
        beside.wait();
        in_fork(|| {
            (0..4).for_each(|_| come_and_go());
            in_fork(come_and_go);
        });
    }
    drop(beside);
}

/// In the child a CPU's ring may be stopped, by a record or a claim that nobody ends. Whoever writes
/// or reads there goes on, and what is refused is counted.
fn fork_while_rings_are_written() {
    static KEEPS: Ring = Ring::new(1 << 12);
    static OVERWRITES: Ring = Ring::with_policy(1 << 12, Policy::OverwriteOldest);
    fn write(ring: &Ring, length: usize) -> u64 {
        ring.push(&[7; 512][..length]).is_err().into()
    }
    let beside = Beside::start(|| {
        for length in [9, 500] {
            write(&KEEPS, length);
            write(&OVERWRITES, length);
        }
        // Another one may have it.
        if let Ok(mut consumer) = KEEPS.consumer() {
            consumer.pop_merged(|_| ());
        }
    });
    let mut consumer = OVERWRITES.consumer().unwrap();
    let mut child = || {
        for ring in [&KEEPS, &OVERWRITES] {
            let before = ring.dropped();
            let refused: u64 = (0..1000).map(|n| write(ring, n % 512)).sum();
            assert_eq!(ring.dropped() - before, refused);
        }
        while consumer.pop_merged(|record| assert!(record.bytes.iter().all(|&b| b == 7))).is_some()
        {
        }
        while consumer.pop(|record| assert!(record.bytes.iter().all(|&b| b == 7))).is_some() {}
        let ring = Ring::new(64);
        ring.push(&[1]).unwrap();
        assert_eq!(ring.consumer().unwrap().recv(|record| record.bytes.len()), 1);
    };
    for _ in 0..25 {
        beside.wait();
        in_fork(|| {
            child();
            in_fork(&mut child);
        });
    }
    drop(beside);
}

/// Pages of address space, and of memory, that this process has.
fn pages() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut fields = text.split(' ').map(|field| field.parse().unwrap());
    [fields.next().unwrap(), fields.next().unwrap()]
}

/// What may be taken by the way, in pages: libc's caches of stacks and of memory.
const SLACK: u64 = 500;

/// Threads that use everything, and are gone, leave nothing behind.
fn threads() {
    let some = || {
        let thread = || {
            COUNTER.add(1);
            (0..64).for_each(|n| HISTOGRAM.record(1 << n));
            VALUES.current().fetch_add(1, SeqCst);
        };
        let threads: Vec<_> = (0..20).map(|_| spawn(thread)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    (0..10).for_each(|_| some());
    let before = pages();
    (0..200).for_each(|_| some());
    let after = pages();
    println!("pages: {before:?}, after 4000 threads {after:?}");
    assert!(after[1] < before[1] + SLACK, "{before:?} pages, then {after:?}");
    assert_eq!(COUNTER.sum_exact(), 210 * 20);
    assert_eq!(HISTOGRAM.snapshot().count(), 210 * 20 * 64);
}

/// Counters and histograms that come and go take the same memory again.
fn many_counters() {
    let come_and_go = || {
        let counters: Vec<_> = (0..10_000).map(|_| Counter::new()).collect();
        let histograms: Vec<_> = (0..20).map(|_| Histogram::new()).collect();
        for (n, counter) in counters.iter().enumerate() {
            assert_eq!(counter.sum(), 0);
            counter.add(n as u64);
        }
        for histogram in &histograms {
            assert_eq!(histogram.snapshot().count(), 0);
            (0..1000).for_each(|n| histogram.record(n));
            assert_eq!(histogram.snapshot().count(), 1000);
        }
        assert!(counters.iter().enumerate().all(|(n, counter)| counter.sum_exact() == n as u64));
    };
    (0..3).for_each(|_| come_and_go());
    let before = pages();
    (0..10).for_each(|_| come_and_go());
    let after = pages();
    println!("pages: {before:?}, later {after:?}");
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + SLACK, "{before} pages, then {after}");
    }
}

/// What sums cost others.
fn broadcasts() {
    COUNTER.add(1);
    let sent = |f: &dyn Fn()| {
        let before = machine().broadcasts();
        f();
        machine().broadcasts() - before
    };
    let one = u64::from(machine().tier() > Tier::Fence);
    assert_eq!(sent(&|| assert_eq!(COUNTER.sum_exact(), 1)), one);
    assert_eq!(sent(&|| assert_eq!(COUNTER.sum(), 1)), 0);
    assert_eq!(sent(&|| (0..1000).for_each(|_| COUNTER.add(0))), 0);
    assert_eq!(sent(&|| assert_eq!(HISTOGRAM.snapshot().count(), 0)), 0);
}

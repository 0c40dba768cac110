//! What child processes do, each in a surrounding that its parent chose.

use super::early::{ForeignArea, SIGNATURE};
use super::play::play;
use super::protection::{Tracked, protects};
use super::seccomp::{Filter, Rule, answer};
use super::surrounding;
use super::workload::{self, handle, handled};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, take_hook};
use std::process::Command;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{OnceLock, mpsc};
use std::task::{Context, Waker};
use std::thread::scope;
use std::time::{Duration, Instant};
use stillpoint::rcu::{self, Domain, RcuCell, SendGuard, StallReport};
use stillpoint::rseq::area::{Registrar, ensure_registered, thread_area};
use stillpoint::rseq::reader::{self, Gate, Line, Mark};
use stillpoint::rseq::syscall::{self, Call};
use stillpoint::{Tier, machine};

const SCENARIOS: [(&str, fn()); 19] = [
    ("nothing", || {}),
    ("workload", workload::run),
    ("one thread refused", one_thread_refused),
    ("one thread foreign", one_thread_foreign),
    ("one thread unregistered", one_thread_unregistered),
    ("unregistered, nothing planted", nothing_planted),
    ("first use in handlers", first_use_in_handlers),
    ("fork", fork),
    ("storm", storm),
    ("exiting threads", exiting_threads),
    ("forgotten guards", forgotten_guards),
    ("many domains", many_domains),
    ("late refusal", late_refusal),
    ("retirers after a refusal", retirers_after_refusal),
    ("who cannot wait after a refusal", who_cannot_wait_after_refusal),
    ("reads freed memory", reads_freed_memory),
    ("waits for itself", waits_for_itself),
    ("panics", || panic!("as it should")),
    ("aborts", || std::process::abort()),
];

/// Runs the one that the environment names.
pub(crate) fn run() {
    play(&SCENARIOS);
}

/// True if it is ours to register threads, once they need it, and works.
fn we_register() -> bool {
    machine().registration().is_ok_and(|r| r.registrar == Registrar::Own)
}

/// The `cpu_id` of the calling thread's area; less than 0 if it is not registered.
fn area_cpu() -> i32 {
    // SAFETY: static TLS of this thread, by the library or libc.
    unsafe { thread_area().byte_add(4).cast::<i32>().read_volatile() }
}

/// A thread that may not register, in a process whose others are.
fn one_thread_refused() {
    for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL] {
        protects(|hold| {
            Filter::new(&[Rule::rseq(errno)]).install().unwrap();
            assert_eq!(answer(libc::SYS_rseq, [0; 3]), errno);
            assert!(!we_register() || area_cpu() < 0, "registered before");
            let guard = rcu::read();
            assert!(!we_register() || !ensure_registered());
            hold(&guard);
        });
    }
    assert!(!we_register() || ensure_registered());
    workload::values();
}

/// A thread that is not registered does not enter sections: a handler that came in the middle could
/// register it, and the kernel would not know of the one that goes on.
fn nothing_planted() {
    if !we_register() {
        return println!("the C library registers");
    }
    let fresh = || {
        assert!(area_cpu() < 0, "registered before");
        let gate = Gate { phase: AtomicPtr::default(), slots: AtomicU32::new(0) };
        let line = Line::default();
        let mark = Mark { phase: (&line.phases[0]).into(), cpu: 0 };
        // One after which the kernel has no reason to clear what was planted.
        let call = Call { number: libc::SYS_getppid, arguments: [0; 6] };
        // SAFETY: a gate without lines, a mark of a line of ours that nobody scans, a call without
        // memory.
        let attempts: [&dyn Fn() -> bool; 4] = unsafe {
            [
                &|| reader::enter(&gate).is_some(),
                &|| reader::leave_here(mark),
                &|| syscall::unless(&AtomicU32::new(0), &call).is_some(),
                &|| syscall::armed(&AtomicUsize::new(0), 1, &call).is_some(),
            ]
        };
        assert!(attempts.iter().all(|attempt| !attempt()));
        // SAFETY: the descriptor's address, in this thread's area.
        let planted = || unsafe { thread_area().byte_add(8).cast::<AtomicU64>().as_ref() }.unwrap();
        assert_eq!(planted().load(SeqCst), 0);
        // The attempts are ones that plant: once the thread is registered, they do, each of them.
        assert!(ensure_registered());
        for (i, attempt) in attempts.iter().enumerate() {
            let plants = |_| {
                planted().store(0, SeqCst);
                black_box(attempt)();
                planted().load(SeqCst) != 0
            };
            assert!((0..1000).any(plants), "attempt {i} plants nothing");
        }
    };
    scope(|s| s.spawn(fresh).join().unwrap());
}

/// A thread that somebody else registered first.
fn one_thread_foreign() {
    protects(|hold| {
        // Where libc has registered the thread, a second area is refused, and the first stays good.
        let foreign = ForeignArea::register();
        assert!(machine().registration().is_err() || foreign.is_ok() == we_register());
        let guard = rcu::read();
        if let Ok(area) = foreign {
            assert!(!ensure_registered());
            assert!(area.cpu() >= 0, "no longer registered");
        }
        hold(&guard);
        drop(guard);
        workload::values();
        assert!(foreign.is_err() || foreign.is_ok_and(|area| area.cpu() >= 0), "unregistered");
    });
}

const UNREGISTER: c_int = 1;

/// Unregisters the calling thread's area, or registers it again.
fn rseq(flags: c_int) -> c_int {
    let Ok(registration) = machine().registration() else { return 0 };
    let (area, length) = (thread_area(), registration.length);
    // SAFETY: this thread's area, as it was registered; it lives as long as the thread.
    let r = unsafe { libc::syscall(libc::SYS_rseq, area, length, flags, SIGNATURE) };
    if r == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
}

/// Threads that lose their registration and get it back, with guards of both kinds alive.
fn one_thread_unregistered() {
    if machine().registration().is_err() {
        return println!("nobody is registered");
    }
    protects(|hold| {
        let by_sequence = rcu::read();
        assert!(ensure_registered());
        assert_eq!(rseq(UNREGISTER), 0);
        assert!(area_cpu() < 0);
        if !we_register() {
            assert!(!ensure_registered());
            // glibc makes no registered threads from an unregistered one.
            std::thread::spawn(|| {
                assert!(!ensure_registered());
                drop(rcu::read());
            })
            .join()
            .unwrap();
        }
        let by_fallback = rcu::read();
        drop(by_sequence);
        hold(&by_fallback);
        if !we_register() {
            assert_eq!(rseq(0), 0);
        }
        assert!(ensure_registered());
        drop(by_fallback);
    });
    left_by_strangers();
    workload::values();
}

/// Guards that registered threads make and an unregistered one drops, while the former go on
/// reading on the same CPUs: a count lost is a grace period that never ends.
fn left_by_strangers() {
    let (guards, strangers) = mpsc::sync_channel::<Vec<SendGuard<'_>>>(4);
    scope(|s| {
        s.spawn(|| {
            if !we_register() {
                assert_eq!(rseq(UNREGISTER), 0);
            } else {
                Filter::new(&[Rule::rseq(libc::EPERM)]).install().unwrap();
            }
            strangers.into_iter().for_each(drop);
            assert!(we_register() || !ensure_registered());
        });
        for _ in 0..500 {
            guards.send((0..100).map(|_| rcu::read().into_send()).collect()).unwrap();
            (0..500).for_each(|_| drop(rcu::read()));
        }
        drop(guards);
    });
    rcu::synchronize();
}

/// Handlers that are the first in their thread to use the library; `errno` survives it.
fn first_use_in_handlers() {
    handle(libc::SIGUSR1);
    for refused in [false, true] {
        let thread = move || {
            // Under glibc's registration, the filter would only hit threads made from here.
            if refused {
                Filter::new(&[Rule::rseq(libc::ENOSYS)]).install().unwrap();
            }
            for _ in 0..3 {
                let before = handled();
                // SAFETY: errno's location is this thread's; the signal has a handler.
                let errno = unsafe {
                    *libc::__errno_location() = 4242;
                    libc::raise(libc::SIGUSR1);
                    *libc::__errno_location()
                };
                assert_eq!((errno, handled() - before), (4242, 1));
            }
            let by_need = we_register() && machine().tier() == Tier::Rseq;
            assert!(!by_need || refused == (area_cpu() < 0));
        };
        std::thread::spawn(thread).join().unwrap();
    }
    rcu::synchronize();
}

/// Runs `f` in a forked child, which must exit well.
fn in_fork(f: impl FnOnce()) {
    // SAFETY: the other threads of this process use neither the library nor, for long, the
    // allocator; the child runs `f` and leaves without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            f();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our own child; `status` is live.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the forked child did not end well");
        }
    }
}

/// Forked children go on, start again, and fork in turn.
fn fork() {
    let everything = || {
        workload::values();
        // Joined: where a thread of std's is just ending, a fork leaves a lock of std's behind, and the
        // child can start no threads.
        scope(|s| s.spawn(workload::values).join().unwrap());
        rcu::synchronize();
    };
    in_fork(everything);
    everything();
    in_fork(|| {
        everything();
        in_fork(everything);
    });
    // A guard, and a callback, from before: both processes have them.
    let guard = rcu::read();
    let pending = Tracked::new(1);
    let witness = pending.witness();
    rcu::retire(pending);
    in_fork(|| {
        assert!(witness.load(SeqCst));
        drop(guard);
        rcu::barrier();
        assert!(!witness.load(SeqCst));
    });
    assert!(witness.load(SeqCst));
    rcu::barrier();
    assert!(!witness.load(SeqCst));
    let again = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(std::env::args().skip(1)).env(surrounding::SCENARIO, "workload");
        command
    };
    in_fork(|| panic!("{}", again().exec()));
    assert!(again().output().unwrap().status.success());
}

/// Threads that come, read once, and go; half of them without anyone waiting.
fn storm() {
    static CELL: std::sync::LazyLock<RcuCell<Tracked>> =
        std::sync::LazyLock::new(|| RcuCell::new(Tracked::new(0)));
    static READ: AtomicU64 = AtomicU64::new(0);
    let read = || {
        assert!(!we_register() || area_cpu() < 0, "a new thread is not registered yet");
        let guard = rcu::read();
        CELL.load(&guard).assert_alive();
        drop(guard);
        READ.fetch_add(1, SeqCst);
    };
    const BATCH: u64 = 50;
    for batch in 0..40 {
        let threads: Vec<_> = (0..BATCH).map(|_| std::thread::spawn(read)).collect();
        CELL.store(Tracked::new(batch));
        if batch % 2 == 0 {
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        rcu::synchronize();
    }
    while READ.load(SeqCst) < 40 * BATCH {
        std::thread::yield_now();
    }
    rcu::barrier();
}

/// Threads of which nobody waits for the end, seen from their own last destructors. Where libc
/// unmaps the area of such a thread before it is gone, it must not be registered by then.
fn exiting_threads() {
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    static GONE: AtomicU64 = AtomicU64::new(0);
    thread_local!(static ROUND: Cell<u32> = const { Cell::new(0) });
    /// As many rounds of destructors as a thread is sure to get.
    const ROUNDS: u32 = 4;
    unsafe extern "C" fn last(arm: *mut c_void) {
        ROUND.set(ROUND.get() + 1);
        if ROUND.get() < ROUNDS {
            // SAFETY: as where it was set first.
            unsafe { libc::pthread_setspecific(KEY.get().copied().unwrap(), arm) };
            return;
        }
        drop(rcu::read());
        if cfg!(target_env = "musl") && we_register() {
            assert!(area_cpu() < 0 && !ensure_registered(), "registered in the last destructor");
            // The kernel's word for it. This area is never freed.
            assert!(ForeignArea::register().is_ok(), "the kernel knows of another area");
        }
        GONE.fetch_add(1, SeqCst);
    }
    // After the library's own.
    let mut key = 0;
    // SAFETY: `key` is live; the destructor has the asked-for type.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(last)) }, 0);
    KEY.set(key).unwrap();
    const THREADS: u64 = 10_000;
    /// A thread, which reads if it is told so.
    extern "C" fn thread(reads: *mut c_void) -> *mut c_void {
        if !reads.is_null() {
            drop(rcu::read());
            assert!(!we_register() || machine().tier() != Tier::Rseq || area_cpu() >= 0);
        }
        let key = KEY.get().copied().unwrap();
        // SAFETY: the key exists; the value is not null and never followed.
        assert_eq!(unsafe { libc::pthread_setspecific(key, (&raw const GONE).cast()) }, 0);
        std::ptr::null_mut()
    }
    for n in 0..THREADS {
        // The others use the library there for the first time.
        let reads = std::ptr::without_provenance_mut(usize::from(n % 2 == 0));
        // Detached from the beginning: when it is detached later, as std does, glibc 2.36 may look at
        // a thread that is gone.
        // SAFETY: the attributes and the thread's number are live locals; initialized before they
        // are used, and destroyed after.
        unsafe {
            let mut attributes = std::mem::zeroed();
            let mut number = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
            assert_eq!(libc::pthread_create(&mut number, &attributes, thread, reads), 0);
            libc::pthread_attr_destroy(&mut attributes);
        }
        while GONE.load(SeqCst) + 50 < n {
            std::thread::yield_now();
        }
    }
    while GONE.load(SeqCst) < THREADS {
        std::thread::yield_now();
    }
    rcu::barrier();
}

/// Forgotten guards stop their own domain's grace periods, nothing else.
fn forgotten_guards() {
    let domain = Domain::new();
    std::mem::forget(domain.read());
    let value = Tracked::new(1);
    let witness = value.witness();
    domain.retire(value);
    (0..1000).for_each(|_| domain.defer(|| {}));
    assert!(witness.load(SeqCst) && domain.pending().callbacks == 1001);
    workload::values();
    drop(domain);
    assert!(!witness.load(SeqCst));
    // The global domain is never dropped; the process ends all the same.
    std::mem::forget(rcu::read());
    (0..1000).for_each(|_| rcu::defer(|| panic!("under a guard")));
    assert_eq!(Domain::global().pending().callbacks, 1000);
}

/// Pages of address space, and of memory, that this process has.
fn pages() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut fields = text.split(' ').map(|field| field.parse().unwrap());
    [fields.next().unwrap(), fields.next().unwrap()]
}

/// Domains leave nothing behind.
fn many_domains() {
    let use_one = || {
        let domain = Box::new(Domain::new());
        drop(domain.read());
        domain.defer(|| {});
        domain.synchronize();
    };
    (0..1000).for_each(|_| use_one());
    let before = pages();
    (0..10_000).for_each(|_| use_one());
    let after = pages();
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + 1000, "{before} pages before 10000 domains, then {after}");
    }
}

/// Refuses `membarrier` to this thread from now on. Returns what runs jobs on a thread that was
/// there before, which the filter does not hit.
fn refuse_late() -> impl Fn(fn()) {
    drop(take_hook());
    let (orders, jobs) = mpsc::channel::<fn()>();
    let (finished, results) = mpsc::channel();
    std::thread::spawn(move || {
        for job in jobs {
            job();
            finished.send(()).unwrap();
        }
    });
    Filter::new(&[Rule::membarrier(libc::EPERM)]).install().unwrap();
    assert_eq!(answer(libc::SYS_membarrier, [0; 3]), libc::EPERM);
    move |job| {
        orders.send(job).unwrap();
        results.recv().unwrap();
    }
}

/// Asserts that `wait` panics, as documented.
fn assert_refused(wait: fn()) {
    let panic = catch_unwind(AssertUnwindSafe(wait)).expect_err("no grace period can end");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("refuses the membarrier it granted at start-up"), "{message}");
    assert!(message.contains("os error 1"), "{message}");
}

/// A filter that comes after the library has begun to rely on `membarrier`.
fn late_refusal() {
    let elsewhere = refuse_late();
    let domain = Domain::global();
    if domain.tier() == Tier::Fence {
        return workload::run();
    }
    let value = Tracked::new(1);
    let witness = value.witness();
    rcu::retire(value);
    (0..200).for_each(|_| rcu::defer(|| {}));
    for wait in [rcu::synchronize, rcu::barrier, rcu::synchronize, rcu::barrier] {
        assert_refused(wait);
        drop(rcu::read());
        assert!(witness.load(SeqCst), "dropped without a grace period");
        assert_eq!(domain.pending().callbacks, 201);
    }
    // Whoever may still broadcast is not held up, and finds everything where it was.
    elsewhere(rcu::synchronize);
    elsewhere(rcu::barrier);
    assert!(!witness.load(SeqCst) && domain.pending().callbacks == 0);
}

/// A refusal in one thread leaves the others' callbacks running, without a barrier.
fn retirers_after_refusal() {
    let elsewhere = refuse_late();
    if Domain::global().tier() != Tier::Fence {
        rcu::defer(|| {});
        assert_refused(rcu::barrier);
    }
    elsewhere(|| (0..20_000).for_each(|_| rcu::defer(|| {})));
    let pending = Domain::global().pending().callbacks;
    assert!(pending < 10_000, "{pending} of 20000 callbacks are pending");
}

/// Whoever polls, awaits or retires hears of a refusal by a report.
fn who_cannot_wait_after_refusal() {
    static DOMAIN: Domain = Domain::builder().stall_timeout(Duration::from_millis(5)).build();
    let (heard, reports) = mpsc::channel();
    DOMAIN.on_stall(move |report| drop(heard.send(report.clone())));
    let elsewhere = refuse_late();
    if DOMAIN.tier() == Tier::Fence {
        return;
    }
    let patience = Duration::from_secs(30);
    let expect_report = |what: &str, report: Option<StallReport>| {
        let report = report.unwrap_or_else(|| panic!("no report to who {what}"));
        assert_eq!((report.refused, report.sections), (Some(libc::EPERM), 0), "{report}");
        let text = report.to_string();
        assert!(text.contains("by the kernel, which refuses the membarrier"), "{what}: {text}");
    };
    // The reclaimer is this thread's: the filter is on it, too. Each time reports have begun anew.
    let period = DOMAIN.start_poll();
    let begun = Instant::now();
    let polled = std::iter::repeat_with(|| {
        assert!(!period.is_complete() && begun.elapsed() < patience);
        std::thread::sleep(Duration::from_millis(1));
        reports.try_recv().ok()
    });
    expect_report("polls", polled.flatten().next());
    elsewhere(|| DOMAIN.synchronize());
    assert!(period.is_complete());
    let mut period = Box::pin(DOMAIN.grace_period());
    let mut context = Context::from_waker(Waker::noop());
    assert!(period.as_mut().poll(&mut context).is_pending());
    reports.try_iter().for_each(drop);
    expect_report("awaits", reports.recv_timeout(patience).ok());
    elsewhere(|| DOMAIN.synchronize());
    assert!(period.as_mut().poll(&mut context).is_ready());
    reports.try_iter().for_each(drop);
    DOMAIN.retire(1);
    expect_report("retires", reports.recv_timeout(patience).ok());
    assert_refused(|| DOMAIN.barrier());
    elsewhere(|| DOMAIN.barrier());
    assert_eq!(DOMAIN.pending().callbacks, 0);
}

/// What valgrind is there for.
fn reads_freed_memory() {
    // SAFETY: none; the last line is the error that must be found.
    unsafe {
        let word = libc::malloc(8).cast::<u64>();
        libc::free(word.cast());
        println!("{}", word.read_volatile());
    }
}

/// What must not be done.
fn waits_for_itself() {
    let _guard = rcu::read();
    println!("about to wait");
    rcu::synchronize();
}

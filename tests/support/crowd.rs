//! A crowd for stress tests: workers that migrate, yield and are interrupted by signals, others
//! beside them, until time is over or something is found. Once at a time in a process.

#[path = "cpus.rs"]
pub(crate) mod cpus;

use fastrand::Rng;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const SIGNAL: libc::c_int = libc::SIGUSR2;

static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
/// What workers did so far, of what the test counts.
pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);
/// Where workers may go: as it was before they went.
static CPUS: OnceLock<Vec<usize>> = OnceLock::new();

/// What came out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    #[allow(dead_code, reason = "mutants' tests look at the count itself")]
    pub(crate) operations: u64,
}

pub(crate) fn report() -> Report {
    Report { violations: VIOLATIONS.load(Relaxed), operations: OPERATIONS.load(Relaxed) }
}

/// True when there is no more to be done. A signal handler may ask.
pub(crate) fn is_over() -> bool {
    STOP.load(Relaxed)
}

/// Something is wrong, and the stress over. A signal handler may say so.
pub(crate) fn violation() {
    VIOLATIONS.fetch_add(1, Relaxed);
    STOP.store(true, Relaxed);
}

pub(crate) fn count() {
    OPERATIONS.fetch_add(1, Relaxed);
}

/// The calling worker yields, or goes to another CPU.
pub(crate) fn wander(random: &mut Rng) {
    if random.bool() {
        std::thread::yield_now();
    } else {
        let cpus = CPUS.get_or_init(cpus::allowed);
        cpus::restrict(0, &[cpus[random.usize(..cpus.len())]]);
    }
}

/// For those who have nothing to do when they are interrupted: a signal that comes and goes aborts
/// sections all the same.
#[allow(dead_code, reason = "some have")]
pub(crate) extern "C" fn nothing(_: libc::c_int) {}

/// Has each of the workers `work`, which is told a number of its own and returns when all is over.
/// Beside them each of `beside` is called again and again. The handler does only what is
/// async-signal-safe.
pub(crate) fn run(
    time: Duration,
    handler: extern "C" fn(libc::c_int),
    work: &(dyn Fn(u64) + Sync),
    beside: &[&(dyn Fn(&mut Rng) + Sync)],
) {
    VIOLATIONS.store(0, Relaxed);
    STOP.store(false, Relaxed);
    CPUS.get_or_init(cpus::allowed);
    // SAFETY: the caller's word for the handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(SIGNAL, &action, std::ptr::null_mut()), 0);
    }
    let threads = &[const { AtomicUsize::new(0) }; WORKERS];
    std::thread::scope(|scope| {
        let workers = threads.iter().enumerate().map(|(number, thread)| {
            scope.spawn(move || {
                // SAFETY: no preconditions.
                thread.store(unsafe { libc::pthread_self() } as usize, Relaxed);
                work(number as u64);
            })
        });
        let workers: Vec<_> = workers.collect();
        for (number, other) in beside.iter().enumerate() {
            scope.spawn(move || {
                let mut random = Rng::with_seed(100 + number as u64);
                while !is_over() {
                    other(&mut random);
                    (0..random.u32(..500)).for_each(|_| std::hint::spin_loop());
                }
            });
        }
        let begin = Instant::now();
        while begin.elapsed() < time && !is_over() {
            for thread in threads.iter().map(|thread| thread.load(Relaxed)) {
                if thread != 0 {
                    // SAFETY: not joined yet.
                    unsafe { libc::pthread_kill(thread as libc::pthread_t, SIGNAL) };
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        STOP.store(true, Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

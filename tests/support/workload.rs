//! Everything the public interface offers, with its results checked: what must work in each
//! surrounding.

use super::protection::{Tracked, protects};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::scope;
use std::time::{Duration, Instant};
use stillpoint::rcu::{self, Domain, RcuCell};
use stillpoint::{Tier, machine};

/// How many, in a surrounding where everything is slow.
pub(crate) fn scaled(n: u64) -> u64 {
    static LIGHT: OnceLock<bool> = OnceLock::new();
    let light = *LIGHT.get_or_init(|| std::env::var_os(super::surrounding::LIGHT).is_some());
    if light { n.div_ceil(20) } else { n }
}

pub(crate) fn run() {
    values();
    guards();
    domains();
    threads();
    destructors();
    signals();
    readers_and_writers();
    at_exit();
}

/// What cells hold is what was put there, and is dropped once.
pub(crate) fn values() {
    let cell = RcuCell::new(Tracked::new(0));
    let number = || cell.load(&rcu::read()).number;
    let first = cell.load(&rcu::read()).witness();
    cell.store(Tracked::new(1));
    assert_eq!(number(), 1);
    let one = cell.swap(Tracked::new(2));
    assert_eq!((one.number, number()), (1, 2));
    one.assert_alive();
    assert_eq!(one.into_inner().number, 1);
    cell.update(|old| Tracked::new(old.number + 1));
    assert_eq!(number(), 3);
    {
        let guard = rcu::read();
        let current = cell.load(&guard);
        let removed = cell.compare_exchange(current, Tracked::new(4), &guard).unwrap();
        let lost = cell.compare_exchange(current, Tracked::new(5), &guard).unwrap_err();
        assert_eq!((removed.number, lost.current.number, lost.new.number), (3, 4, 5));
    }
    rcu::barrier();
    assert!(!first.load(SeqCst));
    let called = Arc::new(AtomicU64::new(0));
    for _ in 0..scaled(500) {
        let called = called.clone();
        rcu::defer(move || {
            called.fetch_add(1, SeqCst);
        });
    }
    rcu::retire(Tracked::new(6));
    rcu::barrier();
    assert_eq!(called.load(SeqCst), scaled(500));
    assert_eq!(cell.into_inner().number, 4);
}

/// Guards nest, overlap, and move.
fn guards() {
    let many: Vec<_> = (0..100).map(|_| rcu::read()).collect();
    drop(many);
    rcu::synchronize();
    protects(|hold| hold(&rcu::read()));
    protects(|hold| {
        let outer = rcu::read();
        let inner = rcu::read();
        drop(outer);
        hold(&inner);
    });
    protects(|hold| {
        let guard = rcu::read().into_send();
        scope(|s| {
            s.spawn(move || {
                hold(&guard);
                drop(guard);
            });
        });
    });
}

/// Domains of one's own, on every tier there is.
fn domains() {
    for tier in Tier::ALL {
        let domain = Arc::new(Domain::builder().tier(tier).build());
        let expected = match tier.min(machine().tier()) {
            // The plain broadcast may be refused where the one with rseq is granted.
            Tier::Membarrier if !machine().to_string().contains("\nmembarrier: yes\n") => {
                Tier::Fence
            }
            tier => tier,
        };
        assert_eq!(domain.tier(), expected);
        let cell = RcuCell::new_in(Tracked::new(1), domain.clone());
        let guard = domain.read();
        let witness = cell.load(&guard).witness();
        cell.store(Tracked::new(2));
        cell.load(&domain.read()).assert_alive();
        assert!(witness.load(SeqCst));
        drop(guard);
        let before = domain.grace_periods();
        domain.synchronize();
        assert!(domain.grace_periods() > before);
        domain.barrier();
        assert!(!witness.load(SeqCst));
        assert_eq!(domain.pending().callbacks, 0);
        // What is still pending goes with the domain.
        let last = Tracked::new(3);
        let witness = last.witness();
        domain.retire(last);
        drop((cell, domain));
        assert!(!witness.load(SeqCst));
    }
}

/// Threads that read once and are gone.
fn threads() {
    let cell = RcuCell::new(Tracked::new(7));
    scope(|s| {
        for _ in 0..scaled(60) {
            s.spawn(|| assert_eq!(cell.load(&rcu::read()).number, 7));
        }
    });
    rcu::synchronize();
}

static PARTED: AtomicU64 = AtomicU64::new(0);

/// Reads, and retires, when the thread that has it ends.
struct Parting;

impl Drop for Parting {
    fn drop(&mut self) {
        part();
    }
}

fn part() {
    let guard = rcu::read();
    rcu::retire(Tracked::new(0));
    drop(guard);
    PARTED.fetch_add(1, SeqCst);
}

unsafe extern "C" fn part_with_key(_: *mut c_void) {
    part();
}

/// Thread-local destructors, std's and then those of pthread keys; some in threads that have not
/// used the library before.
fn destructors() {
    thread_local!(static PARTING: Cell<Option<Parting>> = const { Cell::new(None) });
    let mut key = 0;
    // SAFETY: `key` is live; the destructor has the asked-for type.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(part_with_key)) }, 0);
    let before = PARTED.load(SeqCst);
    for reads_before in [false, true] {
        let parting = || {
            PARTING.set(Some(Parting));
            // SAFETY: the key exists; the value is not null and never followed.
            unsafe { libc::pthread_setspecific(key, (&raw const key).cast()) };
            if reads_before {
                drop(rcu::read());
            }
        };
        // Joined: the scope alone would not wait for the destructors.
        scope(|s| (0..10).for_each(|_| s.spawn(parting).join().unwrap()));
    }
    assert_eq!(PARTED.load(SeqCst) - before, 40);
    rcu::barrier();
    // SAFETY: nobody uses the key any more.
    unsafe { libc::pthread_key_delete(key) };
}

/// What the signal handler reads.
static SIGNALLED: OnceLock<RcuCell<Tracked>> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);
static SPOILT: AtomicBool = AtomicBool::new(false);

pub(crate) extern "C" fn read_in_handler(_: c_int) {
    let outer = rcu::read();
    let inner = rcu::read();
    if let Some(cell) = SIGNALLED.get() {
        let value = cell.load(&outer);
        drop(inner);
        if !value.witness().load(SeqCst) {
            SPOILT.store(true, SeqCst);
        }
    }
    HANDLED.fetch_add(1, SeqCst);
}

/// How often [`read_in_handler`] has run.
pub(crate) fn handled() -> u64 {
    HANDLED.load(SeqCst)
}

/// Makes [`read_in_handler`] the handler, and lets the signal through.
pub(crate) fn handle(signal: c_int) {
    SIGNALLED.get_or_init(|| RcuCell::new(Tracked::new(0)));
    // SAFETY: all-zero is a valid action and an empty set; the handler is async-signal-safe, as
    // reading is.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = read_in_handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        let mut set = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}

/// Handlers that read, in the midst of this thread's reading, replacing and waiting.
fn signals() {
    handle(libc::SIGUSR1);
    let before = handled();
    // SAFETY: the signal has a handler.
    unsafe { libc::raise(libc::SIGUSR1) };
    assert_eq!(handled(), before + 1);
    let over = AtomicBool::new(false);
    // As a number: where it is a pointer, it would not go to another thread.
    // SAFETY: no preconditions.
    let here = unsafe { libc::pthread_self() } as usize;
    let interval = Duration::from_micros(if scaled(20) == 20 { 50 } else { 5000 });
    scope(|s| {
        s.spawn(|| {
            while !over.load(SeqCst) {
                // SAFETY: the thread that waits for this one; the signal has a handler.
                unsafe { libc::pthread_kill(here as libc::pthread_t, libc::SIGUSR1) };
                std::thread::sleep(interval);
            }
        });
        interrupted(before + 20);
        over.store(true, SeqCst);
    });
    assert!(!SPOILT.load(SeqCst), "a handler read a dropped value");
    rcu::barrier();
}

/// Goes on for a while, and until so many signals were handled.
fn interrupted(signals: u64) {
    let deadline = Instant::now() + Duration::from_millis(60);
    let cell = SIGNALLED.get().unwrap();
    while Instant::now() < deadline || handled() < signals {
        for _ in 0..scaled(200) {
            let guard = rcu::read();
            cell.load(&guard).assert_alive();
        }
        cell.update(|old| Tracked::new(old.number + 1));
        rcu::synchronize();
    }
}

/// Everybody at once.
fn readers_and_writers() {
    let cell = RcuCell::new(Tracked::new(0));
    let over = AtomicBool::new(false);
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut last = 0;
                while !over.load(SeqCst) {
                    let guard = rcu::read();
                    let value = cell.load(&guard);
                    assert!(value.number >= last, "an older value than before");
                    last = value.number;
                    std::thread::yield_now();
                    value.assert_alive();
                }
            });
        }
        let deadline = Instant::now() + Duration::from_millis(60);
        for number in 1.. {
            match number % 8 {
                0 => drop(cell.swap(Tracked::new(number)).into_inner()),
                _ => cell.store(Tracked::new(number)),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        over.store(true, SeqCst);
    });
    rcu::barrier();
}

/// A handler that runs when `main` is over.
fn at_exit() {
    extern "C" fn late() {
        drop(rcu::read());
        rcu::synchronize();
        rcu::barrier();
        println!("at exit: read");
    }
    // SAFETY: the function has the asked-for type and does not unwind.
    assert_eq!(unsafe { libc::atexit(late) }, 0);
    // Left pending for it.
    rcu::retire(Tracked::new(8));
}

//! Readers and writers of locks, of every kind, over values that tell if two of them meet.
//!
//! A value is eight words that are all the same unless somebody is changing them. A writer changes
//! them one after the other; a reader looks at them, and looks again. No access to them is atomic:
//! only the lock orders them. (They are volatile, so that each look is one.)
//!
//! Readers hold one guard or more, in any order, for longer or shorter, and move to another CPU meanwhile;
//! some only try, or wait for a limited time. Writers write, try, wait for a limited time, downgrade and
//! upgrade. Everybody is interrupted by a 1 ms timer and moved about by others. Each counts what it has
//! done; if one of them gets nowhere for long, the process is aborted.

#[path = "alarm.rs"]
mod alarm;
#[path = "cpus.rs"]
pub(crate) mod cpus;
#[path = "obstacles.rs"]
mod obstacles;
#[path = "warm.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod warm;

use alarm::{Timer, handle};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::*};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use stillpoint::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};

const LOCKS: usize = 4;
const READERS: usize = 5;
const WRITERS: usize = 3;
const THREADS: usize = READERS + WRITERS;

/// What a lock protects.
type Words = [u64; 8];

/// What the threads of one run share.
#[derive(Debug, Default)]
struct Shared {
    locks: [RwLock<Words>; LOCKS],
    /// How often each was written.
    writes: [AtomicU64; LOCKS],
    /// How much each thread has done, and its number in the kernel.
    done: [AtomicU64; THREADS],
    numbers: [AtomicI32; THREADS],
    timeouts: AtomicU64,
    violations: AtomicU64,
    stop: AtomicBool,
}

/// Counts if the words are not all the same, or not what they were at first.
fn look(words: &Words, linger: u32, violations: &AtomicU64) {
    let load = |n: usize| {
        // SAFETY: one of the words, behind a reference.
        unsafe { (&raw const words[n]).read_volatile() }
    };
    let first = load(0);
    for round in 0..=linger {
        let n = round as usize % words.len();
        if load(n) != first {
            violations.fetch_add(1, Relaxed);
            return;
        }
        std::hint::spin_loop();
    }
    if (0..words.len()).any(|n| load(n) != first) {
        violations.fetch_add(1, Relaxed);
    }
}

/// Makes each word greater by one, one after the other; counts if somebody else has.
fn change(words: &mut Words, linger: u32, violations: &AtomicU64) {
    let mut first = None;
    for word in words {
        // SAFETY: an exclusive reference.
        let now = unsafe { (&raw const *word).read_volatile() };
        if *first.get_or_insert(now) != now {
            violations.fetch_add(1, Relaxed);
        }
        (0..linger).for_each(|_| std::hint::spin_loop());
        // SAFETY: as above.
        unsafe { (&raw mut *word).write_volatile(now.wrapping_add(1)) };
    }
}

impl Shared {
    fn look(&self, words: &Words, linger: u32) {
        look(words, linger, &self.violations);
    }

    fn change(&self, n: usize, words: &mut Words, linger: u32) {
        change(words, linger, &self.violations);
        self.writes[n].fetch_add(1, Relaxed);
    }

    /// Looks at the words before and after doing something else.
    fn pause(&self, words: &Words, doing: impl FnOnce()) {
        // SAFETY: one of the words, behind a reference.
        let first = || unsafe { (&raw const words[0]).read_volatile() };
        let before = first();
        doing();
        self.violations.fetch_add(u64::from(first() != before), Relaxed);
        self.look(words, 8);
    }

    fn reader(&self, me: usize) {
        let mut random = fastrand::Rng::with_seed(me as u64);
        let allowed = cpus::allowed();
        while !self.stop.load(Relaxed) {
            let n = random.usize(..LOCKS);
            let lock = &self.locks[n];
            let linger = random.u32(..64);
            match random.u32(..100) {
                // Short ones, in a row: what the bias is for, and what brings it back.
                0..60 => (0..200).for_each(|_| self.look(&lock.read(), linger % 8)),
                60..70 => self.look(&lock.read(), 10 * linger),
                70..76 => self.several(&mut random),
                76..82 => match lock.try_read() {
                    Some(guard) => self.look(&guard, linger),
                    None => drop(self.timeouts.fetch_add(1, Relaxed)),
                },
                82..88 => match lock.try_read_for(brief(&mut random)) {
                    Some(guard) => self.look(&guard, linger),
                    None => drop(self.timeouts.fetch_add(1, Relaxed)),
                },
                88..92 => self.look(&lock.upgradable_read(), linger),
                92..95 => {
                    let cpu = allowed[random.usize(..allowed.len())];
                    self.pause(&lock.read(), || {
                        cpus::restrict(0, &[cpu]);
                    });
                }
                95..98 => {
                    self.pause(&lock.read(), thread::yield_now);
                }
                _ => {
                    let time = Duration::from_micros(random.u64(..200));
                    self.pause(&lock.read(), || thread::sleep(time));
                }
            }
            self.done[me].fetch_add(1, Relaxed);
        }
    }

    /// Holds some locks at once. Those after the first are only tried: who holds one must not wait.
    fn several(&self, random: &mut fastrand::Rng) {
        let first = random.usize(..LOCKS);
        let mut guards = vec![self.locks[first].read()];
        for _ in 0..random.usize(1..12) {
            guards.extend(self.locks[random.usize(..LOCKS)].try_read());
        }
        random.shuffle(&mut guards);
        for guard in guards {
            self.look(&guard, 16);
        }
    }

    fn writer(&self, me: usize) {
        let mut random = fastrand::Rng::with_seed(me as u64);
        while !self.stop.load(Relaxed) {
            let n = random.usize(..LOCKS);
            let lock = &self.locks[n];
            let linger = random.u32(..16);
            // Mostly not before the readers have the bias back.
            for _ in 0..random.u32(..200) {
                if warm::is_biased(lock) {
                    break;
                }
                thread::sleep(Duration::from_micros(20));
            }
            let in_vain = match random.u32(..12) {
                0..5 => {
                    self.change(n, &mut lock.write(), linger);
                    false
                }
                5 => lock.try_write().map(|mut words| self.change(n, &mut words, linger)).is_none(),
                6..8 => {
                    let guard = lock.try_write_for(brief(&mut random));
                    let in_vain = guard.is_none();
                    // Those who made the first attempt futile must make the second wait.
                    let mut guard = guard.unwrap_or_else(|| lock.write());
                    self.change(n, &mut guard, linger);
                    in_vain
                }
                8 => {
                    let mut guard = lock.write();
                    self.change(n, &mut guard, linger);
                    self.look(&RwLockWriteGuard::downgrade(guard), 4 * linger);
                    false
                }
                9 => {
                    let mut guard = lock.write();
                    self.change(n, &mut guard, linger);
                    RwLockWriteGuard::unlock_fair(guard);
                    false
                }
                10 => {
                    let mut guard = lock.upgradable_read();
                    self.look(&guard, linger);
                    guard.with_upgraded(|words| self.change(n, words, linger));
                    self.look(&guard, linger);
                    false
                }
                _ => {
                    let guard = lock.upgradable_read();
                    self.look(&guard, linger);
                    match RwLockUpgradableReadGuard::try_upgrade_for(guard, brief(&mut random)) {
                        Ok(mut guard) => {
                            self.change(n, &mut guard, linger);
                            let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                            self.look(&guard, linger);
                            false
                        }
                        Err(guard) => {
                            self.look(&guard, linger);
                            true
                        }
                    }
                }
            };
            self.timeouts.fetch_add(u64::from(in_vain), Relaxed);
            self.done[me].fetch_add(1, Relaxed);
        }
    }
}

/// A time to wait that is sometimes enough.
fn brief(random: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(random.u64(..100))
}

/// What a run found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    /// What readers did, and what writers did.
    pub(crate) rounds: [u64; 2],
    /// Who tried, or waited for a time, in vain.
    pub(crate) timeouts: u64,
    /// How often the values were written.
    pub(crate) writes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [reading, writing] = self.rounds;
        write!(
            f,
            "{}: {} violations, {reading} rounds of readers, {writing} of writers, {} writes, {} in vain",
            stillpoint::machine().tier(),
            self.violations,
            self.writes,
            self.timeouts,
        )
    }
}

/// Runs for `time`, or until something is wrong. Aborts the process if a thread gets nowhere for
/// longer than `patience`.
///
/// One run at a time: timer and signal handler are the process's.
pub(crate) fn run(time: Duration, patience: Duration) -> Report {
    let shared = Arc::new(Shared::default());
    let threads: Vec<JoinHandle<()>> = (0..THREADS)
        .map(|me| {
            let shared = shared.clone();
            thread::spawn(move || {
                // SAFETY: it only says who asks.
                shared.numbers[me].store(unsafe { libc::gettid() }, Relaxed);
                if me < READERS { shared.reader(me) } else { shared.writer(me) }
            })
        })
        .collect();
    let timer = Timer::start(nothing);
    let mut watch = Watch::new(patience);
    let mut random = fastrand::Rng::with_seed(1);
    let allowed = cpus::allowed();
    let end = Instant::now() + time;
    while Instant::now() < end && shared.violations.load(Relaxed) == 0 {
        thread::sleep(Duration::from_millis(1));
        watch.look(&shared, &threads);
        let number = shared.numbers[random.usize(..THREADS)].load(Relaxed);
        if number != 0 && random.bool() {
            cpus::restrict(number, &allowed);
        } else if number != 0
            && let Some(&cpu) = random.choice(&allowed)
        {
            cpus::restrict(number, &[cpu]);
        }
    }
    shared.stop.store(true, Relaxed);
    while !threads.iter().all(JoinHandle::is_finished) {
        thread::sleep(Duration::from_millis(1));
        watch.look(&shared, &threads);
    }
    drop(timer);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut violations = shared.violations.load(Relaxed);
    for (lock, writes) in shared.locks.iter().zip(&shared.writes) {
        let told = writes.load(Relaxed);
        let lost = lock.read().iter().any(|&word| word != told);
        violations += u64::from(lost) + u64::from(lock.is_locked());
    }
    let done = |threads: std::ops::Range<usize>| {
        threads.map(|me| shared.done[me].load(Relaxed)).sum::<u64>()
    };
    Report {
        violations,
        rounds: [done(0..READERS), done(READERS..THREADS)],
        timeouts: shared.timeouts.load(Relaxed),
        writes: shared.writes.iter().map(|writes| writes.load(Relaxed)).sum(),
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Notices who gets nowhere.
struct Watch {
    seen: [(u64, Instant); THREADS],
    patience: Duration,
}

impl Watch {
    fn new(patience: Duration) -> Watch {
        Watch { seen: [(0, Instant::now()); THREADS], patience }
    }

    fn look(&mut self, shared: &Shared, threads: &[JoinHandle<()>]) {
        for (me, (last, since)) in self.seen.iter_mut().enumerate() {
            let done = shared.done[me].load(Relaxed);
            if done != *last || threads[me].is_finished() {
                (*last, *since) = (done, Instant::now());
            } else if since.elapsed() > self.patience {
                let kind = if me < READERS { "reader" } else { "writer" };
                eprintln!("{kind} {me} hangs after {done} rounds: {:#?}", shared.locks);
                std::process::abort();
            }
        }
    }
}

/// One reader and one writer, each on a CPU of its own: the writer waits until the reader has the
/// bias back, and takes the lock while the reader's claim may still be in its store buffer. Returns
/// violations and writes; `None` with fewer than two CPUs.
pub(crate) fn duel(time: Duration) -> Option<(u64, u64)> {
    let cpus = cpus::allowed();
    let (first, second) = (*cpus.first()?, *cpus.get(1)?);
    let lock = RwLock::new(Words::default());
    let (stop, violations) = (AtomicBool::new(false), AtomicU64::new(0));
    // From the moment when the reader has the bias back.
    let begins = AtomicBool::new(false);
    let mut writes = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            cpus::restrict(0, &[second]);
            while !stop.load(Relaxed) {
                if begins.load(Relaxed) {
                    obstacles::pass();
                }
                look(&lock.read(), 20, &violations);
            }
        });
        // On a thread of its own, for it is bound to a CPU.
        let writer = scope.spawn(|| {
            cpus::restrict(0, &[first]);
            let end = Instant::now() + time;
            let mut random = fastrand::Rng::with_seed(7);
            let mut writes = 0;
            while Instant::now() < end && violations.load(Relaxed) == 0 {
                if writes % 100 == 0 {
                    obstacles::vary(&mut random);
                }
                let mut patience = 10_000;
                while patience > 0 && !warm::is_biased(&lock) {
                    patience -= 1;
                }
                begins.store(true, Relaxed);
                obstacles::pass();
                (0..random.u32(..1000)).for_each(|_| std::hint::spin_loop());
                change(&mut lock.write(), 0, &violations);
                begins.store(false, Relaxed);
                writes += 1;
            }
            stop.store(true, Relaxed);
            writes
        });
        writes = writer.join().unwrap();
    });
    violations.fetch_add(u64::from(lock.into_inner() != [writes; 8]), Relaxed);
    Some((violations.into_inner(), writes))
}

/// A reader that a signal stops for a while wherever it is, and a writer that comes at this moment:
/// it sleeps until the reader, which may be in the middle of leaving, wakes it. Returns how often it
/// wrote. Aborts the process if it is not woken within `patience`.
pub(crate) fn ambush(time: Duration, patience: Duration) -> u64 {
    extern "C" fn rest(_: libc::c_int) {
        let time = libc::timespec { tv_sec: 0, tv_nsec: 200_000 };
        // SAFETY: a live local, and nobody asks what time is left.
        unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
    }
    handle(libc::SIGUSR1, rest);
    let lock = RwLock::new(0u64);
    let (stop, number) = (AtomicBool::new(false), AtomicI32::new(0));
    let writes = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: it only says who asks.
            number.store(unsafe { libc::gettid() }, Relaxed);
            while !stop.load(Relaxed) {
                (0..100).for_each(|_| drop(lock.read()));
            }
        });
        scope.spawn(|| {
            let end = Instant::now() + time;
            let mut random = fastrand::Rng::with_seed(7);
            while Instant::now() < end {
                let mut polls = 0;
                while polls < 1000 && !warm::is_biased(&lock) {
                    thread::sleep(Duration::from_micros(20));
                    polls += 1;
                }
                (0..random.u32(..256)).for_each(|_| std::hint::spin_loop());
                let reader = number.load(Relaxed);
                if reader != 0 {
                    // SAFETY: a thread of ours, which lives until `stop` is set, and a handler.
                    unsafe { libc::syscall(libc::SYS_tkill, reader, libc::SIGUSR1) };
                }
                *lock.write() += 1;
                writes.fetch_add(1, Relaxed);
            }
            stop.store(true, Relaxed);
        });
        let mut last = (0, Instant::now());
        while !stop.load(Relaxed) {
            thread::sleep(Duration::from_millis(5));
            let now = writes.load(Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > patience {
                eprintln!("the writer sleeps after {now} writes: {lock:#?}");
                std::process::abort();
            }
        }
    });
    writes.into_inner()
}

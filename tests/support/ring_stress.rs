//! Writers of all kinds, and a reader that knows what each has written: every record comes once and
//! in order, or is counted as lost.

#![allow(dead_code, reason = "not every file of tests needs all of it")]

#[path = "cpus.rs"]
mod cpus;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::percpu::{Policy, Record, Ring};

/// Threads that write.
const WRITERS: u64 = 4;
/// A writer's signal handler writes under its number and this.
const HANDLER: u64 = 100;
/// Long enough for a signal, or a preemption, to come in between.
const LONGEST: usize = 900;

/// What was found wrong, and how much was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    pub(crate) read: u64,
    pub(crate) dropped: u64,
    pub(crate) overwritten: u64,
}

/// What each writer's thread needs, its handler too.
#[derive(Debug, Default)]
struct Tally {
    writer: u64,
    /// The next record's number.
    next: AtomicU64,
    /// Records that are in the ring, or were; and those that were refused.
    written: AtomicU64,
    refused: AtomicU64,
}

thread_local! {
    /// For the handler: this thread's tally, and the ring.
    static HERE: (AtomicPtr<Tally>, AtomicPtr<Ring>) = const {
        (AtomicPtr::new(std::ptr::null_mut()), AtomicPtr::new(std::ptr::null_mut()))
    };
}

/// The bytes of a record: writer, number, and then what follows from these.
fn compose(writer: u64, number: u64, length: usize, into: &mut [u8]) {
    into[..8].copy_from_slice(&writer.to_le_bytes());
    into[8..16].copy_from_slice(&number.to_le_bytes());
    into[16..length].fill((writer + number) as u8);
}

fn length_of(number: u64) -> usize {
    let draw = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    // Half of them small.
    16 + (draw % if draw & 1 << 20 == 0 { 240 } else { LONGEST as u64 - 16 }) as usize
}

extern "C" fn handler(_: libc::c_int) {
    HERE.with(|(tally, ring)| {
        // SAFETY: null, or what the thread lends as long as signals are sent to it.
        let (tally, ring) = unsafe { (tally.load(SeqCst).as_ref(), ring.load(SeqCst).as_ref()) };
        if let (Some(tally), Some(ring)) = (tally, ring) {
            write(ring, tally, false);
        }
    });
}

/// Writes one record, in one of the ways there are.
fn write(ring: &Ring, tally: &Tally, migrate: bool) {
    let number = tally.next.fetch_add(1, SeqCst);
    let length = length_of(number);
    let mut bytes = [0; LONGEST];
    compose(tally.writer, number, length, &mut bytes);
    let bytes = &bytes[..length];
    let done = if number.is_multiple_of(3) {
        ring.reserve(length).map(|mut record| {
            let (first, second) = bytes.split_at(length / 2);
            record[..first.len()].copy_from_slice(first);
            if migrate && number.is_multiple_of(5) {
                let cpus = cpus::allowed();
                cpus::restrict(0, &[cpus[number as usize % cpus.len()]]);
                std::thread::yield_now();
                cpus::restrict(0, &cpus);
            }
            record[first.len()..].copy_from_slice(second);
            record.commit();
        })
    } else {
        ring.push(bytes)
    };
    if number.is_multiple_of(50) {
        // One that is given up. It may not fit either, and then counts as dropped.
        match ring.reserve(length) {
            Ok(record) => drop(record),
            Err(_) => drop(tally.refused.fetch_add(1, SeqCst)),
        }
    }
    match done {
        Ok(()) => tally.written.fetch_add(1, SeqCst),
        Err(_) => {
            if migrate {
                // Who only finds the ring full shows little: let the reader go on.
                std::thread::sleep(Duration::from_micros(20));
            }
            tally.refused.fetch_add(1, SeqCst)
        }
    };
}

/// What the reader has seen.
#[derive(Debug, Default)]
struct Seen {
    violations: u64,
    read: u64,
    /// The last number of each writer on each CPU.
    last: BTreeMap<(u64, Option<u32>), u64>,
    /// The last stamp of each CPU.
    stamps: BTreeMap<Option<u32>, u64>,
    numbers: BTreeSet<(u64, u64)>,
}

impl Seen {
    fn note(&mut self, record: Record<'_>) {
        let bytes = record.bytes;
        let mut wrong = |what: &str| {
            self.violations += 1;
            if self.violations < 5 {
                println!("{what}: {:?} of {} bytes", &bytes[..bytes.len().min(20)], bytes.len());
            }
        };
        self.read += 1;
        let Some((head, rest)) = bytes.split_at_checked(16) else { return wrong("too short") };
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let (writer, number) = (word(0), word(8));
        if bytes.len() != length_of(number) || rest.iter().any(|&b| b != (writer + number) as u8) {
            return wrong("torn");
        }
        let last = self.last.insert((writer, record.cpu), number);
        // Below the upper tier "none" is several rings, one for each thread at most.
        if last.is_some_and(|last| last >= number) {
            wrong("out of order");
        }
        let one_ring = record.cpu.is_some();
        let stamp = self.stamps.insert(record.cpu, record.stamp);
        if one_ring && stamp.is_some_and(|stamp| stamp > record.stamp) {
            wrong("stamps decrease");
        }
        if !self.numbers.insert((writer, number)) {
            wrong("twice");
        }
    }
}

/// Writes and reads for `time`, in a ring of that policy.
pub(crate) fn conserve(policy: Policy, time: Duration) -> Report {
    let ring = &Ring::with_policy(1 << 12, policy);
    let end = &AtomicBool::new(false);
    let writers = &AtomicU64::new(WRITERS);
    let tallies: Vec<[Tally; 2]> = (0..WRITERS)
        .map(|w| [w, w + HANDLER].map(|writer| Tally { writer, ..Tally::default() }))
        .collect();
    let install = handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler only uses what is async-signal-safe.
    unsafe { libc::signal(libc::SIGURG, install as libc::sighandler_t) };
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut consumer) = (Seen::default(), ring.consumer().unwrap());
            loop {
                let over = writers.load(SeqCst) == 0;
                let patience = Duration::from_millis(20);
                let read = consumer.recv_timeout(patience, |record| seen.note(record));
                if read.is_none() && over {
                    return seen;
                }
                // Sometimes it is slow, so that the ring fills.
                if seen.read.is_multiple_of(1000) {
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        });
        for [own, handlers] in &tallies {
            scope.spawn(move || {
                let place = |tally: *mut Tally, of: *mut Ring| {
                    HERE.with(|here| {
                        here.0.store(tally, SeqCst);
                        here.1.store(of, SeqCst);
                    });
                };
                place(std::ptr::from_ref(handlers).cast_mut(), std::ptr::from_ref(ring).cast_mut());
                let begin = Instant::now();
                while begin.elapsed() < time {
                    for _ in 0..100 {
                        write(ring, own, true);
                    }
                    // SAFETY: the calling thread, and a signal that has a handler.
                    unsafe { libc::raise(libc::SIGURG) };
                }
                end.store(true, SeqCst);
                place(std::ptr::null_mut(), std::ptr::null_mut());
                writers.fetch_sub(1, SeqCst);
            });
            // Signals from elsewhere meet the writer anywhere.
            scope.spawn(move || {
                while !end.load(SeqCst) {
                    // SAFETY: this process; the signal has a handler, and any thread may take it.
                    unsafe { libc::kill(libc::getpid(), libc::SIGURG) };
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        reader.join().unwrap()
    });
    let sum = |of: fn(&Tally) -> &AtomicU64| -> u64 {
        tallies.iter().flatten().map(|tally| of(tally).load(SeqCst)).sum()
    };
    let (written, refused) = (sum(|t| &t.written), sum(|t| &t.refused));
    let (dropped, overwritten) = (ring.dropped(), ring.overwritten());
    let mut violations = seen.violations;
    if written != seen.read + overwritten || refused != dropped {
        println!("written {written}, refused {refused}; read {}, {ring:?}", seen.read);
        violations += 1;
    }
    Report { violations, read: seen.read, dropped, overwritten }
}

/// A writer whose records the reader waits for, asleep, one after the other. Returns how often it
/// waited in vain, which ends it.
pub(crate) fn wake_up(rounds: u64, patience: Duration) -> u64 {
    let ring = &Ring::new(1 << 12);
    let (read, end) = (&AtomicU64::new(0), &AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..rounds {
                let bytes = round.to_le_bytes();
                match round % 3 {
                    0 => ring.push(&bytes).unwrap(),
                    1 => {
                        let mut record = ring.reserve(8).unwrap();
                        std::thread::yield_now();
                        record.copy_from_slice(&bytes);
                        record.commit();
                    }
                    _ => {
                        // Behind one that is given up only then.
                        let obstacle = ring.reserve(8).unwrap();
                        ring.push(&bytes).unwrap();
                        std::thread::yield_now();
                        drop(obstacle);
                    }
                }
                while read.load(SeqCst) <= round {
                    if end.load(SeqCst) {
                        return;
                    }
                    std::thread::yield_now();
                }
                // The reader is on its way to sleep, or asleep.
                for _ in 0..(round * 37) % 2000 {
                    std::hint::spin_loop();
                }
            }
        });
        let mut consumer = ring.consumer().unwrap();
        for round in 0..rounds {
            let begin = Instant::now();
            let got = consumer.recv_timeout(patience, |record| record.bytes.to_owned());
            // What it finds when its time is over, nobody has told it.
            let told = begin.elapsed() < patience;
            if !told || got.as_deref() != Some(&round.to_le_bytes()) {
                println!("round {round}: {got:?}, told: {told}");
                end.store(true, SeqCst);
                return 1;
            }
            read.store(round + 1, SeqCst);
        }
        0
    })
}

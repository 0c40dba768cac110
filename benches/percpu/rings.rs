//! Rings of records, and the queues of many producers and one consumer that stand beside them.

use crate::clock;
use crossbeam_queue::ArrayQueue;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use stillpoint::percpu::Ring;
use thingbuf::ThingBuf;

pub(crate) const RING: &str = "Ring";
pub(crate) const RING_STAMPED: &str = "Ring, stamps given";
pub(crate) const ARRAY_QUEUE: &str = "crossbeam ArrayQueue";
pub(crate) const THINGBUF: &str = "thingbuf";
pub(crate) const SYNC_CHANNEL: &str = "std sync_channel";
pub(crate) const CHANNEL: &str = "std channel (unbounded)";
pub(crate) const PEERS: [&str; 6] =
    [RING, RING_STAMPED, ARRAY_QUEUE, THINGBUF, SYNC_CHANNEL, CHANNEL];
pub(crate) const SIZES: [usize; 3] = [8, 64, 512];

/// Records that fit at once; so many bytes, if they are large.
const CAPACITY: usize = 1 << 14;
const BYTES: usize = 8 << 20;

const fn capacity(size: usize) -> usize {
    if CAPACITY * size > BYTES { BYTES / size } else { CAPACITY }
}

/// One consumer at a time drains it; anyone pushes.
trait Queue<const N: usize>: Sync {
    /// False if it was full.
    fn push(&self, record: &[u8; N]) -> bool;
    /// How many there were.
    fn drain(&self) -> u64;
}

struct Ours {
    ring: Ring,
    stamped: bool,
}

impl<const N: usize> Queue<N> for Ours {
    fn push(&self, record: &[u8; N]) -> bool {
        match self.stamped {
            true => self.ring.push_at(1, record).is_ok(),
            false => self.ring.push(record).is_ok(),
        }
    }

    fn drain(&self) -> u64 {
        let mut consumer = self.ring.consumer().expect("one consumer");
        let mut count = 0;
        while consumer.pop(|record| _ = black_box(record.bytes[0])).is_some() {
            count += 1;
        }
        count
    }
}

impl<const N: usize> Queue<N> for ArrayQueue<[u8; N]> {
    fn push(&self, record: &[u8; N]) -> bool {
        ArrayQueue::push(self, *record).is_ok()
    }

    fn drain(&self) -> u64 {
        std::iter::from_fn(|| self.pop()).map(|record| _ = black_box(record[0])).count() as u64
    }
}

#[derive(Clone)]
struct Thing<const N: usize>([u8; N]);

impl<const N: usize> Default for Thing<N> {
    fn default() -> Self {
        Thing([0; N])
    }
}

impl<const N: usize> Queue<N> for ThingBuf<Thing<N>> {
    fn push(&self, record: &[u8; N]) -> bool {
        self.push_ref().map(|mut slot| slot.0 = *record).is_ok()
    }

    fn drain(&self) -> u64 {
        std::iter::from_fn(|| self.pop_ref().map(|record| _ = black_box(record.0[0]))).count()
            as u64
    }
}

struct Bounded<const N: usize>(SyncSender<[u8; N]>, Mutex<Receiver<[u8; N]>>);

impl<const N: usize> Queue<N> for Bounded<N> {
    fn push(&self, record: &[u8; N]) -> bool {
        self.0.try_send(*record).is_ok()
    }

    fn drain(&self) -> u64 {
        received(&self.1)
    }
}

struct Unbounded<const N: usize>(Sender<[u8; N]>, Mutex<Receiver<[u8; N]>>);

impl<const N: usize> Queue<N> for Unbounded<N> {
    fn push(&self, record: &[u8; N]) -> bool {
        self.0.send(*record).is_ok()
    }

    fn drain(&self) -> u64 {
        received(&self.1)
    }
}

fn received<const N: usize>(from: &Mutex<Receiver<[u8; N]>>) -> u64 {
    let from = from.lock().expect("nobody panics");
    from.try_iter().map(|record| _ = black_box(record[0])).count() as u64
}

fn made<const N: usize>(name: &str) -> Box<dyn Queue<N>> {
    let ours = |stamped| {
        // Each CPU has room for all.
        let bytes = (capacity(N) * (N + 16)).next_power_of_two();
        Box::new(Ours { ring: Ring::new(bytes), stamped })
    };
    match name {
        RING => ours(false),
        RING_STAMPED => ours(true),
        ARRAY_QUEUE => Box::new(ArrayQueue::new(capacity(N))),
        THINGBUF => Box::new(ThingBuf::<Thing<N>>::new(capacity(N))),
        SYNC_CHANNEL => {
            let (to, from) = sync_channel(capacity(N));
            Box::new(Bounded(to, Mutex::new(from)))
        }
        _ => {
            let (to, from) = channel();
            Box::new(Unbounded(to, Mutex::new(from)))
        }
    }
}

/// What a full queue means to its producers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Full {
    /// The record is lost.
    Drops,
    /// They try again, and let others run.
    Waits,
}

/// What was done by all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stream {
    /// Records per second that were accepted, while there were producers.
    pub(crate) produced: f64,
    /// Records per second that the consumer has got, until it had all.
    pub(crate) consumed: f64,
    /// The part of the records that was dropped.
    pub(crate) dropped: f64,
}

/// So many producers, and one consumer that never sleeps.
pub(crate) fn stream(
    name: &str,
    size: usize,
    producers: usize,
    cpus: &[usize],
    records: u64,
    full: Full,
) -> Stream {
    match size {
        8 => stream_of(&*made::<8>(name), producers, cpus, records, full),
        64 => stream_of(&*made::<64>(name), producers, cpus, records, full),
        _ => stream_of(&*made::<512>(name), producers, cpus, records, full),
    }
}

fn stream_of<const N: usize>(
    queue: &dyn Queue<N>,
    producers: usize,
    cpus: &[usize],
    records: u64,
    full: Full,
) -> Stream {
    let each = records / producers as u64;
    let (done, accepted) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            let mut count = 0;
            loop {
                let last = done.load(std::sync::atomic::Ordering::Acquire);
                let now = queue.drain();
                count += now;
                if now == 0 {
                    if last {
                        return (count, Instant::now());
                    }
                    std::thread::yield_now();
                }
            }
        });
        let record = [7; N];
        let push = |_| {
            let mut count = 0;
            for _ in 0..each {
                let mut taken = queue.push(black_box(&record));
                while !taken && full == Full::Waits {
                    std::thread::yield_now();
                    taken = queue.push(black_box(&record));
                }
                count += u64::from(taken);
            }
            accepted.fetch_add(count, Relaxed);
        };
        let span = clock::together(producers, cpus, |_| _ = queue.push(&record), push);
        done.store(true, std::sync::atomic::Ordering::Release);
        let (count, end) = consumer.join().expect("consuming does not panic");
        let (time, all) = (span.length().as_secs_f64(), (end - span.start).as_secs_f64());
        let accepted = accepted.load(Relaxed) as f64;
        Stream {
            produced: accepted / time,
            consumed: count as f64 / all,
            dropped: 1.0 - accepted / (each * producers as u64) as f64,
        }
    })
}

/// Nanoseconds of a record for producers that nobody hinders, CPU time; and for the consumer that
/// comes behind them. As many records as fit.
pub(crate) fn burst(name: &str, size: usize, producers: usize, cpus: &[usize]) -> [f64; 2] {
    match size {
        8 => burst_of(&*made::<8>(name), producers, cpus),
        64 => burst_of(&*made::<64>(name), producers, cpus),
        _ => burst_of(&*made::<512>(name), producers, cpus),
    }
}

fn burst_of<const N: usize>(queue: &dyn Queue<N>, producers: usize, cpus: &[usize]) -> [f64; 2] {
    const ROUNDS: usize = 8;
    /// Those that touch all memory, though two CPUs share the records, for nothing.
    const FIRST: usize = 4;
    let record = [7; N];
    let (mut produced, mut consumed, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..ROUNDS {
        let each = (capacity(N) - producers) / producers;
        let push = |_| {
            for _ in 0..each {
                assert!(queue.push(black_box(&record)), "there is room");
            }
        };
        let span = clock::together(producers, cpus, |_| _ = queue.push(&record), push);
        let begin = Instant::now();
        let drained = queue.drain();
        if round >= FIRST {
            produced += span.length() * producers.min(cpus.len()) as u32;
            consumed += begin.elapsed();
            count += drained;
        }
    }
    [produced, consumed].map(|time| time.as_nanos() as f64 / count as f64)
}

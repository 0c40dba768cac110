//! Per-CPU structures of your own, as `docs/build-your-own.md` explains them: a log of events, and a
//! place for one buffer.
//!
//! `cargo run --release --example build_your_own -- [THREADS]` logs from that many threads, collects
//! from all CPUs meanwhile, and checks that every event was collected once. Its tests do so on
//! each tier: `STILLPOINT_TIER=fence cargo test --example build_your_own`.

use std::num::NonZero;
use std::ptr::with_exposed_provenance_mut;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;
use stillpoint::percpu::{RawPart, RawPerCpu};
use stillpoint::rseq::{change, exchange};

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Nanoseconds since the log was made.
    pub time: u64,
    /// Who logged it.
    pub source: u64,
    /// What happened.
    pub what: u64,
}

/// Words of an event.
const EVENT: usize = 3;
/// Events that a CPU keeps.
const ROOM: usize = 40;
/// How many events there are: the word that commits.
const WRITTEN: usize = 1;
/// Where they begin.
const EVENTS: usize = 2;

/// Events of all CPUs. Logging takes no lock as long as the CPU has room.
#[derive(Debug)]
pub struct EventLog {
    words: RawPerCpu,
    /// Those that are on no CPU.
    others: Mutex<Vec<Event>>,
    begin: Instant,
}

impl EventLog {
    /// Without events.
    pub fn new() -> EventLog {
        EventLog {
            words: RawPerCpu::new(EVENTS + ROOM * EVENT),
            others: Mutex::new(Vec::new()),
            begin: Instant::now(),
        }
    }

    /// Logs an event.
    pub fn log(&self, source: u64, what: u64) {
        let event = Event { time: self.begin.elapsed().as_nanos() as u64, source, what };
        match self.append(event) {
            Some(true) => return,
            Some(false) => self.flush_here(),
            None => {}
        }
        self.others.lock().unwrap().push(event);
    }

    /// Here: writes the event behind the others of this CPU. False if there is no room.
    fn append(&self, event: Event) -> Option<bool> {
        self.words.attempt(|_| {
            let here = self.words.here()?;
            let written = here.word(WRITTEN).load(Relaxed) as usize;
            if written == ROOM {
                return Some(false);
            }
            let at = EVENTS + written * EVENT;
            let one_more = here.change(WRITTEN, written as u64, written as u64 + 1);
            let space = here.words(at..at + EVENT);
            let event = [event.time, event.source, event.what];
            // SAFETY: only this stores to these words, and `take`, which has stopped the part;
            // and nobody looks behind those that are counted.
            unsafe { change::copy(&one_more, space, &event) }.then_some(true)
        })
    }

    /// Elsewhere: what a CPU keeps, which is stopped meanwhile.
    fn take(&self, part: RawPart<'_>) -> Vec<Event> {
        // Another thread may have stopped it too: one of us finds them.
        let written = part.word(WRITTEN).swap(0, Acquire) as usize;
        let words = part.words(EVENTS..EVENTS + written * EVENT);
        let event = |words: &[_; EVENT]| {
            let [time, source, what] = words.each_ref().map(|word: &AtomicU64| word.load(Relaxed));
            Event { time, source, what }
        };
        words.as_chunks().0.iter().map(event).collect()
    }

    /// Takes what this CPU keeps to the others. Cheap: the broadcast is to ourselves.
    fn flush_here(&self) {
        let Some(cpu) = stillpoint::rseq::word::current_cpu() else { return };
        let taken = self.words.stopped(cpu as usize, |part| self.take(part));
        self.others.lock().unwrap().extend(taken.unwrap_or_default());
    }

    /// Takes the events of all CPUs, online or not, oldest first. Each event is found by one call; what
    /// another thread is just taking to the others is found by a later one.
    pub fn collect(&self) -> Vec<Event> {
        let mut all = Vec::new();
        let has_some = |_, part: RawPart<'_>| part.word(WRITTEN).load(Relaxed) != 0;
        self.words.stopped_each(has_some, |_, part| all.extend(self.take(part)));
        all.append(&mut self.others.lock().unwrap());
        all.sort();
        all
    }
}

impl Default for EventLog {
    fn default() -> EventLog {
        EventLog::new()
    }
}

/// What is used again.
pub type Buffer = Vec<u8>;

/// One buffer for each CPU, to be used again: the one that was used last there, still in its cache.
#[derive(Debug)]
pub struct LastBuffer {
    words: RawPerCpu,
}

/// The word that holds the address of a boxed buffer, or 0.
const SLOT: usize = 1;

impl LastBuffer {
    /// Without buffers.
    pub const fn new() -> LastBuffer {
        LastBuffer { words: RawPerCpu::new(2) }
    }

    /// Puts a box to this CPU's slot, or none. Returns what was there; or, if there is no way to
    /// do so, what was to be put.
    fn swap(&self, new: Option<Box<Buffer>>) -> Result<Option<Box<Buffer>>, Option<Box<Buffer>>> {
        let address = new.map_or(0, |buffer| Box::into_raw(buffer).expose_provenance());
        // SAFETY: only this stores to the slot, and `drop`, when nobody else is here.
        let swap = |place: &_| unsafe { exchange::swap(place, SLOT * 8, address as u64) }.ok();
        let old = self.words.attempt(swap);
        let owned = |address: usize| {
            let address = NonZero::new(address)?;
            // SAFETY: a box whose address was in the slot, or is not there yet: it is ours.
            Some(unsafe { Box::from_raw(with_exposed_provenance_mut(address.get())) })
        };
        old.map(|old| owned(old as usize)).ok_or_else(|| owned(address))
    }

    /// This CPU's buffer, or a new one.
    pub fn get(&self) -> Box<Buffer> {
        self.swap(None).ok().flatten().unwrap_or_default()
    }

    /// Gives a buffer to this CPU. One that was there, or cannot be kept, is freed.
    pub fn put(&self, buffer: Box<Buffer>) {
        drop(self.swap(Some(buffer)));
    }
}

impl Default for LastBuffer {
    fn default() -> LastBuffer {
        LastBuffer::new()
    }
}

impl Drop for LastBuffer {
    fn drop(&mut self) {
        for part in self.words.iter() {
            let address = part.word(SLOT).swap(0, Acquire) as usize;
            if address != 0 {
                // SAFETY: nobody else is here.
                drop(unsafe { Box::<Buffer>::from_raw(with_exposed_provenance_mut(address)) });
            }
        }
    }
}

/// Logs from so many threads, and collects meanwhile. Panics unless each event is collected once, and each
/// buffer is had by one.
fn run(threads: u64, events: u64) {
    let (log, buffers) = (EventLog::new(), LastBuffer::new());
    let mut collected = Vec::new();
    std::thread::scope(|scope| {
        let (log, buffers) = (&log, &buffers);
        let loggers = (0..threads).map(|source| {
            scope.spawn(move || {
                for what in 0..events {
                    let mut buffer = buffers.get();
                    buffer.clear();
                    buffer.extend(source.to_le_bytes());
                    log.log(source, what);
                    assert_eq!(*buffer, source.to_le_bytes(), "a buffer is had by two");
                    buffers.put(buffer);
                }
            })
        });
        let loggers: Vec<_> = loggers.collect();
        while loggers.iter().any(|logger| !logger.is_finished()) {
            collected.extend(log.collect());
            std::thread::yield_now();
        }
    });
    collected.extend(log.collect());
    println!("{} events of {threads} threads", collected.len());
    let mut seen: Vec<_> = collected.iter().map(|event| (event.source, event.what)).collect();
    seen.sort_unstable();
    let logged = (0..threads).flat_map(|source| (0..events).map(move |what| (source, what)));
    assert!(seen.into_iter().eq(logged), "an event was lost, or collected twice");
    assert!(log.collect().is_empty());
}

fn main() {
    println!("tier {}", stillpoint::machine().tier());
    let threads = std::env::args().nth(1).and_then(|threads| threads.parse().ok());
    run(threads.unwrap_or(4), 100_000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_collected_once() {
        run(4, 20_000);
    }

    #[test]
    fn more_events_than_a_cpu_has_room_for() {
        let log = EventLog::new();
        (0..1000).for_each(|what| log.log(7, what));
        let whats: Vec<_> = log.collect().iter().map(|event| event.what).collect();
        assert_eq!(whats, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_buffer_is_used_again() {
        let buffers = LastBuffer::new();
        let mut reused = 0;
        for _ in 0..1000 {
            let mut buffer = buffers.get();
            reused += buffer.len();
            buffer.clear();
            buffer.push(1);
            buffers.put(buffer);
        }
        // Each is new where sequences do not run; but for a few, none where they do.
        let expected = if stillpoint::machine().tier() == stillpoint::Tier::Rseq { 500 } else { 0 };
        assert!(reused >= expected, "{reused}");
    }

    /// The guide shows what is here.
    #[test]
    fn the_guide_quotes_this_file() {
        let (guide, here) =
            (include_str!("../docs/build-your-own.md"), include_str!("build_your_own.rs"));
        let blocks = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let here: Vec<_> = here.lines().map(str::trim).collect();
        let mut lines = 0;
        for line in blocks.flat_map(str::lines).map(str::trim).filter(|line| *line != "…") {
            assert!(here.contains(&line), "not in the example: {line}");
            lines += 1;
        }
        assert!(lines > 30, "{lines} lines");
    }
}

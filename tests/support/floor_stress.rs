//! Structures as others may write them, on the unsafe floor: in each CPU's part a slot, by swaps; a
//! list, by changes and pops; an array and a log, by changes behind a store and a copy. Numbers go in
//! and out. None is had by two, and none is lost, whoever does so, while threads migrate, are preempted and
//! interrupted, and others take from any CPU what it keeps.

#[path = "crowd.rs"]
pub(crate) mod crowd;

use crowd::Report;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;
use stillpoint::percpu::{RawPart, RawPerCpu};
use stillpoint::rseq::{change, exchange};

/// Numbers that a worker has at most.
const MOST: usize = 12;
/// All the numbers there are, but 0.
const NUMBERS: usize = 64;

// The words of a part.
const SLOT: usize = 1;
const TOP: usize = 2;
const LENGTH: usize = 3;
const WRITTEN: usize = 4;
const ITEMS: usize = 5;
const ROOM: usize = 8;
const LOG: usize = ITEMS + ROOM;
/// A record: a number, and what tells that it is whole.
const RECORD: usize = 3;

static WORDS: RawPerCpu = RawPerCpu::new(LOG + ROOM * RECORD);
/// Those that no CPU has room for.
static OTHERS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
/// A node for each number; holds the address of the next one.
static NODES: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];
/// Those that are somebody's.
static HAD: [AtomicBool; NUMBERS] = [const { AtomicBool::new(false) }; NUMBERS];

fn violation(what: &str) {
    eprintln!("{what}");
    crowd::violation();
}

fn address(number: u64) -> u64 {
    NODES[number as usize].as_ptr().expose_provenance() as u64
}

fn number(address: u64) -> u64 {
    let first = NODES.as_ptr().addr() as u64;
    (address - first) / size_of::<AtomicU64>() as u64
}

fn record(number: u64) -> [u64; RECORD] {
    [number, !number, number.rotate_left(32)]
}

/// The numbers of a log.
fn read(words: &[AtomicU64]) -> impl Iterator<Item = u64> {
    words.as_chunks::<RECORD>().0.iter().map(|words| {
        let words = words.each_ref().map(|word| word.load(Relaxed));
        if words != record(words[0]) {
            violation("a record is torn");
        }
        words[0]
    })
}

/// The number is ours now.
fn own(number: u64) -> u64 {
    match HAD.get(number as usize) {
        Some(had) if number != 0 => {
            if had.swap(true, AcqRel) {
                violation("a number is had by two");
            }
        }
        _ => violation("no number"),
    }
    number
}

fn swap(new: u64) -> Option<u64> {
    // SAFETY: a word of the part, and only sequences and `take` store there.
    WORDS.attempt(|place| unsafe { exchange::swap(place, SLOT * 8, new) }.ok())
}

fn pop() -> Option<u64> {
    // SAFETY: as above; nodes are there for ever, and hold the next one.
    let node = WORDS.attempt(|place| unsafe { exchange::pop(place, TOP * 8, 0) }.ok())??;
    Some(number(node.get() as u64))
}

fn push_node(number: u64) -> Option<()> {
    WORDS.attempt(|_| {
        let here = WORDS.here()?;
        let top = here.word(TOP).load(Relaxed);
        NODES[number as usize].store(top, Relaxed);
        // SAFETY: as above.
        unsafe { change::commit(&here.change(TOP, top, address(number))) }.then_some(())
    })
}

fn push_item(number: u64) -> Option<()> {
    let here = WORDS.here()?;
    if here.word(LENGTH).load(Relaxed) == ROOM as u64 {
        return None;
    }
    WORDS.attempt(|_| {
        let here = WORDS.here()?;
        let length = here.word(LENGTH).load(Relaxed);
        let item = (length < ROOM as u64).then(|| here.word(ITEMS + length as usize))?;
        // SAFETY: as above; nobody looks behind the length.
        unsafe { change::store(&here.change(LENGTH, length, length + 1), item, number) }
            .then_some(())
    })
}

fn write(number: u64) -> Option<()> {
    WORDS.attempt(|_| {
        let here = WORDS.here()?;
        let written = here.word(WRITTEN).load(Relaxed) as usize;
        let at = LOG + written * RECORD;
        let space = (written < ROOM).then(|| here.words(at..at + RECORD))?;
        let change = here.change(WRITTEN, written as u64, written as u64 + 1);
        // SAFETY: as above.
        unsafe { change::copy(&change, space, &record(number)) }.then_some(())
    })
}

/// Takes all that a stopped part keeps. Others may have stopped it too, so by exchanges.
fn take(part: RawPart<'_>, taken: &mut Vec<u64>) {
    let all = |at| part.word(at).swap(0, Acquire) as usize;
    taken.extend(Some(all(SLOT) as u64).filter(|number| *number != 0));
    let next = |node: &u64| Some(NODES[number(*node) as usize].load(Relaxed)).filter(|n| *n != 0);
    let top = Some(all(TOP) as u64).filter(|top| *top != 0);
    // A list that was torn may be a ring.
    taken.extend(std::iter::successors(top, next).map(number).take(NUMBERS));
    let items = &part.words(ITEMS..LOG)[..all(LENGTH)];
    taken.extend(items.iter().map(|item| item.load(Relaxed)));
    let written = all(WRITTEN);
    taken.extend(read(part.words(LOG..LOG + written * RECORD)));
}

fn disown(number: u64, how: u32) {
    HAD[number as usize].store(false, Release);
    let kept = match how {
        0 => match swap(number) {
            // What was there is ours now; it goes where there is room for it.
            Some(0) => Some(()),
            Some(old) => {
                crowd::count();
                own(old);
                return disown(old, 4);
            }
            None => None,
        },
        1 => push_node(number),
        2 => push_item(number),
        3 => write(number),
        _ => None,
    };
    crowd::count();
    if kept.is_none() {
        OTHERS.lock().unwrap().push(number);
    }
}

fn work(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut mine = Vec::with_capacity(MOST);
    while !crowd::is_over() {
        let found = match random.u32(..1000) {
            0..2 => {
                crowd::wander(&mut random);
                None
            }
            2..200 if mine.len() < MOST => swap(0).filter(|number| *number != 0),
            200..300 if mine.len() < MOST => pop(),
            // The top is what it was, and what comes behind it is not.
            300..400 if mine.len() < MOST => {
                let first = pop().map(own);
                let second = pop();
                first.into_iter().for_each(|number| disown(number, 1));
                second
            }
            400..500 if mine.len() < MOST => OTHERS.lock().unwrap().pop(),
            _ => {
                mine.pop().into_iter().for_each(|number| disown(number, random.u32(..4)));
                None
            }
        };
        mine.extend(found.map(own));
    }
    mine.into_iter().for_each(|number| disown(number, 4));
}

/// Stops a CPU, and takes all that it keeps.
fn rob(random: &mut fastrand::Rng) {
    let cpu = random.usize(..stillpoint::machine().slots() as usize);
    let mut taken = Vec::with_capacity(NUMBERS);
    WORDS.stopped(cpu, |part| take(part, &mut taken));
    for number in taken {
        own(number);
        disown(number, 4);
    }
}

/// The stress, once in a process.
pub(crate) fn run(time: Duration) -> Report {
    OTHERS.lock().unwrap().extend(1..NUMBERS as u64);
    crowd::run(time, crowd::nothing, &work, &[&rob, &rob]);
    // All are free, and each is there once.
    let mut left = std::mem::take(&mut *OTHERS.lock().unwrap());
    (0..WORDS.len()).for_each(|cpu| _ = WORDS.stopped(cpu, |part| take(part, &mut left)));
    left.sort_unstable();
    if !left.iter().copied().eq(1..NUMBERS as u64) {
        violation(&format!("left: {left:?}"));
    }
    crowd::report()
}

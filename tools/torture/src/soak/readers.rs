//! Readers: sections of all kinds, one kind after another at random.

use super::callbacks::Parcel;
use super::callbacks::{Watched, queued};
use super::element::read_letter;
use super::evidence::{What, note};
use super::section::{Held, Kind, Section};
use super::world::{CELLS, World};
use fastrand::Rng;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use stillpoint::rcu::ReadGuard;

/// Guards that may be on their way to another thread at a time.
const POOL: usize = 8;
/// Milliseconds between two readers that hold everybody up.
const BETWEEN_SLEEPS: u64 = 4000;

type Here = Section<ReadGuard<'static>>;

/// Goes on until the run is over.
pub(crate) fn run(world: &'static World, mut random: Rng) {
    while world.stage.goes_on() {
        if world.calm.load(Relaxed) && random.u8(..32) == 0 {
            std::thread::sleep(Duration::from_micros(random.u64(..2000)));
        }
        match random.u32(..1000) {
            0..600 => plain(world, &mut random),
            600..750 => nested(world, &mut random),
            750..850 => overlapping(world, &mut random),
            850..880 => send(world, &mut random),
            880..920 => receive(world, &mut random),
            920..940 => polling(world, &mut random),
            940..960 => deferring(world, &mut random),
            960..970 => yielding(world, &mut random),
            970..990 => read_letter("mail"),
            990..999 => long(world, &mut random),
            _ => sleeping(world, &mut random),
        }
    }
}

fn cell(random: &mut Rng) -> usize {
    random.usize(..2 * CELLS)
}

/// A section that has looked once, and may have signed or sent mail.
fn begin(world: &World, random: &mut Rng, kind: Kind) -> Here {
    let mut section = Section::begin(world, kind);
    section.look(world, cell(random), random.u8(..8) == 0);
    if random.u8(..8) == 0 {
        section.send_mail(1 + random.usize(..world.readers));
    }
    section
}

/// Several short sections in a row, nothing but sections.
fn plain(world: &World, random: &mut Rng) {
    let (cell, rounds) = (cell(random), random.usize(..32));
    for _ in 0..random.u8(1..32) {
        let mut section = Section::begin(world, Kind::Plain);
        section.look(world, cell, false);
        section.linger(rounds);
    }
    drop(begin(world, random, Kind::Plain));
}

/// Guards within guards, innermost dropped first.
fn nested(world: &World, random: &mut Rng) {
    let outer = begin(world, random, Kind::Nested);
    if random.u8(..3) > 0 {
        nested(world, random);
    }
    outer.linger(random.usize(..16));
}

/// Guards that begin and end in any order.
fn overlapping(world: &World, random: &mut Rng) {
    let mut sections: Vec<Here> =
        (0..random.usize(2..6)).map(|_| begin(world, random, Kind::Overlapping)).collect();
    while !sections.is_empty() {
        let section = sections.swap_remove(random.usize(..sections.len()));
        section.linger(random.usize(..16));
        if random.u8(..4) == 0 && sections.len() < 6 {
            sections.push(begin(world, random, Kind::Overlapping));
        }
    }
}

/// A section that another thread may end.
fn send(world: &'static World, random: &mut Rng) {
    let section = begin(world, random, Kind::Moved).into_send();
    let mut pool = world.pool.lock().unwrap();
    // Those who pause do not receive.
    if pool.len() < POOL && world.stage.runs() {
        pool.push(section);
    }
}

/// Ends a section of another thread's.
fn receive(world: &'static World, random: &mut Rng) {
    let taken = {
        let mut pool = world.pool.lock().unwrap();
        let any = random.usize(..pool.len().max(1));
        (any < pool.len()).then(|| pool.swap_remove(any))
    };
    if let Some(mut section) = taken {
        section.look(world, cell(random), false);
        section.linger(random.usize(..64));
    }
}

fn yielding(world: &World, random: &mut Rng) {
    let mut section = begin(world, random, Kind::Plain);
    std::thread::yield_now();
    section.look(world, cell(random), false);
}

/// Keeps a section busy for so long.
pub(crate) fn busy<G: Held>(section: &Section<G>, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        section.linger(16);
    }
}

/// Up to 200 microseconds, busy or asleep.
fn long(world: &World, random: &mut Rng) {
    let mut section = begin(world, random, Kind::Long);
    let time = Duration::from_micros(random.u64(1..=200));
    if random.bool() {
        busy(&section, time);
    } else {
        std::thread::sleep(time);
    }
    section.look(world, cell(random), false);
}

/// 300 milliseconds: everybody's grace periods wait.
fn sleeping(world: &World, random: &mut Rng) {
    if !world.may_sleep(BETWEEN_SLEEPS) {
        return long(world, random);
    }
    let mut section = begin(world, random, Kind::Sleeping);
    section.look(world, cell(random), true);
    std::thread::sleep(Duration::from_millis(300));
}

/// Takes a cookie that must not complete before the guard is gone.
fn polling(world: &World, random: &mut Rng) {
    const KIND: Kind = Kind::Polling;
    let section = begin(world, random, KIND);
    let before = world.domain.grace_periods();
    let cookie = world.domain.start_poll();
    for _ in 0..random.usize(1..8) {
        match random.u8(..4) {
            0 => std::thread::yield_now(),
            1 => busy(&section, Duration::from_micros(random.u64(..100))),
            _ => section.linger(random.usize(..64)),
        }
        if cookie.is_complete() {
            let now = world.domain.grace_periods();
            let facts = [("periods when taken", before), ("periods now", now)];
            note(What::CookieUnderGuard, KIND.name(), facts);
        }
    }
}

/// Queues a callback that must not run before the guard is gone.
fn deferring(world: &World, random: &mut Rng) {
    const KIND: Kind = Kind::Deferring;
    let section = begin(world, random, KIND);
    let watched = Watched::queue(world, KIND.name());
    if random.bool() {
        world.domain.retire(Parcel::new(KIND.name()));
        queued();
    }
    busy(&section, Duration::from_micros(random.u64(..50)));
    watched.check(KIND.name());
}

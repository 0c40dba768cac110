//! One reader and one writer, each on a CPU of its own, as fast as they go.
//!
//! The shortest way from unlinking to freeing, against a reader whose count may still be in its
//! store buffer. What the crowd walks past, since everyone in it does so much between two
//! accesses, shows here.

use super::cpus;
use super::evidence::{self, What, note};
use super::obstacles;
use super::options::Options;
use super::seat;
use super::world;
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};
use stillpoint::rcu::Domain;

const LIVE: u64 = 1;
const FREED: u64 = 0xdead;

static OBJECTS: [AtomicU64; 64] = [const { AtomicU64::new(LIVE) }; 64];
static CURRENT: AtomicUsize = AtomicUsize::new(0);
static OVER: AtomicBool = AtomicBool::new(false);

/// Fights until the time is up or somebody is hurt. Returns the number of grace periods; nothing
/// if there is only one CPU. Whoever does not come to an end is stuck.
pub(crate) fn fight(options: &Options) -> Option<u64> {
    let (time, stall) = (options.duel(), options.stall());
    let mut random = Rng::with_seed(options.seed);
    let [first, second, ..] = cpus::allowed()[..] else { return None };
    let domain = world::domain(options);
    let reader = thread::spawn(move || {
        seat::sit(1);
        cpus::restrict(0, &[second]);
        while !OVER.load(Relaxed) {
            read(domain);
        }
    });
    let writer = thread::spawn(move || {
        seat::sit(2);
        cpus::restrict(0, &[first]);
        let end = Instant::now() + time;
        let mut next = 0;
        while Instant::now() < end && evidence::count() == 0 {
            obstacles::vary(&mut random);
            for _ in 0..100 {
                next = (next + 1) % OBJECTS.len();
                OBJECTS[next].store(LIVE, Relaxed);
                obstacles::pass();
                let old = CURRENT.swap(next, AcqRel);
                domain.synchronize();
                OBJECTS[old].store(FREED, Relaxed);
            }
        }
        OVER.store(true, Relaxed);
    });
    let end = Instant::now() + time + stall;
    while !(reader.is_finished() && writer.is_finished()) {
        if Instant::now() > end {
            let periods = domain.grace_periods();
            note(What::Stalled, "duel", [("grace periods", periods)]);
            return Some(periods);
        }
        thread::sleep(Duration::from_millis(1));
    }
    // The panic hook has told, if they did not end well.
    let _ = (writer.join(), reader.join());
    Some(domain.grace_periods())
}

fn read(domain: &'static Domain) {
    obstacles::pass();
    let guard = world::read(domain);
    let current = CURRENT.load(Acquire);
    for look in 0..100 {
        if OBJECTS[current].load(Relaxed) == FREED {
            let periods = domain.grace_periods();
            let facts = [("object", current as u64), ("look", look), ("periods now", periods)];
            note(What::Freed, "duel", facts);
            break;
        }
    }
    drop(guard);
}

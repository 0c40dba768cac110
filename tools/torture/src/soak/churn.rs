//! Threads that read, retire, and are gone.

use super::callbacks::{self, Parcel, queued};
use super::readers::busy;
use super::seat;
use super::section::{Kind, Section};
use super::timer::Timer;
use super::world::{CELLS, World, world};
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

/// As many live at a time.
pub(crate) const CHILDREN: usize = 4;

/// Reads, and retires, when the thread that has it ends.
struct Parting;

impl Drop for Parting {
    fn drop(&mut self) {
        let Some(world) = world() else { return };
        let mut section = Section::begin(world, Kind::Destructor);
        section.look(world, seat::number() % (2 * CELLS), true);
        world.domain.retire(Parcel::new(Kind::Destructor.name()));
        queued();
        section.linger(16);
    }
}

thread_local!(static PARTING: RefCell<Option<Parting>> = const { RefCell::new(None) });

fn child(world: &'static World, number: usize, mut random: Rng) {
    seat::sit(number);
    let timer = (random.u8(..4) == 0).then(|| Timer::every(Duration::from_micros(100)));
    let has_destructor = random.bool();
    if has_destructor {
        PARTING.set(Some(Parting));
    }
    if !has_destructor || random.bool() {
        let mut section = Section::begin(world, Kind::Exiting);
        section.look(world, random.usize(..2 * CELLS), random.bool());
        busy(&section, Duration::from_micros(random.u64(..50)));
    }
    for _ in 0..random.u8(..8) {
        if random.bool() {
            callbacks::defer(world, Kind::Exiting.name());
        } else {
            world.domain.retire(Parcel::new(Kind::Exiting.name()));
            queued();
        }
    }
    if random.u8(..16) == 0 {
        callbacks::barrier(world, Kind::Exiting.name());
    }
    drop(timer);
    if random.bool() {
        drop(Section::begin(world, Kind::Exiting));
    }
}

/// Starts and joins children, which take the seats from `first`, until the run is over.
pub(crate) fn run(world: &'static World, mut random: Rng, first: usize) {
    let mut seats: VecDeque<usize> = (first..first + CHILDREN).collect();
    let mut children = VecDeque::new();
    loop {
        if !world.stage.runs() {
            join(&mut children, &mut seats, CHILDREN);
            if !world.stage.goes_on() {
                return;
            }
        }
        while let Some(seat) = seats.pop_front() {
            let random = random.fork();
            let thread = thread::Builder::new().name("child".to_owned());
            match thread.spawn(move || child(world, seat, random)) {
                Ok(handle) => children.push_back((seat, handle)),
                // The machine is short of threads.
                Err(_) => {
                    seats.push_back(seat);
                    thread::sleep(Duration::from_millis(10));
                    break;
                }
            }
        }
        join(&mut children, &mut seats, 1);
        thread::sleep(Duration::from_micros(random.u64(..500)));
    }
}

/// Joins the oldest; that waits for their destructors too.
fn join(children: &mut VecDeque<Child>, seats: &mut VecDeque<usize>, how_many: usize) {
    let _doing = seat::mine().doing("join a short-lived thread");
    for (seat, handle) in children.drain(..how_many.min(children.len())) {
        // The panic hook has told, if it panicked.
        let _: thread::Result<()> = handle.join();
        seats.push_back(seat);
    }
}

type Child = (usize, thread::JoinHandle<()>);

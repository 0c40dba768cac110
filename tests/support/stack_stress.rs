//! Conservation: every node exactly once, whoever pops, pushes and drains, while threads migrate,
//! are preempted, and handle signals that do the same.
//!
//! Each node has a page of its own. What was drained cannot be accessed for a while: a sequence
//! that still reads a node which was taken away kills the process.

#[path = "crowd.rs"]
pub(crate) mod crowd;

use crowd::Report;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering::*};
use std::time::Duration;
use stillpoint::percpu::{Link, RawStack};

const NODES: usize = 64;
const PAGE: usize = 4096;

/// A node is on a list, or somebody's.
const LISTED: u8 = 0;
const OWNED: u8 = 1;

struct World {
    stack: RawStack,
    pages: NonNull<u8>,
    states: [AtomicU8; NODES],
    /// What a handler keeps until the next signal.
    held: AtomicPtr<Link>,
}

// SAFETY: pages that are shared as nodes are.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

/// The world that signal handlers act in.
static HANDLERS: AtomicPtr<World> = AtomicPtr::new(null_mut());

impl World {
    fn new() -> World {
        // SAFETY: a fresh anonymous mapping.
        let pages = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANON;
            libc::mmap(null_mut(), NODES * PAGE, access, kind, -1, 0)
        };
        assert_ne!(pages, libc::MAP_FAILED);
        let world = World {
            stack: RawStack::new(),
            pages: NonNull::new(pages.cast()).unwrap(),
            states: [const { AtomicU8::new(OWNED) }; NODES],
            held: AtomicPtr::new(null_mut()),
        };
        (0..NODES).for_each(|at| world.push(world.node(at)));
        world
    }

    fn node(&self, at: usize) -> NonNull<Link> {
        // SAFETY: within the mapping.
        unsafe { self.pages.byte_add(at * PAGE).cast() }
    }

    fn at(&self, node: NonNull<Link>) -> usize {
        (node.addr().get() - self.pages.addr().get()) / PAGE
    }

    /// The node has just been taken: it was on a list, once. False if not.
    fn own(&self, node: NonNull<Link>) -> bool {
        crowd::count();
        let at = self.at(node);
        let sound = at < NODES && self.states[at].swap(OWNED, AcqRel) == LISTED;
        if !sound {
            crowd::violation();
        }
        sound
    }

    fn push(&self, node: NonNull<Link>) {
        if self.states[self.at(node)].swap(LISTED, AcqRel) != OWNED {
            crowd::violation();
        }
        // SAFETY: owned until now, and mapped as long as the stack.
        unsafe { self.stack.push(node) };
    }

    fn pop(&self) -> Option<NonNull<Link>> {
        self.stack.pop().filter(|node| self.own(*node))
    }

    fn protect(&self, node: NonNull<Link>, access: libc::c_int) {
        // SAFETY: a page of ours; who accesses it now is wrong, and must fall.
        assert_eq!(unsafe { libc::mprotect(node.as_ptr().cast(), PAGE, access) }, 0);
    }

    fn work(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut mine = Vec::with_capacity(NODES);
        while !crowd::is_over() {
            match random.u32(..1000) {
                0..2 => crowd::wander(&mut random),
                2 => {
                    for node in self.stack.take_all().take(NODES + 1) {
                        if self.own(node) {
                            mine.push(node);
                        }
                    }
                }
                3..500 => mine.extend(self.pop()),
                _ => {
                    if let Some(node) = mine.pop() {
                        self.push(node);
                    }
                }
            }
        }
        mine.into_iter().for_each(|node| self.push(node));
    }

    fn drain(&self, random: &mut fastrand::Rng) {
        let cpus = stillpoint::machine().slots() as usize;
        let chain = match random.u32(..8) {
            0 => self.stack.drain_all(),
            _ => self.stack.drain(random.usize(..cpus)),
        };
        let mine: Vec<_> = chain.take(NODES + 1).filter(|node| self.own(*node)).collect();
        mine.iter().for_each(|node| self.protect(*node, libc::PROT_NONE));
        (0..random.u32(..200)).for_each(|_| std::hint::spin_loop());
        for node in mine {
            self.protect(node, libc::PROT_READ | libc::PROT_WRITE);
            self.push(node);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: nobody is here any more.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), NODES * PAGE) };
    }
}

extern "C" fn handler(_: libc::c_int) {
    // SAFETY: set as long as workers run that get signals.
    let Some(world) = (unsafe { HANDLERS.load(Acquire).as_ref() }) else { return };
    if !crowd::is_over()
        && let Some(first) = world.pop()
    {
        // What was on top will be again, with something else behind it.
        if let Some(second) = world.pop() {
            let before = world.held.swap(second.as_ptr(), AcqRel);
            if let Some(before) = NonNull::new(before) {
                world.push(before);
            }
        }
        world.push(first);
    }
}

/// The stress, once at a time in a process.
pub(crate) fn run(time: Duration) -> Report {
    let world = World::new();
    HANDLERS.store((&raw const world).cast_mut(), Release);
    crowd::run(time, handler, &|seed| world.work(seed), &[&|random| world.drain(random)]);
    HANDLERS.store(null_mut(), Release);
    if let Some(held) = NonNull::new(world.held.load(Acquire)) {
        world.push(held);
    }
    let left = world.stack.drain_all().take(NODES + 1).filter(|node| world.own(*node)).count();
    if left != NODES {
        eprintln!("{left} of {NODES} are left");
        crowd::violation();
    }
    crowd::report()
}

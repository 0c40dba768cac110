//! Conservation: every node exactly once, whoever pops, pushes and drains, while threads migrate,
//! are preempted, and handle signals that do the same.
//!
//! Each node has a page of its own. What was drained cannot be accessed for a while: a sequence
//! that still reads a node which was taken away kills the process.

#[path = "cpus.rs"]
pub(crate) mod cpus;

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};
use stillpoint::percpu::{Link, RawStack};

const NODES: usize = 64;
const WORKERS: usize = 4;
const PAGE: usize = 4096;
const SIGNAL: libc::c_int = libc::SIGUSR2;

/// A node is on a list, or somebody's.
const LISTED: u8 = 0;
const OWNED: u8 = 1;

struct World {
    stack: RawStack,
    pages: NonNull<u8>,
    states: [AtomicU8; NODES],
    /// What a handler keeps until the next signal.
    held: AtomicPtr<Link>,
    violations: AtomicU64,
    stop: AtomicBool,
}

// SAFETY: pages that are shared as nodes are.
unsafe impl Send for World {}
// SAFETY: as above.
unsafe impl Sync for World {}

/// Nodes that were taken so far.
pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
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
            violations: AtomicU64::new(0),
            stop: AtomicBool::new(false),
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

    fn violation(&self) {
        self.violations.fetch_add(1, Relaxed);
        self.stop.store(true, Relaxed);
    }

    /// The node has just been taken: it was on a list, once. False if not.
    fn own(&self, node: NonNull<Link>) -> bool {
        OPERATIONS.fetch_add(1, Relaxed);
        let at = self.at(node);
        let sound = at < NODES && self.states[at].swap(OWNED, AcqRel) == LISTED;
        if !sound {
            self.violation();
        }
        sound
    }

    fn push(&self, node: NonNull<Link>) {
        if self.states[self.at(node)].swap(LISTED, AcqRel) != OWNED {
            self.violation();
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
        let cpus = cpus::allowed();
        let mut mine = Vec::with_capacity(NODES);
        while !self.stop.load(Relaxed) {
            match random.u32(..1000) {
                0 => std::thread::yield_now(),
                1 => {
                    let cpu = cpus[random.usize(..cpus.len())];
                    cpus::restrict(0, &[cpu]);
                }
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

    fn drain(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let cpus = stillpoint::machine().slots() as usize;
        let mut mine: Vec<NonNull<Link>> = Vec::with_capacity(NODES);
        while !self.stop.load(Relaxed) {
            let chain = match random.u32(..8) {
                0 => self.stack.drain_all(),
                _ => self.stack.drain(random.usize(..cpus)),
            };
            mine.extend(chain.take(NODES + 1).filter(|node| self.own(*node)));
            mine.iter().for_each(|node| self.protect(*node, libc::PROT_NONE));
            (0..random.u32(..200)).for_each(|_| std::hint::spin_loop());
            for node in mine.drain(..) {
                self.protect(node, libc::PROT_READ | libc::PROT_WRITE);
                self.push(node);
            }
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
    if !world.stop.load(Relaxed)
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

fn handle_signals() {
    // SAFETY: a handler that only does what is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(SIGNAL, &action, null_mut()), 0);
    }
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: u64,
    pub(crate) operations: u64,
}

/// The stress, once at a time in a process.
pub(crate) fn run(time: Duration) -> Report {
    let world = World::new();
    handle_signals();
    HANDLERS.store((&raw const world).cast_mut(), Release);
    let threads = &[const { AtomicUsize::new(0) }; WORKERS];
    std::thread::scope(|scope| {
        let world = &world;
        let workers = threads.iter().enumerate().map(|(seed, thread)| {
            scope.spawn(move || {
                // SAFETY: no preconditions.
                thread.store(unsafe { libc::pthread_self() } as usize, Relaxed);
                world.work(seed as u64);
            })
        });
        let workers: Vec<_> = workers.collect();
        scope.spawn(move || world.drain(100));
        scope.spawn(move || {
            let begin = Instant::now();
            while begin.elapsed() < time && !world.stop.load(Relaxed) {
                for thread in threads.iter().map(|thread| thread.load(Relaxed)) {
                    if thread != 0 {
                        // SAFETY: not joined yet.
                        unsafe { libc::pthread_kill(thread as libc::pthread_t, SIGNAL) };
                    }
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            world.stop.store(true, Relaxed);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    });
    HANDLERS.store(null_mut(), Release);
    if let Some(held) = NonNull::new(world.held.load(Acquire)) {
        world.push(held);
    }
    let left = world.stack.drain_all().take(NODES + 1).filter(|node| world.own(*node)).count();
    if left != NODES {
        eprintln!("{left} of {NODES} are left");
        world.violation();
    }
    Report { violations: world.violations.load(Relaxed), operations: OPERATIONS.load(Relaxed) }
}

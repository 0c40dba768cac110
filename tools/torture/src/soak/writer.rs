//! The one writer that replaces elements: through every call that can wait or make others wait.

use super::callbacks;
use super::element::{self, Name, Token};
use super::evidence::{What, note};
use super::seat;
use super::section::{Kind, Section};
use super::world::{Boxed, CELLS, World, grace_periods};
use fastrand::Rng;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;
use stillpoint::rcu::Domain;

/// The writer's state.
struct Writer {
    world: &'static World,
    random: Rng,
    /// What is in the naked cells.
    naked: [Token; CELLS],
    /// The name of what is in the library's.
    boxed: [Name; CELLS],
}

/// One way to update, and its name.
type Update = (&'static str, fn(&mut Writer, &'static str));

const UPDATES: [Update; 21] = [
    ("store", Writer::store),
    ("swap, drop", Writer::swap),
    ("swap, into_inner", Writer::take_out),
    ("update", Writer::update),
    ("compare_exchange", Writer::compare_exchange),
    ("compare_exchange, stale", Writer::stale_exchange),
    ("synchronize", |w, by| w.waits(by, |domain, _| domain.synchronize())),
    ("synchronize_timeout", |w, by| w.waits(by, timeout)),
    ("start_poll, is_complete", |w, by| w.waits(by, poll)),
    ("start_poll, wait", |w, by| w.waits(by, |domain, _| domain.start_poll().wait())),
    ("start_poll, await", |w, by| {
        w.waits(by, |domain, _| pollster::block_on(async { domain.start_poll().await }));
    }),
    ("grace_period", |w, by| {
        w.waits(by, |domain, _| pollster::block_on(domain.grace_period()));
    }),
    ("defer", |w, by| w.hands_over(by, |domain, token, _| domain.defer(move || drop(token)))),
    ("defer, promised", |w, by| callbacks::defer(w.world, by)),
    ("retire", |w, by| w.hands_over(by, |domain, token, _| domain.retire(token))),
    ("retire, boxed", |w, by| {
        w.hands_over(by, |domain, token, _| domain.retire(Box::new(token)));
    }),
    ("retire_sized", |w, by| {
        w.hands_over(by, |domain, token, random| domain.retire_sized(token, random.usize(..9000)));
    }),
    ("retire_raw", |w, by| w.hands_over(by, retire_raw)),
    ("try_retire", |w, by| w.hands_over(by, try_retire)),
    ("defer, barrier", Writer::barrier),
    ("throttle", |w, _| w.world.domain.throttle()),
];

/// How often each was done.
static DONE: [AtomicU64; UPDATES.len()] = [const { AtomicU64::new(0) }; UPDATES.len()];
/// How often `try_retire` refused.
pub(crate) static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The name of each way to update, and how often it was done.
pub(crate) fn done() -> impl Iterator<Item = (&'static str, u64)> {
    UPDATES.iter().zip(&DONE).map(|((name, _), done)| (*name, done.load(Relaxed)))
}

/// Goes on until the run is over.
pub(crate) fn run(world: &'static World, random: Rng, naked: [Token; CELLS]) {
    let guard = world.domain.read();
    let boxed = std::array::from_fn(|n| world.boxed[n].load(&guard).0.name());
    drop(guard);
    let mut writer = Writer { world, random, naked, boxed };
    while world.stage.goes_on() {
        let n = writer.random.usize(..UPDATES.len());
        let (name, update) = UPDATES[n];
        let doing = seat::mine().doing(name);
        update(&mut writer, name);
        drop(doing);
        DONE[n].fetch_add(1, Relaxed);
        if writer.random.u8(..16) == 0 {
            std::thread::sleep(Duration::from_micros(writer.random.u64(..200)));
        }
    }
    // What is current stays so: late signals read it.
    std::mem::forget(writer.naked);
}

impl Writer {
    /// A new element, once there is one.
    fn fresh(&self) -> Token {
        loop {
            if let Some(token) = Token::fresh() {
                return token;
            }
            element::enter_pipe();
            self.world.domain.barrier();
            self.world.domain.synchronize();
            element::age();
        }
    }

    fn cell(&mut self) -> usize {
        self.random.usize(..CELLS)
    }

    /// Replaces an element of ours, and returns the old one, aged 1.
    fn unlink(&mut self) -> Token {
        let (n, new) = (self.cell(), self.fresh());
        let id = new.name().id;
        let old = std::mem::replace(&mut self.naked[n], new);
        old.name().leaves();
        self.world.naked[n].swap(id, AcqRel);
        old.name().left();
        old
    }

    /// Replaces an element and waits by `wait` for a grace period.
    fn waits(&mut self, by: &'static str, wait: impl FnOnce(&'static Domain, &mut Rng)) {
        let old = self.unlink();
        element::enter_pipe();
        let before = grace_periods();
        wait(self.world.domain, &mut self.random);
        let now = grace_periods();
        if now <= before {
            note(What::ShortWait, by, [("periods before", before), ("periods after", now)]);
        }
        drop(old);
        element::age();
    }

    /// Replaces an element and gives the old one to the domain.
    fn hands_over(
        &mut self,
        _: &'static str,
        hand_over: impl FnOnce(&'static Domain, Token, &mut Rng),
    ) {
        let old = self.unlink();
        hand_over(self.world.domain, old, &mut self.random);
    }

    fn barrier(&mut self, by: &'static str) {
        let old = self.unlink();
        let name = old.name();
        self.world.domain.defer(move || drop(old));
        callbacks::barrier(self.world, by);
        if !name.is_over() {
            note(What::ShortBarrier, by, [("element", name.id.into())]);
        }
    }

    /// Replaces an element of a cell by `replace`. The old one may be freed any time then.
    fn replaces(&mut self, replace: impl FnOnce(&'static World, usize, Token)) {
        let (n, new) = (self.cell(), self.fresh());
        let old = std::mem::replace(&mut self.boxed[n], new.name());
        old.leaves();
        replace(self.world, n, new);
        old.left();
    }

    fn store(&mut self, _: &'static str) {
        self.replaces(|world, n, new| world.boxed[n].store(Boxed(new)));
    }

    fn swap(&mut self, by: &'static str) {
        self.replaces(|world, n, new| {
            let old = world.boxed[n].swap(Boxed(new));
            check_own(&old, by);
            drop(old);
        });
    }

    fn take_out(&mut self, by: &'static str) {
        self.replaces(|world, n, new| {
            let old = world.boxed[n].swap(Boxed(new));
            old.0.name().left();
            check_own(&old, by);
            drop(old.into_inner());
        });
    }

    fn update(&mut self, by: &'static str) {
        self.replaces(|world, n, new| {
            let mut new = Some(new);
            world.boxed[n].update(|old| {
                check_own(old, by);
                Boxed(new.take().expect("one writer, one attempt"))
            });
        });
    }

    fn compare_exchange(&mut self, by: &'static str) {
        self.replaces(|world, n, new| {
            let mut section = Section::begin(world, Kind::Writing);
            section.look(world, CELLS + n, true);
            let guard = section.guard();
            let current = world.boxed[n].load(guard);
            match world.boxed[n].compare_exchange(current, Boxed(new), guard) {
                Ok(old) => check_own(&old, by),
                Err(_) => note(What::WrongExchange, by, [("cell", n as u64), ("refused", 1)]),
            }
        });
    }

    /// An exchange that comes too late, and must be refused.
    fn stale_exchange(&mut self, by: &'static str) {
        let late = self.fresh();
        self.replaces(|world, n, new| {
            let mut section = Section::begin(world, Kind::Writing);
            section.look(world, CELLS + n, true);
            let guard = section.guard();
            let stale = world.boxed[n].load(guard);
            world.boxed[n].store(Boxed(new));
            match world.boxed[n].compare_exchange(stale, Boxed(late), guard) {
                Err(lost) => lost.new.0.never_published(),
                Ok(_) => note(What::WrongExchange, by, [("cell", n as u64), ("refused", 0)]),
            }
        });
    }
}

/// What the writer still has must be whole, and not freed.
fn check_own(boxed: &Boxed, by: &'static str) {
    if boxed.0.id().is_none() || boxed.0.name().is_over() {
        note(What::Freed, by, [("element", boxed.0.name().id.into())]);
    }
}

fn timeout(domain: &'static Domain, random: &mut Rng) {
    let time = Duration::from_micros(random.u64(..2000));
    if let Err(timed_out) = domain.synchronize_timeout(time) {
        timed_out.grace_period.wait();
    }
}

fn poll(domain: &'static Domain, random: &mut Rng) {
    let cookie = domain.start_poll();
    while !cookie.is_complete() {
        if random.bool() {
            std::thread::yield_now();
        }
    }
}

fn try_retire(domain: &'static Domain, token: Token, _: &mut Rng) {
    if let Err(token) = domain.try_retire(token) {
        REFUSED.fetch_add(1, Relaxed);
        domain.retire(token);
    }
}

fn retire_raw(domain: &'static Domain, token: Token, _: &mut Rng) {
    /// # Safety
    ///
    /// `token` came from a box, and is nobody's.
    unsafe fn free(token: *mut Token) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(token) });
    }
    let token = Box::into_raw(Box::new(token));
    // SAFETY: just taken out of a box; a token may be dropped on any thread.
    unsafe { domain.retire_raw(token, free) };
}

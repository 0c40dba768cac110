//! The list of all engines in use, for the reclaimer and for the child of a fork.
//!
//! Engines are put in front by compare-and-swap, also in signal handlers. They are taken out, and
//! the list is walked, under a lock that is held for a few instructions, and never while memory is
//! asked for or given back. Who waits for it naps: its holder may want this CPU, at a lower
//! priority. At every instant the list
//! is whole: the child of a fork walks it without the lock, which its holder may have left behind.
//!
//! # Who is in it
//!
//! Every engine that a domain has, since it is put here before the domain has it: so whoever uses
//! an engine, or finds one in the child of a fork, may rely on its being here. And some that no
//! domain has: those of makers who found that another one was faster. They cannot take theirs out
//! where they are, maybe in a signal handler above the lock's holder; so they mark it, and whoever
//! has the lock next takes it out. In the child of a fork there may be one more, whose maker is
//! gone: nobody uses it, and it stays.

use super::engine::Engine;
use crate::sync::Pace;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

static FIRST: AtomicPtr<Engine> = AtomicPtr::new(null_mut());
static LOCKED: AtomicBool = AtomicBool::new(false);
/// Some engine in the list may have been given up.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

struct Lock;

impl Lock {
    fn take() -> Lock {
        let mut pace = Pace::new();
        // Acquire: partner is the release of the unlock.
        while LOCKED.swap(true, Ordering::Acquire) {
            pace.wait();
        }
        Lock
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        LOCKED.store(false, Ordering::Release);
    }
}

/// Puts an engine into the list. Async-signal-safe.
pub(super) fn add(engine: *mut Engine) {
    super::fork::watch();
    let mut first = FIRST.load(Ordering::Relaxed);
    loop {
        // SAFETY: the caller's engine, not yet in the list.
        unsafe { (*engine).next.store(first, Ordering::Relaxed) };
        // Release: whoever finds the engine finds it made.
        match FIRST.compare_exchange_weak(first, engine, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    // Partner: the fence in `reclaimer::end`.
    fence(Ordering::SeqCst);
}

/// Gives up an engine that was added and that nobody uses. Async-signal-safe.
///
/// # Safety
///
/// The caller's reference, which is not used again.
pub(super) unsafe fn give_up(engine: *mut Engine) {
    // Release: all use comes before. Partner: the acquire in `sweep`.
    // SAFETY: alive by the reference, which is whoever's from here on that takes it out.
    unsafe { (*engine).given_up.store(true, Ordering::Release) };
    // Release: partner is the acquire in `locked`, which finds the mark.
    GIVEN_UP.store(true, Ordering::Release);
}

/// Works on the list under the lock, without those that were given up, and frees these.
fn locked<R>(work: impl FnOnce() -> R) -> R {
    let lock = Lock::take();
    let mut given_up = null_mut();
    if GIVEN_UP.load(Ordering::Relaxed) && GIVEN_UP.swap(false, Ordering::Acquire) {
        given_up = sweep();
    }
    let result = work();
    drop(lock);
    while let Some(engine) = NonNull::new(given_up) {
        // SAFETY: no more in the list; the reference that was given up is given back once.
        unsafe {
            given_up = engine.as_ref().next.load(Ordering::Relaxed);
            Engine::release(engine.as_ptr());
        }
    }
    result
}

/// Takes out those that were given up; links them by `next`. With the lock held.
fn sweep() -> *mut Engine {
    let mut swept = null_mut();
    walk(|engine| {
        // SAFETY: in the list, and the lock keeps it there; then it is ours.
        unsafe {
            // Acquire: partner is the release in `give_up`.
            if (*engine).given_up.load(Ordering::Acquire) {
                take_out(engine);
                (*engine).next.store(swept, Ordering::Relaxed);
                swept = engine;
            }
        }
    });
    swept
}

/// Takes an engine out of the list.
pub(super) fn remove(engine: *mut Engine) {
    // SAFETY: under the lock; a domain's engine is in the list until here.
    locked(|| unsafe { take_out(engine) });
}

/// # Safety
///
/// The caller has the lock, and the engine is in the list.
unsafe fn take_out(engine: *mut Engine) {
    // SAFETY: engines in the list are alive, and only the lock's holder takes any out.
    unsafe {
        let next = (*engine).next.load(Ordering::Relaxed);
        // Until others come in front, it may be the first.
        if FIRST.compare_exchange(engine, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        let mut at = FIRST.load(Ordering::Acquire);
        while !at.is_null() {
            let link = &(*at).next;
            at = link.load(Ordering::Relaxed);
            if at == engine {
                return link.store(next, Ordering::Relaxed);
            }
        }
    }
}

/// A reference to an engine, of somebody who is not its domain.
#[derive(Debug)]
pub(super) struct Reference(*mut Engine);

impl std::ops::Deref for Reference {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        // SAFETY: this reference keeps it alive.
        unsafe { &*self.0 }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: ours, given back once.
        unsafe { Engine::release(self.0) };
    }
}

/// All engines there are now.
pub(super) fn all() -> Vec<Reference> {
    let mut all = Vec::with_capacity(16);
    loop {
        let mut left_out = 0;
        let each = |engine: *mut Engine| {
            if all.len() == all.capacity() {
                left_out += 1;
                return;
            }
            // SAFETY: in the list, and the lock keeps it there.
            unsafe { (*engine).retain() };
            all.push(Reference(engine));
        };
        locked(|| walk(each));
        if left_out == 0 {
            return all;
        }
        // Again with room for them, and for some that come meanwhile.
        let room = 2 * (all.len() + left_out);
        all.clear();
        all.reserve(room);
    }
}

fn walk(mut visit: impl FnMut(*mut Engine)) {
    // Acquire: partner is the release in `add`.
    let mut at = FIRST.load(Ordering::Acquire);
    while !at.is_null() {
        let engine = at;
        // SAFETY: in the list, and the caller keeps it there. Before the visit, which may take it
        // out.
        at = unsafe { (*engine).next.load(Ordering::Relaxed) };
        visit(engine);
    }
}

/// In the child of a fork: visits every engine, without the lock.
pub(super) fn after_fork(mut visit: impl FnMut(&Engine)) {
    LOCKED.store(false, Ordering::Relaxed);
    // Whoever was taking some out is gone.
    GIVEN_UP.store(true, Ordering::Relaxed);
    // SAFETY: in the list, hence alive; this is the only thread.
    walk(|engine| visit(unsafe { &*engine }));
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;
    use crate::rcu::Domain;

    /// Those of makers who were not the first go, and only those.
    #[test]
    fn what_was_given_up_goes() {
        // Other tests have this one; none of them makes it while this one looks.
        drop(Domain::global().read());
        for _ in 0..200 {
            let domain = Domain::new();
            let start = std::sync::Barrier::new(4);
            let engines = std::thread::scope(|s| {
                let make = || {
                    start.wait();
                    std::ptr::from_ref(domain.engine()).addr()
                };
                let threads: [_; 4] = std::array::from_fn(|_| s.spawn(make));
                threads.map(|thread| thread.join().unwrap())
            });
            assert!(engines.iter().all(|&engine| engine == engines[0]));
            // One that is certain to come too late.
            assert!(domain.publish().is_err_and(|engine| std::ptr::eq(engine, domain.engine())));
            let all = all();
            assert!(all.iter().all(|engine| !engine.given_up.load(Ordering::Relaxed)));
            let mine = |engine: &&Reference| std::ptr::eq(&***engine, domain.engine());
            assert_eq!(all.iter().filter(mine).count(), 1);
        }
    }

    #[test]
    fn many_are_all_found_once() {
        let domains: Vec<_> = (0..100).map(|_| Domain::new()).collect();
        let engines: Vec<*const Engine> =
            domains.iter().map(|domain| std::ptr::from_ref(domain.engine())).collect();
        let all = all();
        for engine in engines {
            assert_eq!(all.iter().filter(|found| std::ptr::eq(&***found, engine)).count(), 1);
        }
    }
}

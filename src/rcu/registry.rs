//! The list of all engines in use, for the reclaimer and for the child of a fork.
//!
//! Engines are put in front by compare-and-swap, also in signal handlers. They are taken out, and
//! the list is walked, under a lock that is held for a few instructions, and never while memory is
//! asked for or given back. Who waits for it naps: its holder may want this CPU, at a lower
//! priority. At every instant the list
//! is whole: the child of a fork walks it without the lock, which its holder may have left behind.

use super::engine::Engine;
use crate::sync::Pace;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

static FIRST: AtomicPtr<Engine> = AtomicPtr::new(null_mut());
static LOCKED: AtomicBool = AtomicBool::new(false);

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

/// Takes an engine out of the list.
pub(super) fn remove(engine: *mut Engine) {
    let _lock = Lock::take();
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
        let lock = Lock::take();
        walk(|engine| {
            if all.len() == all.capacity() {
                left_out += 1;
                return;
            }
            // SAFETY: in the list, and the lock keeps it there.
            unsafe { (*engine).retain() };
            all.push(Reference(engine));
        });
        drop(lock);
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
        visit(at);
        // SAFETY: in the list, and the caller keeps it there.
        at = unsafe { (*at).next.load(Ordering::Relaxed) };
    }
}

/// In the child of a fork: visits every engine, without the lock.
pub(super) fn after_fork(mut visit: impl FnMut(&Engine)) {
    LOCKED.store(false, Ordering::Relaxed);
    // SAFETY: in the list, hence alive; this is the only thread.
    walk(|engine| visit(unsafe { &*engine }));
}

#[cfg(all(test, not(stillpoint_loom)))]
mod tests {
    use super::*;
    use crate::rcu::Domain;

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

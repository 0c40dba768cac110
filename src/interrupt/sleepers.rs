//! The threads that a flag wakes.
//!
//! A list of nodes that only grows, so that a signal handler may walk it; a node is free if its
//! owner is 0, and is taken by compare-and-exchange. Nodes go with the flag.
//!
//! That nobody is forgotten: a thread stores its id, fences, and then tests the flag; who sets the
//! flag stores it, fences, and then loads the ids. So one of them sees the other. A thread that is
//! seen gets a signal that has a handler: if it has tested the flag, and the call is not over, it
//! is in a section, which is aborted, or in the call, which is interrupted; or signals
//! are masked until the call.
//!
//! A thread is named by its number, and signalled by `tgkill`, which refuses numbers that are not
//! of this process. A node that a thread leaves at the very moment, or that was forgotten by its
//! owner, may name another thread of ours by then: that runs a handler which does nothing.

use crate::sync::{AtomicPtr, AtomicU64, Ordering, fence};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::{io, ptr};

/// The head of the list.
#[derive(Debug)]
pub(super) struct Sleepers(AtomicPtr<Node>);

#[derive(Debug)]
struct Node {
    /// The thread below, its signal above; 0 if it is nobody's.
    owner: AtomicU64,
    /// Never changes once the node is on the list.
    next: *mut Node,
}

/// While it lives, its thread is woken by [`Flag::set_and_wake`](super::Flag::set_and_wake). Made
/// by [`Flag::enlist`](super::Flag::enlist).
///
/// It stays with its thread, and ends before that does. If it is forgotten
/// ([`mem::forget`](std::mem::forget)), some other thread of this process may run the
/// handler later.
///
/// # Examples
///
/// ```compile_fail,E0277
/// static STOP: stillpoint::interrupt::Flag = stillpoint::interrupt::Flag::new();
/// let enlisted = STOP.enlist(libc::SIGURG).unwrap();
/// std::thread::spawn(move || drop(enlisted));
/// ```
///
/// ```
/// static STOP: stillpoint::interrupt::Flag = stillpoint::interrupt::Flag::new();
/// std::thread::spawn(|| drop(STOP.enlist(libc::SIGURG).unwrap())).join().unwrap();
/// ```
#[derive(Debug)]
pub struct Enlisted<'f> {
    node: &'f Node,
    signal: c_int,
    here: PhantomData<*mut ()>,
}

/// A signal for which the thread is enlisted.
struct Unblocked {
    signal: c_int,
    /// How often.
    times: usize,
    /// It was blocked before.
    was_blocked: bool,
}

thread_local! {
    static UNBLOCKED: RefCell<Vec<Unblocked>> = const { RefCell::new(Vec::new()) };
}

/// Unblocks the signal, until [`block_again`] was called as often.
fn unblock(signal: c_int) {
    let was_blocked = change_mask(libc::SIG_UNBLOCK, signal);
    // Without, in a thread's last destructors, it stays unblocked.
    _ = UNBLOCKED.try_with(|all| {
        let mut all = all.borrow_mut();
        match all.iter_mut().find(|one| one.signal == signal) {
            Some(one) => one.times += 1,
            None => all.push(Unblocked { signal, times: 1, was_blocked }),
        }
    });
}

/// Blocks the signal if it was blocked at first, and nothing needs it any more.
fn block_again(signal: c_int) {
    _ = UNBLOCKED.try_with(|all| {
        let mut all = all.borrow_mut();
        let Some(at) = all.iter().position(|one| one.signal == signal) else { return };
        all[at].times -= 1;
        if all[at].times == 0 && all.swap_remove(at).was_blocked {
            change_mask(libc::SIG_BLOCK, signal);
        }
    });
}

extern "C" fn do_nothing(_: c_int) {}

impl Sleepers {
    pub(super) const fn new() -> Sleepers {
        Sleepers(AtomicPtr::new(ptr::null_mut()))
    }

    /// The nodes, from the newest.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        // Acquire: partner is the release in `add`; of older nodes, by the release sequence.
        let mut next = self.0.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: nodes live as long as the list, which is borrowed.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(node)
        })
    }

    pub(super) fn enlist(&self, signal: c_int) -> io::Result<Enlisted<'_>> {
        give_handler(signal)?;
        // SAFETY: no memory is involved.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
        let owner = u64::from(signal as u32) << 32 | u64::from(thread);
        unblock(signal);
        let mut nodes = self.nodes();
        // Relaxed: nothing is handed on from owner to owner.
        let take = |node: &&Node| {
            node.owner.compare_exchange(0, owner, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let node = nodes.find(take).unwrap_or_else(|| self.add(owner));
        // Partner: the fence in `wake`.
        fence(Ordering::SeqCst);
        Ok(Enlisted { node, signal, here: PhantomData })
    }

    /// A new node.
    fn add(&self, owner: u64) -> &Node {
        let mut head = self.0.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { owner: AtomicU64::new(owner), next: head }));
        // Release: partner is the acquire in `nodes`.
        while let Err(other) =
            self.0.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
        {
            head = other;
            // SAFETY: nobody else knows the node.
            unsafe { (*node).next = head };
        }
        // SAFETY: it lives as long as the list.
        unsafe { &*node }
    }

    /// Signals them all. Async-signal-safe.
    pub(super) fn wake(&self) {
        // Partner: the fence in `enlist`.
        fence(Ordering::SeqCst);
        // SAFETY: errno's location is valid for the calling thread; the others involve no memory.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            for node in self.nodes() {
                let owner = node.owner.load(Ordering::Relaxed);
                if owner != 0 {
                    let (thread, signal) = (owner as u32, (owner >> 32) as c_int);
                    libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal);
                }
            }
            *errno = before;
        }
    }
}

impl Default for Sleepers {
    fn default() -> Sleepers {
        Sleepers::new()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let mut next = *self.0.get_mut();
        while !next.is_null() {
            // SAFETY: made by `add`; nobody borrows the list any more.
            next = unsafe { Box::from_raw(next) }.next;
        }
    }
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.node.owner.store(0, Ordering::Relaxed);
        block_again(self.signal);
    }
}

/// Gives a signal a handler that does nothing, unless it has one.
fn give_handler(signal: c_int) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: an all-zero action is valid, and asks for no flags and no mask; the kernel
    // replaces it by another.
    unsafe {
        if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let handler = action.assume_init_ref().sa_sigaction;
        if handler != libc::SIG_DFL && handler != libc::SIG_IGN {
            return Ok(());
        }
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = do_nothing as *const c_void as usize;
        if libc::sigaction(signal, &action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Blocks or unblocks a signal for the calling thread. Whether it was blocked.
fn change_mask(how: c_int, signal: c_int) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set. The call writes the mask from before: it cannot fail
    // with these arguments; the signal is one, since it has a handler.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr());
        libc::sigismember(before.as_ptr(), signal) == 1
    }
}

//! Who runs callbacks when nobody retires any more.
//!
//! # State
//!
//! One word, [`SESSION`]. *Idle*: nobody looks after the domains, and no callback is queued in
//! any. *Called*: a session was asked for, and will begin. *Running*: one looks at all domains every
//! [`TICK`], and runs what their retirers have left alone since; it ends when it finds nothing.
//!
//! Whoever stores *called* or *running* has a [`Session`], which stores *idle* at its end, be that
//! by a panic or by a drop without a run. Two sessions at once do no harm: they share the work, bin
//! by bin.
//!
//! # Why nothing is forgotten
//!
//! A retirer queues, makes a light fence, and loads the word: if it is idle, it calls. A session that
//! ends stores *idle*, makes a heavy fence for each domain, and looks once more. By the
//! contract of the fence, either it sees what was queued, or the retirer sees *idle*.
//!
//! That is for domains that it finds in the list. A domain is put there, with a fence behind,
//! before anybody can use it; the session makes a fence between *idle* and its walk along the list.
//! So one whose walk misses a domain has stored *idle* before any retirer of that domain loads the
//! word.
//!
//! # Orderings
//!
//! | operation | order | partner |
//! |---|---|---|
//! | queued, light fence, word | relaxed | idle, heavy fence, bins |
//! | list, fence in `registry::add`, engine published | SeqCst | idle, fence in `end`, list |
//! | waker, fence in `Sleepers::put`, word | SeqCst | idle, heavy fence, wakers |
//! | word, called | acquire | the release of the drop of a session |
//!
//! # Who it is
//!
//! By default a thread of ours, `stillpoint-rcu`, started with the first session and parked between
//! sessions. Signals are blocked in it. It frees what the program's threads have retired, so its
//! stack is no smaller than theirs mostly are. Or whatever [`Reclaimer::Custom`] does with a
//! [`Session`].
//!
//! # Exit
//!
//! A session looks before each callback whether `exit` has come to a handler of ours, which the
//! first session has registered. Behind that it starts none: handlers that the program registered
//! before, and destructors of C++, take down what callbacks may use. One that is running goes on.

use super::bins::{Bin, Hold};
use super::engine::Engine;
use super::grace::Target;
use super::hooks::caught;
use super::registry;
use crate::machine::fence::{heavy, light};
use crate::machine::masked;
use crate::sync::nanos;
use std::ffi::c_void;
use std::fmt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

/// Between two looks.
const TICK: Duration = Duration::from_millis(10);
/// Between the first two looks while tasks wait; more and more after that.
const SHORT: Duration = Duration::from_micros(500);
/// Between two looks while readers stay.
const LONGEST: Duration = Duration::from_millis(100);

static SESSION: AtomicU8 = AtomicU8::new(IDLE);
const IDLE: u8 = 0;
const CALLED: u8 = 1;
const RUNNING: u8 = 2;

static KIND: AtomicU8 = AtomicU8::new(THREAD);
const THREAD: u8 = 0;
const DISABLED: u8 = 1;
const CUSTOM: u8 = 2;

type Start = dyn Fn(Session) + Send + Sync;

/// What starts custom sessions. Replaced ones are leaked, as they may be running.
static START: AtomicPtr<Box<Start>> = AtomicPtr::new(null_mut());
/// Our thread, once it is there. Never freed: anybody may be about to unpark it.
static OURS: AtomicPtr<Thread> = AtomicPtr::new(null_mut());
/// When to ask the system for a thread again, after it gave none.
static REFUSED: AtomicU64 = AtomicU64::new(0);
const UNTIL_NEXT_TRY: u64 = 1_000_000_000;
static EXITING: AtomicBool = AtomicBool::new(false);

/// Who runs callbacks that would otherwise wait for a retirer that does not come, and advances
/// grace periods that tasks await. One for the whole process.
///
/// # Examples
///
/// ```
/// use stillpoint::rcu::Reclaimer;
///
/// // Sessions on a thread pool of the program's own.
/// Reclaimer::Custom(Box::new(|session| {
///     std::thread::spawn(|| session.run());
/// }))
/// .install();
/// ```
#[non_exhaustive]
pub enum Reclaimer {
    /// A thread of the library, started when it is first needed. The default.
    Thread,
    /// Nobody. Garbage waits for the next retirer, `throttle`, `barrier`, or the domain's
    /// drop; tasks that await a grace period poll it again and again.
    Disabled,
    /// Hands each [`Session`] to a function, which has it run soon, on some thread or executor.
    /// The function is called by retirers: it must not block, nor retire.
    Custom(Box<dyn Fn(Session) + Send + Sync>),
}

impl Reclaimer {
    /// Installs it from now on. A session that is running goes on; in the place of one that was
    /// asked for and has not begun, the new reclaimer is asked for another. Meant for the start of
    /// the program: a custom function that is replaced is leaked.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Reclaimer;
    /// Reclaimer::Disabled.install();
    /// ```
    pub fn install(self) {
        let kind = match self {
            Reclaimer::Thread => THREAD,
            Reclaimer::Disabled => DISABLED,
            Reclaimer::Custom(start) => {
                // Release: partner is the acquire in `begin`.
                START.store(Box::into_raw(Box::new(start)), Ordering::Release);
                CUSTOM
            }
        };
        KIND.store(kind, Ordering::Release);
        if SESSION.load(Ordering::Relaxed) == CALLED {
            // It may never be run: whoever has it may keep it, or have forgotten it.
            drop(Session(()));
            call();
        }
    }
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reclaimer::Thread => "Thread",
            Reclaimer::Disabled => "Disabled",
            Reclaimer::Custom(_) => "Custom",
        })
    }
}

/// One spell of work for the [`Reclaimer`]: ends when no domain has callbacks or tasks waiting.
///
/// Dropping it without running it is allowed; the next retirer calls again. As long as it is kept,
/// and for ever if it is forgotten ([`std::mem::forget`]), nobody asks for another one: what is
/// retired waits for retirers, `throttle`, `barrier` or the domain's drop, and tasks wait for
/// whoever advances their grace period, until a reclaimer is [installed](Reclaimer::install) again.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use stillpoint::rcu::{self, Reclaimer};
///
/// let (send, sessions) = mpsc::channel::<rcu::Session>();
/// Reclaimer::Custom(Box::new(move |session| drop(send.send(session)))).install();
///
/// rcu::retire(vec![1, 2, 3]);
/// sessions.recv().unwrap().run();
/// assert_eq!(rcu::Domain::global().pending().callbacks, 0);
/// ```
#[derive(Debug)]
pub struct Session(());

impl Session {
    /// Runs it: looks at all domains every few milliseconds, frees what can be freed, sleeps in
    /// between. Returns when nothing is left to do.
    ///
    /// # Examples
    ///
    /// ```
    /// use stillpoint::rcu::Reclaimer;
    /// Reclaimer::Custom(Box::new(|session| {
    ///     std::thread::spawn(move || session.run());
    /// }))
    /// .install();
    /// ```
    pub fn run(self) {
        watch_exit();
        SESSION.store(RUNNING, Ordering::Relaxed);
        let mut nap = TICK;
        loop {
            // Garbage may wait for its retirers; tasks do not wait for the first look.
            if nap != TICK || !tasks_wait() {
                thread::park_timeout(nap);
            }
            if EXITING.load(Ordering::Relaxed) {
                // The tasks are on their own. Partner: the fence in `Sleepers::put`.
                fence(Ordering::SeqCst);
                wake_tasks();
                break;
            }
            nap = match look() {
                Found::Nothing if end() => break,
                Found::Nothing | Found::Garbage => TICK,
                Found::Tasks if nap >= TICK => SHORT,
                Found::Tasks => (nap + nap / 8).min(TICK - SHORT),
                Found::Readers => (nap * 2).clamp(TICK, LONGEST),
            };
        }
        // The word is as it shall be: idle or another session's, or such that nobody calls any
        // more.
        std::mem::forget(self);
    }
}

impl Drop for Session {
    /// It was not run, or not to its end: whoever retires next, or polls, calls again.
    fn drop(&mut self) {
        SESSION.store(IDLE, Ordering::Release);
        // Partner: the fence in `Sleepers::put`.
        fence(Ordering::SeqCst);
        wake_tasks();
    }
}

/// What a look has found, and left.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    /// Callbacks that wait, or whose retirers are at it.
    Garbage,
    /// Callbacks that wait for readers who stay.
    Readers,
    /// Tasks that wait for a grace period.
    Tasks,
}

/// One look at every domain.
fn look() -> Found {
    registry::all().iter().map(|engine| engine.look_after()).max().unwrap_or(Found::Nothing)
}

/// True if some task waits for a grace period.
fn tasks_wait() -> bool {
    registry::all().iter().any(|engine| engine.grace.sleepers.wanted().is_some())
}

/// Has every waiting task poll again.
fn wake_tasks() {
    registry::all().iter().for_each(|engine| engine.grace.sleepers.wake(Target::EVER));
}

/// Ends the session, unless something was queued meanwhile.
fn end() -> bool {
    SESSION.store(IDLE, Ordering::Relaxed);
    // Partner: the fence in `registry::add`.
    fence(Ordering::SeqCst);
    let all = registry::all();
    for engine in &all {
        // Partners: the light fence in `call_if_idle`, the fence in `Sleepers::put`. Refused: then nothing is ever freed anyway.
        let _ = heavy(engine.tier());
    }
    let clean = all.iter().all(|engine| engine.is_clean());
    // If a retirer has called meanwhile, that is a session of its own.
    clean || SESSION.compare_exchange(IDLE, RUNNING, Ordering::Relaxed, Ordering::Relaxed).is_err()
}

impl Engine {
    fn is_clean(&self) -> bool {
        self.bins().iter().all(Bin::is_empty) && self.grace.sleepers.wanted().is_none()
    }

    /// Runs what can be run in bins that nobody else looks after.
    fn look_after(&self) -> Found {
        let tasks = self.grace.sleepers.wanted();
        let found = match tasks {
            Some(_) => Found::Tasks,
            None if self.bins().iter().all(Bin::is_empty) => Found::Nothing,
            None => Found::Garbage,
        };
        let wanted = tasks.unwrap_or(Target::NOW);
        if self.drain_some(wanted, Bin::try_hold_if_left_alone, |hold| run(self, hold)) {
            found
        } else {
            found.max(Found::Readers)
        }
    }
}

/// Runs what is due, until the process exits.
fn run(engine: &Engine, hold: &Hold<'_>) {
    // Then others hear of it.
    const AT_ONCE: u64 = 64;
    // Asked before each callback: behind `exiting`, the program's own handlers take things down.
    let enough = |ran: u64| ran == AT_ONCE || EXITING.load(Ordering::Relaxed);
    while hold.run_due_and_tell(engine, enough) == AT_ONCE {}
}

/// Calls the reclaimer if it is idle. For whoever has just queued a callback for `engine`.
#[inline]
pub(super) fn call_if_idle(engine: &Engine) {
    // Partner: the heavy fence in `end`.
    light(engine.tier());
    if SESSION.load(Ordering::Relaxed) == IDLE {
        call();
    }
}

/// Calls the reclaimer if it is idle, wakes it if it naps. False if it is disabled.
pub(super) fn hurry() -> bool {
    if EXITING.load(Ordering::Relaxed) {
        return false;
    }
    if SESSION.load(Ordering::Relaxed) == IDLE && !call() {
        return false;
    }
    // SAFETY: from a box that is never freed.
    if let Some(ours) = unsafe { OURS.load(Ordering::Acquire).as_ref() }
        && KIND.load(Ordering::Relaxed) == THREAD
    {
        ours.unpark();
    }
    true
}

/// Asks for a session. False if nobody gives one.
#[cold]
#[inline(never)]
fn call() -> bool {
    let kind = KIND.load(Ordering::Acquire);
    let refused = REFUSED.load(Ordering::Relaxed);
    if kind == DISABLED || EXITING.load(Ordering::Relaxed) || nanos() < refused {
        return false;
    }
    if SESSION.compare_exchange(IDLE, CALLED, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return true;
    }
    // Dropped, and so idle again, if nobody takes it.
    let session = Session(());
    if kind == CUSTOM {
        // SAFETY: from a box that is never freed.
        return match unsafe { START.load(Ordering::Acquire).as_ref() } {
            Some(start) => {
                start(session);
                true
            }
            None => false,
        };
    }
    // SAFETY: from a box that is never freed.
    match unsafe { OURS.load(Ordering::Acquire).as_ref() } {
        Some(ours) => {
            std::mem::forget(session);
            ours.unpark();
            true
        }
        None => spawn(session),
    }
}

/// Starts our thread. False if the system gives none; then retirers go on calling.
fn spawn(session: Session) -> bool {
    // A new thread has its creator's mask: no handler of the program runs in ours.
    let mut spawned = false;
    masked(|| spawned = start());
    if spawned {
        std::mem::forget(session);
    } else {
        REFUSED.store(nanos() + UNTIL_NEXT_TRY, Ordering::Relaxed);
    }
    spawned
}

/// The least stack that our thread asks for, which is what std gives to its threads: their drops
/// run here. It is address space; only what is used is memory. Where the C library gives more, as
/// glibc does, that.
const STACK: usize = 2 << 20;

/// Starts it. Not by `std::thread`: what that starts locks a table of std's when
/// it begins. A fork at that instant would leave the lock behind, for ever, and no thread of std's
/// could begin in the child. Ours does not lock it, for the program's threads, and does not need it.
fn start() -> bool {
    // SAFETY: the attributes and the thread are live locals; the attributes are initialized before they
    // are used, and destroyed after. `main` is of the right type and takes no argument.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        let mut thread: libc::pthread_t = std::mem::zeroed();
        if libc::pthread_attr_init(&mut attributes) != 0 {
            return false;
        }
        let mut stack = 0;
        if libc::pthread_attr_getstacksize(&attributes, &mut stack) != 0 || stack < STACK {
            libc::pthread_attr_setstacksize(&mut attributes, STACK);
        }
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let started = libc::pthread_create(&mut thread, &attributes, main, null_mut()) == 0;
        libc::pthread_attr_destroy(&mut attributes);
        started
    }
}

/// What our thread does. It never ends.
extern "C" fn main(_: *mut c_void) -> *mut c_void {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: names the calling thread by a string that is read at once.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"stillpoint-rcu".as_ptr());
    }
    let me = Box::into_raw(Box::new(thread::current()));
    OURS.store(me, Ordering::Release);
    // Foreign code's panics are caught where it is called. Should one get here, it ends the
    // session, not the process.
    caught(|| Session(()).run());
    loop {
        // First the look: foreign code that was run here may have used up the call's token.
        if SESSION.load(Ordering::Acquire) == CALLED {
            caught(|| Session(()).run());
        } else {
            thread::park();
        }
    }
}

/// Set once `exiting` is, or is about to be, registered: children inherit the registration. No
/// `Once`: a fork while the parent's reclaimer was in it would stop the child's for ever. Set before:
/// a child of that instant goes without rather than wait for a lock of libc's that nobody frees.
static WATCHED: AtomicBool = AtomicBool::new(false);

fn watch_exit() {
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: registers a function without preconditions. If there is no room, callbacks may
        // run while the process exits.
        unsafe { libc::atexit(exiting) };
    }
}

extern "C" fn exiting() {
    EXITING.store(true, Ordering::Relaxed);
}

/// In the child of a fork: the session was another thread's.
pub(super) fn forget_after_fork() {
    OURS.store(null_mut(), Ordering::Relaxed);
    SESSION.store(IDLE, Ordering::Relaxed);
}

//! The seam under the model checker: loom.

pub(crate) use loom::sync::Mutex;
pub(crate) use loom::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

pub(crate) use loom::cell::Cell;

use super::Choice;
use loom::sync::Condvar;

/// Paces a waiter: lets the others run.
#[derive(Debug)]
pub(crate) struct Pace;

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace
    }

    pub(crate) fn wait(&mut self) {
        loom::thread::yield_now();
    }
}

loom::lazy_static! {
    static ref THREADS: AtomicUsize = AtomicUsize::new(0);
}

loom::thread_local! {
    /// Counted per execution: loom's own thread ids differ from one execution to the next, and
    /// a model must repeat itself.
    static TOKEN: usize = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
}

/// A number that no other living thread has.
pub(crate) fn thread_token() -> usize {
    TOKEN.with(|token| *token)
}

/// What the calling thread has of the time that a call may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Endless,
    /// Until it has parked.
    Short,
    Over,
}

loom::thread_local! {
    static TIME: std::cell::Cell<Time> = std::cell::Cell::new(Time::Endless);
}

/// From here on, [`park`] with a deadline wakes by itself, unless the thread is woken before: both
/// are looked at. Then the time is over.
pub(crate) fn shorten_time() {
    TIME.with(|time| time.set(Time::Short));
}

/// Whether it is.
pub(crate) fn is_time_over() -> bool {
    TIME.with(|time| time.get() == Time::Over)
}

/// Time stands still.
pub(crate) fn nanos() -> u64 {
    0
}

/// Stores to a word that others exchange, over whatever is there.
///
/// An exchange here too: the checker would put a plain store between the value that another
/// thread's exchange found and the one that it left, and what was stored would be lost. That cannot be.
pub(crate) fn replace(word: &AtomicU32, by: u32, order: Ordering) {
    word.swap(by, order);
}

struct Parked {
    key: usize,
    token: u64,
    ticket: usize,
    told: Option<usize>,
}

loom::lazy_static! {
    /// One queue for all keys.
    static ref LOT: (Mutex<Vec<Parked>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
}

/// Parks the calling thread unless `still` says that there is nothing to wait for. Returns what it
/// was told by the thread that woke it. Nobody's time runs out, but after [`shorten_time`].
pub(crate) fn park(
    key: *const (),
    token: u64,
    deadline: Option<std::time::Instant>,
    still: impl FnOnce() -> bool,
) -> Option<usize> {
    let mut lot = LOT.0.lock().ok()?;
    if !still() {
        return None;
    }
    let ticket = thread_token();
    lot.push(Parked { key: key.addr(), token, ticket, told: None });
    if deadline.is_some() && TIME.with(std::cell::Cell::get) != Time::Endless {
        drop(lot);
        // As long as others are let run here, the time lasts.
        let mut lot = LOT.0.lock().ok()?;
        TIME.with(|time| time.set(Time::Over));
        let mine = lot.iter().position(|p| p.ticket == ticket)?;
        return lot.remove(mine).told;
    }
    loop {
        lot = LOT.1.wait(lot).ok()?;
        if let Some(mine) = lot.iter().position(|p| p.ticket == ticket && p.told.is_some()) {
            return lot.remove(mine).told;
        }
    }
}

/// Offers the threads parked at `key`, first come first, to `choose`. Then, with the queue still
/// locked, `then` hears whether any are left, and says what those that wake are told.
pub(crate) fn wake(
    key: *const (),
    mut choose: impl FnMut(u64) -> Choice,
    then: impl FnOnce(bool) -> usize,
) {
    let Ok(mut lot) = LOT.0.lock() else { return };
    let mut chosen = Vec::new();
    let mut more = false;
    let mut stopped = false;
    let here = |p: &Parked| p.key == key.addr() && p.told.is_none();
    for parked in lot.iter().filter(|p| here(p)) {
        let choice = if stopped { Choice::Stop } else { choose(parked.token) };
        stopped |= choice == Choice::Stop;
        if choice == Choice::Wake {
            chosen.push(parked.ticket);
        } else {
            more = true;
        }
    }
    let told = then(more);
    for parked in lot.iter_mut().filter(|p| here(p) && chosen.contains(&p.ticket)) {
        parked.told = Some(told);
    }
    LOT.1.notify_all();
}

/// Sleeps until [`rouse`] is called for `word`, unless that does not hold `value`.
pub(crate) fn doze(word: &AtomicU32, value: u32, _: Option<std::time::Duration>) {
    let key = std::ptr::from_ref(word).cast();
    park(key, 0, None, || word.load(Ordering::Relaxed) == value);
}

/// Wakes who [dozes](doze).
pub(crate) fn rouse(word: &AtomicU32) {
    wake(std::ptr::from_ref(word).cast(), |_| Choice::Wake, |_| 0);
}

/// Nobody spins: the others are let run.
#[derive(Debug)]
pub(crate) struct SpinWait;

impl SpinWait {
    pub(crate) fn new() -> SpinWait {
        SpinWait
    }

    pub(crate) fn spin(&mut self) -> bool {
        false
    }

    pub(crate) fn reset(&mut self) {}
}

/// Nobody spins: the others are let run.
pub(crate) fn pause(_: u32) {
    loom::thread::yield_now();
}

/// Looks once, behind the others.
pub(crate) fn spin_while(word: &AtomicU32, _: u32, _: u32) -> u32 {
    word.load(Ordering::Acquire)
}

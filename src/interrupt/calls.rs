//! The calls that no kernel makes again behind a handler. See [`attempt`](super::Flag) for how they
//! are made in a section, and [`masked`] for how without.

use super::deadline::Deadline;
use super::flag::Made;
use super::{Error, Flag};
use crate::rseq::syscall::Call;
use crate::sync::AtomicU32;
use std::ffi::{c_int, c_long, c_short};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// A futex is looked at so often where nothing better is to be had.
const SLICE: Duration = Duration::from_millis(10);

/// What a call returned, unless it is to be made again.
pub(super) fn outcome(result: isize) -> Result<Option<usize>, Error> {
    match usize::try_from(result) {
        Ok(n) => Ok(Some(n)),
        Err(_) if result == -(libc::EINTR as isize) => Ok(None),
        Err(_) => Err(Error::Io(io::Error::from_raw_os_error(-result as i32))),
    }
}

/// As the kernel returns it: an error is minus its number.
fn raw(result: isize) -> isize {
    if result >= 0 {
        result
    } else {
        -(io::Error::last_os_error().raw_os_error().unwrap_or(0) as isize)
    }
}

/// Makes a call that takes a mask of signals, unless the flag is set. From the test until the
/// kernel has taken the mask no handler runs.
pub(super) fn masked(
    flag: &Flag,
    call: impl FnOnce(*const libc::sigset_t) -> isize,
) -> Result<isize, Error> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set, pthread_sigmask writes the old one; neither can fail
    // with these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = if flag.is_set() {
        Err(Error::Interrupted)
    } else {
        // Before handlers run, and change `errno`.
        Ok(call(before.as_ptr()))
    };
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}

/// A descriptor to [`poll`], and for what.
///
/// # Examples
///
/// ```
/// use stillpoint::interrupt::PollFd;
///
/// let (reader, _writer) = std::io::pipe()?;
/// assert_eq!(PollFd::new(&reader, libc::POLLIN).found(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PollFd<'fd> {
    raw: libc::pollfd,
    descriptor: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> PollFd<'fd> {
    /// To wait for these events, `POLLIN` and others.
    ///
    /// # Examples
    ///
    /// See [`poll`].
    pub fn new(descriptor: &'fd impl AsFd, events: c_short) -> PollFd<'fd> {
        let fd = descriptor.as_fd().as_raw_fd();
        PollFd { raw: libc::pollfd { fd, events, revents: 0 }, descriptor: PhantomData }
    }

    /// The events that were found, `POLLERR` and `POLLHUP` among them.
    ///
    /// # Examples
    ///
    /// See [`poll`].
    pub fn found(&self) -> c_short {
        self.raw.revents
    }
}

impl std::fmt::Debug for PollFd<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let libc::pollfd { fd, events, revents } = self.raw;
        let mut f = f.debug_struct("PollFd");
        f.field("fd", &fd).field("events", &events).field("found", &revents).finish()
    }
}

/// Waits until a descriptor is ready, by `ppoll`. Returns how many are; 0 if the time is over.
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set; those of `ppoll`, but for `EINTR`.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
/// use stillpoint::interrupt::{Flag, PollFd, poll};
///
/// static STOP: Flag = Flag::new();
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"!")?;
/// let mut fds = [PollFd::new(&reader, libc::POLLIN)];
/// assert_eq!(poll(&STOP, &mut fds, Some(Duration::from_secs(1)))?, 1);
/// assert_eq!(fds[0].found(), libc::POLLIN);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn poll(
    flag: &Flag,
    fds: &mut [PollFd<'_>],
    timeout: Option<Duration>,
) -> Result<usize, Error> {
    let deadline = Deadline::behind(timeout);
    let (first, length) = (fds.as_mut_ptr().cast::<libc::pollfd>(), fds.len());
    // The kernel writes to it how much is left.
    let mut left = deadline.left_timespec();
    let at = &raw mut left;
    loop {
        let made = flag.attempt(|| {
            // SAFETY: a live local.
            unsafe { *at = deadline.left_timespec() };
            let arguments = [first as usize, length, at as usize, 0, 0, 0];
            Call { number: libc::SYS_ppoll, arguments }
        });
        let result = match made {
            Made::Set => return Err(Error::Interrupted),
            Made::Done(result) => result,
            Made::Unable => masked(flag, |mask| {
                let left = deadline.left_timespec();
                // SAFETY: a slice of such records, and live locals.
                raw(unsafe { libc::ppoll(first, length as libc::nfds_t, &left, mask) } as isize)
            })?,
        };
        if let Some(ready) = outcome(result)? {
            return Ok(ready);
        }
    }
}

/// Waits for events of an epoll instance, by `epoll_pwait2`, or by `epoll_pwait`, in milliseconds,
/// where there is none (before Linux 5.11). Returns how many there are now at the beginning of
/// `events`; 0 if the time is over.
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set; those of `epoll_pwait2`, but for `EINTR`. `EINVAL` if
/// there is no room for an event.
///
/// # Examples
///
/// ```
/// use std::os::fd::{FromRawFd, OwnedFd};
/// use std::time::Duration;
/// use stillpoint::interrupt::{Flag, epoll_wait};
///
/// static STOP: Flag = Flag::new();
/// // SAFETY: no memory is involved; the descriptor is ours.
/// let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
/// let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
/// assert_eq!(epoll_wait(&STOP, &epoll, &mut events, Some(Duration::from_millis(1)))?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn epoll_wait(
    flag: &Flag,
    epoll: &impl AsFd,
    events: &mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> Result<usize, Error> {
    let deadline = Deadline::behind(timeout);
    let epoll = epoll.as_fd().as_raw_fd();
    let most = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    let events = events.as_mut_ptr();
    let mut left = deadline.left_timespec();
    let at = &raw mut left;
    let mut by_millis = false;
    loop {
        let made = flag.attempt(|| {
            let (number, time) = if by_millis {
                (libc::SYS_epoll_pwait, millis(&deadline) as usize)
            } else {
                // SAFETY: a live local.
                unsafe { *at = deadline.left_timespec() };
                (libc::SYS_epoll_pwait2, at as usize)
            };
            let arguments = [epoll as usize, events as usize, most as usize, time, 0, 0];
            Call { number, arguments }
        });
        let result = match made {
            Made::Set => return Err(Error::Interrupted),
            // Filters of containers have refused what they did not know by EPERM.
            Made::Done(r) if !by_millis && [-libc::ENOSYS, -libc::EPERM].contains(&(r as i32)) => {
                by_millis = true;
                continue;
            }
            Made::Done(result) => result,
            Made::Unable => {
                by_millis = true;
                masked(flag, |mask| {
                    // SAFETY: room for so many events.
                    let n =
                        unsafe { libc::epoll_pwait(epoll, events, most, millis(&deadline), mask) };
                    raw(n as isize)
                })?
            }
        };
        match outcome(result)? {
            // The milliseconds may be fewer than the time.
            Some(0) if !deadline.is_over() => {}
            Some(ready) => return Ok(ready),
            None => {}
        }
    }
}

/// What is left until then, rounded up.
fn millis(deadline: &Deadline) -> c_int {
    c_int::try_from(deadline.left().as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// Waits until it is woken at `word`, while that holds `expected`, by a private futex. True if it
/// was woken, as may happen without reason, or the word holds something else; false if the time is
/// over.
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set. Others only if the system's filters refuse the call.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use std::time::Duration;
/// use stillpoint::interrupt::{Flag, futex_wait};
///
/// static STOP: Flag = Flag::new();
/// let word = AtomicU32::new(7);
/// assert!(futex_wait(&STOP, &word, 8, None)?);
/// # let _ =
/// futex_wait(&STOP, &word, 7, Some(Duration::from_millis(1)))?;
/// # Ok::<(), stillpoint::interrupt::Error>(())
/// ```
pub fn futex_wait(
    flag: &Flag,
    word: &AtomicU32,
    expected: u32,
    timeout: Option<Duration>,
) -> Result<bool, Error> {
    let deadline = Deadline::behind(timeout);
    let mut has_waitv = true;
    loop {
        let result = match flag.attempt(|| wait_call(word, expected, deadline.as_timespec())) {
            Made::Set => return Err(Error::Interrupted),
            Made::Done(result) => result,
            Made::Unable if has_waitv => match wait_for_both(flag, word, expected, &deadline) {
                // The flag's.
                0 => continue,
                result => result,
            },
            Made::Unable => {
                let slice = deadline.at_most(SLICE);
                let result = unarmed(&wait_call(word, expected, slice.as_timespec()));
                let more = result == -(libc::ETIMEDOUT as isize) && !deadline.is_over();
                if more { -(libc::EINTR as isize) } else { result }
            }
        };
        match -result as i32 {
            libc::EAGAIN if flag.is_set() => return Err(Error::Interrupted),
            libc::EAGAIN => return Ok(true),
            libc::ETIMEDOUT => return Ok(false),
            // No futex itself says that.
            libc::ENOSYS | libc::EPERM if has_waitv => has_waitv = false,
            _ => {
                if outcome(result)?.is_some() {
                    return Ok(true);
                }
            }
        }
    }
}

/// With a timeout, always: without, it may be made again by the kernel.
fn wait_call(word: &AtomicU32, expected: u32, until: &libc::timespec) -> Call {
    let how = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [
        word.as_ptr() as usize,
        how as usize,
        expected as usize,
        std::ptr::from_ref(until) as usize,
        0,
        libc::FUTEX_BITSET_MATCH_ANY as u32 as usize,
    ];
    Call { number: libc::SYS_futex, arguments }
}

/// Makes a call in no section.
pub(super) fn unarmed(call: &Call) -> isize {
    let [a, b, c, d, e, f] = call.arguments;
    // SAFETY: as in a section: the functions of this module make calls whose pointers are valid.
    raw(unsafe { libc::syscall(call.number, a, b, c, d, e, f) } as isize)
}

/// `struct futex_waitv`.
#[repr(C)]
struct Waiter {
    expected: u64,
    word: u64,
    flags: u32,
    reserved: u32,
}

/// Waits at a word and at the flag. The kernel tests both when it has put the thread to both
/// queues, so a flag that is set in between is no more overlooked than by a section. 1 if the word
/// was woken.
fn wait_for_both(flag: &Flag, word: &AtomicU32, expected: u32, until: &Deadline) -> isize {
    const U32_PRIVATE: u32 = 2 | libc::FUTEX_PRIVATE_FLAG as u32;
    const SYS_FUTEX_WAITV: c_long = 449;
    let waiter = |word: &AtomicU32, expected: u32| Waiter {
        expected: expected.into(),
        word: word.as_ptr() as u64,
        flags: U32_PRIVATE,
        reserved: 0,
    };
    let waiters = [waiter(&flag.word, 0), waiter(word, expected)];
    let arguments = [
        waiters.as_ptr() as usize,
        waiters.len(),
        0,
        std::ptr::from_ref(until.as_timespec()) as usize,
        libc::CLOCK_MONOTONIC as usize,
        0,
    ];
    unarmed(&Call { number: SYS_FUTEX_WAITV, arguments })
}

/// Waits for so long, by `clock_nanosleep`.
///
/// # Errors
///
/// [`Error::Interrupted`] if the flag is set. Others only if the system's filters refuse the call.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use stillpoint::interrupt::{Flag, sleep};
///
/// static STOP: Flag = Flag::new();
/// sleep(&STOP, Duration::from_millis(1))?;
/// # Ok::<(), stillpoint::interrupt::Error>(())
/// ```
pub fn sleep(flag: &Flag, time: Duration) -> Result<(), Error> {
    let deadline = Deadline::behind(Some(time));
    loop {
        let made = flag.attempt(|| {
            let until = std::ptr::from_ref(deadline.as_timespec()) as usize;
            let clock = libc::CLOCK_MONOTONIC as usize;
            let arguments = [clock, libc::TIMER_ABSTIME as usize, until, 0, 0, 0];
            Call { number: libc::SYS_clock_nanosleep, arguments }
        });
        let result = match made {
            Made::Set => return Err(Error::Interrupted),
            Made::Done(result) => result,
            // The kernel tests the flag when it has put the thread to its queue.
            Made::Unable => match unarmed(&wait_call(&flag.word, 0, deadline.as_timespec())) {
                result if result == -(libc::ETIMEDOUT as isize) => 0,
                0 => -(libc::EINTR as isize),
                result if result == -(libc::EAGAIN as isize) => -(libc::EINTR as isize),
                result => result,
            },
        };
        if outcome(result)?.is_some() {
            return Ok(());
        }
    }
}

//! Stops that come at any time, from a handler: each ends a call that would block for ever, and
//! nothing is called behind it.

#[path = "alarm.rs"]
mod alarm;

use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use stillpoint::interrupt::{self, Error, Flag, PollFd};
use stillpoint::rseq::area::ensure_registered;
use stillpoint::rseq::syscall::{Call, unless};

const SIGNAL: libc::c_int = libc::SIGUSR2;
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(100_000);

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Stops, one a round.
    pub(crate) signals: u64,
    /// Calls that a stop did not end.
    pub(crate) lost: u64,
    /// Calls that ended otherwise.
    pub(crate) other: u64,
    /// Calls that were made behind a stop.
    pub(crate) behind: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { signals, lost, other, behind } = self;
        write!(f, "{signals} stops, {lost} lost, {other} ended otherwise, {behind} calls behind")
    }
}

impl Report {
    pub(crate) fn violations(&self) -> u64 {
        self.lost + self.other + self.behind
    }
}

static FLAG: Flag = Flag::new();
/// The same, for who makes calls without `interrupt`.
static WORD: AtomicU32 = AtomicU32::new(0);
/// An `eventfd`, which counts.
static BELL: AtomicI32 = AtomicI32::new(-1);
static STOPS: AtomicU64 = AtomicU64::new(0);

extern "C" fn stop(_: libc::c_int) {
    STOPS.fetch_add(1, SeqCst);
    FLAG.set();
    WORD.store(1, SeqCst);
    // What was called before is no fault.
    rung();
}

/// How often the bell rang.
fn rung() -> u64 {
    let mut count = 0_u64;
    // SAFETY: a buffer of eight bytes.
    let read = unsafe { libc::read(BELL.load(SeqCst), (&raw mut count).cast(), 8) };
    if read == 8 { count } else { 0 }
}

/// One that nobody knows. (Not of the network: small machines have none.)
pub(crate) fn listener() -> UnixListener {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("stillpoint-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// What blocks for ever.
struct Calls {
    silence: std::io::PipeReader,
    _end: std::io::PipeWriter,
    socket: std::os::unix::net::UnixStream,
    _peer: std::os::unix::net::UnixStream,
    listener: UnixListener,
    epoll: OwnedFd,
    word: AtomicU32,
}

impl Calls {
    const KINDS: u64 = 8;

    fn new() -> Calls {
        let (silence, end) = std::io::pipe().unwrap();
        let (socket, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        // SAFETY: no memory is involved; the descriptor is ours.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(0)) };
        Calls { silence, _end: end, socket, _peer: peer, listener, epoll, word: AtomicU32::new(0) }
    }

    fn make(&self, kind: u64) -> Result<(), Error> {
        let mut buffer = [0; 8];
        let mut events = [libc::epoll_event { events: 0, u64: 0 }];
        match kind {
            0 => interrupt::read(&FLAG, &self.silence, &mut buffer).map(drop),
            1 => interrupt::read(&FLAG, &self.socket, &mut buffer).map(drop),
            2 => interrupt::accept(&FLAG, &self.listener).map(drop),
            3 => interrupt::sleep(&FLAG, FOR_EVER),
            4 => interrupt::futex_wait(&FLAG, &self.word, 0, Some(FOR_EVER)).map(drop),
            5 => interrupt::futex_wait(&FLAG, &self.word, 0, None).map(drop),
            6 => interrupt::epoll_wait(&FLAG, &self.epoll, &mut events, None).map(drop),
            _ => {
                let fds = &mut [PollFd::new(&self.silence, libc::POLLIN)];
                interrupt::poll(&FLAG, fds, None).map(drop)
            }
        }
    }
}

/// Rings until it is forbidden. Returns how often it rang afterwards.
fn ring() -> u64 {
    static ONCE: u64 = 1;
    let arguments = [BELL.load(SeqCst) as usize, (&raw const ONCE) as usize, 8, 0, 0, 0];
    let call = Call { number: libc::SYS_write, arguments };
    while WORD.load(SeqCst) == 0 {
        // SAFETY: writes a word to the `eventfd`.
        unsafe { unless(&WORD, &call) };
    }
    rung()
}

/// A timer whose signals the calling thread gets.
struct Timer(libc::timer_t);

impl Timer {
    fn new() -> Timer {
        let mut timer = std::ptr::null_mut();
        // SAFETY: an all-zero event is valid; what is set asks for a signal, which has a handler,
        // to this thread.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = libc::syscall(libc::SYS_gettid) as libc::c_int;
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        }
        Timer(timer)
    }

    /// One signal, in so many nanoseconds; and if that is lost, another after `again`.
    fn start(&self, nanos: u32, again: Duration) {
        let after = libc::timespec { tv_sec: 0, tv_nsec: nanos.into() };
        let again = libc::timespec { tv_sec: again.as_secs() as i64, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: again, it_value: after };
        // SAFETY: our own timer, a live local.
        unsafe { libc::timer_settime(self.0, 0, &setting, std::ptr::null_mut()) };
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: our own timer, not used any more.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// So many rounds, or until `enough` stops are lost. `patience`: a call that goes on for so long
/// after its stop, whole seconds, goes on for ever.
pub(crate) fn run(rounds: u64, patience: Duration, enough: u64) -> Report {
    alarm::handle(SIGNAL, stop);
    // SAFETY: no memory is involved.
    let bell = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)) };
    BELL.store(bell.as_raw_fd(), SeqCst);
    let has_sections =
        stillpoint::machine().tier() == stillpoint::Tier::Rseq && ensure_registered();
    let (calls, timer) = (Calls::new(), Timer::new());
    let mut report = Report::default();
    for round in 1..=rounds {
        FLAG.clear();
        WORD.store(0, SeqCst);
        // From the beginning of the call, or before, to when it blocks.
        let most = if fastrand::bool() { 2_000 } else { 20_000 };
        let before = STOPS.load(SeqCst);
        timer.start(fastrand::u32(1..most), patience);
        if round % 9 >= 7 && has_sections {
            report.behind += ring();
        } else if !matches!(calls.make(round % 9 % Calls::KINDS), Err(Error::Interrupted)) {
            report.other += 1;
        }
        let stops = STOPS.load(SeqCst) - before;
        report.signals += stops.min(1);
        report.lost += u64::from(stops > 1);
        if report.lost >= enough {
            break;
        }
    }
    report
}

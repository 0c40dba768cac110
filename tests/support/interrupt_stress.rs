//! Stops that come at any time, from a handler: each ends a call that would block for ever, and nothing is
//! called behind it.

#[path = "alarm.rs"]
mod alarm;

use std::ffi::c_long;
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
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
/// The round that has begun; the one that has ended.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

extern "C" fn stop(_: libc::c_int) {
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

/// What blocks for ever.
struct Calls {
    silence: std::io::PipeReader,
    _end: std::io::PipeWriter,
    socket: std::os::unix::net::UnixStream,
    _peer: std::os::unix::net::UnixStream,
    listener: std::net::TcpListener,
    epoll: OwnedFd,
    word: AtomicU32,
}

impl Calls {
    const KINDS: u64 = 8;

    fn new() -> Calls {
        let (silence, end) = std::io::pipe().unwrap();
        let (socket, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
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

/// So many rounds, or until one is lost. `patience`: who waits for so long waits for ever.
pub(crate) fn run(rounds: u64, patience: Duration) -> Report {
    alarm::handle(SIGNAL, stop);
    // SAFETY: no memory is involved.
    let bell = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)) };
    BELL.store(bell.as_raw_fd(), SeqCst);
    let has_sections =
        stillpoint::machine().tier() == stillpoint::Tier::Rseq && ensure_registered();
    let calls = Calls::new();
    let thread = AtomicI32::new(0);
    let mut report = Report::default();
    std::thread::scope(|threads| {
        let worker = threads.spawn(|| {
            let (mut other, mut behind) = (0, 0);
            // SAFETY: no memory is involved.
            thread.store(unsafe { libc::syscall(libc::SYS_gettid) } as i32, SeqCst);
            for round in 1..=rounds {
                FLAG.clear();
                WORD.store(0, SeqCst);
                BEGUN.store(round, SeqCst);
                if round.is_multiple_of(4) && has_sections {
                    behind += ring();
                } else if !matches!(calls.make(round % Calls::KINDS), Err(Error::Interrupted)) {
                    other += 1;
                }
                ENDED.store(round, SeqCst);
            }
            (other, behind)
        });
        for round in 1..=rounds {
            while BEGUN.load(SeqCst) < round {
                std::hint::spin_loop();
            }
            // From the beginning of the call to when it blocks.
            let most = if fastrand::bool() { 300 } else { 5000 };
            (0..fastrand::u32(0..most)).for_each(|_| std::hint::spin_loop());
            signal(&thread);
            report.signals += 1;
            let mut since = Instant::now();
            while ENDED.load(SeqCst) < round {
                std::hint::spin_loop();
                if since.elapsed() > patience {
                    report.lost += 1;
                    // So that the test ends.
                    signal(&thread);
                    since = Instant::now();
                }
            }
        }
        (report.other, report.behind) = worker.join().unwrap();
    });
    report
}

fn signal(thread: &AtomicI32) {
    let (process, thread) = (std::process::id() as c_long, c_long::from(thread.load(SeqCst)));
    // SAFETY: the signal has a handler, and the thread lives, or its number is nobody's.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL) };
}

//! A stop that comes at any instant is not lost, and nothing is called after it.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "support/injector.rs"]
mod injector;
#[path = "support/interrupt_stress.rs"]
mod stress;
#[allow(dead_code, reason = "tests/abort_points.rs uses the rest")]
#[path = "support/tracer.rs"]
mod tracer;

use std::fs::read_to_string;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::interrupt::{
    Error, Flag, PollFd, accept, epoll_wait, futex_wait, poll, read, sleep,
};

/// Until somebody who waits for nothing is taken for lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than that.
const FOR_EVER: Duration = Duration::from_secs(100_000);
const SHORT: Duration = Duration::from_millis(5);

/// Whether the kernel aborts a section whose call it is about to make again.
fn restarts_abort() -> bool {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.trim().parse::<u32>().ok());
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] < [6, 19]
}

#[test]
fn a_signal_at_every_instruction() {
    for sequence in &injector::SEQUENCES {
        for restart in [false, true] {
            if restart && !restarts_abort() {
                println!("SKIPPED {}: this kernel makes calls again", sequence.name);
                continue;
            }
            let Some(outcome) = injector::inject(sequence, restart, PATIENCE) else { return };
            println!("{}, SA_RESTART: {restart}: {} signals", sequence.name, outcome.signals);
            assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
            assert!(outcome.signals >= 10, "too few: {outcome:?}");
        }
    }
}

/// 100 000 of them, a fifth of which forbid a call that has an effect.
#[test]
fn no_stop_is_lost() {
    let wanted = std::env::var("STILLPOINT_INTERRUPT_ROUNDS").ok();
    let rounds = wanted.map_or(100_000, |s| s.parse().expect("a number of rounds"));
    let report = stress::run(rounds, PATIENCE, 1);
    println!("{report}");
    assert_eq!((report.violations(), report.signals), (0, rounds), "{report}");
}

fn assert_interrupted<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
}

/// Everything there is, each with nothing that would end it.
fn every_call(flag: &Flag, mut check: impl FnMut(&dyn Fn() -> Result<(), Error>)) {
    let (silence, _end) = std::io::pipe().unwrap();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let listener = stress::listener();
    let epoll = epoll();
    let word = AtomicU32::new(7);
    check(&|| read(flag, &silence, &mut [0; 8]).map(drop));
    check(&|| read(flag, &socket, &mut [0; 8]).map(drop));
    check(&|| accept(flag, &listener).map(drop));
    check(&|| poll(flag, &mut [PollFd::new(&silence, libc::POLLIN)], None).map(drop));
    check(&|| poll(flag, &mut [], Some(FOR_EVER)).map(drop));
    check(&|| epoll_wait(flag, &epoll, &mut [event()], None).map(drop));
    check(&|| futex_wait(flag, &word, 7, None).map(drop));
    check(&|| futex_wait(flag, &word, 7, Some(FOR_EVER)).map(drop));
    check(&|| sleep(flag, FOR_EVER));
    check(&|| sleep(flag, Duration::MAX));
    socket.set_nonblocking(true).unwrap();
    listener.set_nonblocking(true).unwrap();
    check(&|| read(flag, &socket, &mut [0; 8]).map(drop));
    check(&|| accept(flag, &listener).map(drop));
}

fn epoll() -> OwnedFd {
    // SAFETY: no memory is involved; the descriptor is ours.
    unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

fn event() -> libc::epoll_event {
    libc::epoll_event { events: libc::EPOLLIN as u32, u64: 3 }
}

#[test]
fn a_flag_that_is_set_forbids_every_call() {
    let flag = Flag::new();
    flag.set();
    every_call(&flag, |call| assert_interrupted(call()));
    // Also those that would not block.
    assert_interrupted(poll(&flag, &mut [], Some(Duration::ZERO)));
    assert_interrupted(sleep(&flag, Duration::ZERO));
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"bytes").unwrap();
    assert_interrupted(read(&flag, &reader, &mut [0; 8]));
    flag.clear();
    assert_eq!(read(&flag, &reader, &mut [0; 8]).unwrap(), 5);
}

/// By a thread that does not know whether they have begun; and threads come and go.
#[test]
fn another_thread_ends_every_call() {
    let flag = Flag::new();
    every_call(&flag, |call| {
        for pause in [0, 0, 50, 2000] {
            flag.clear();
            std::thread::scope(|threads| {
                let workers: Vec<_> = (0..2)
                    .map(|_| {
                        // SAFETY: all that is called may be called from any thread.
                        let call = unsafe { Anywhere::new(call) };
                        let flag = &flag;
                        threads.spawn(move || {
                            let _enlisted = flag.enlist(libc::SIGURG).unwrap();
                            assert_interrupted(call.get()());
                        })
                    })
                    .collect();
                std::thread::sleep(Duration::from_micros(pause));
                flag.set_and_wake();
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            });
        }
    });
    assert!(format!("{flag:?}").contains("is_set: true"));
}

/// A call that is sent to another thread.
struct Anywhere<'c>(&'c dyn Fn() -> Result<(), Error>);

// SAFETY: whoever makes one says so.
unsafe impl Send for Anywhere<'_> {}

impl<'c> Anywhere<'c> {
    unsafe fn new(call: &'c dyn Fn() -> Result<(), Error>) -> Anywhere<'c> {
        Anywhere(call)
    }

    fn get(&self) -> &'c dyn Fn() -> Result<(), Error> {
        self.0
    }
}

#[test]
fn a_signal_that_sets_nothing_interrupts_nothing() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn seen(_: libc::c_int) {
        SEEN.fetch_add(1, SeqCst);
    }
    for flags in [0, libc::SA_RESTART] {
        // SAFETY: an all-zero action is valid, and so is a handler of this type.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = seen as *const () as usize;
            action.sa_flags = flags;
            libc::sigaction(libc::SIGWINCH, &action, std::ptr::null_mut());
        }
        let (ended, flag) = (AtomicU32::new(0), Flag::new());
        std::thread::scope(|threads| {
            // SAFETY: no memory is involved.
            let thread = unsafe { libc::pthread_self() } as usize;
            threads.spawn({
                let ended = &ended;
                move || {
                    while ended.load(SeqCst) == 0 {
                        // SAFETY: the thread waits for this one.
                        unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGWINCH) };
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
            let time = Duration::from_millis(60);
            let (silence, _end) = std::io::pipe().unwrap();
            let word = AtomicU32::new(7);
            let calls: [&dyn Fn() -> bool; 4] = [
                &|| sleep(&flag, time).is_ok(),
                &|| matches!(futex_wait(&flag, &word, 7, Some(time)), Ok(false)),
                &|| {
                    let fds = &mut [PollFd::new(&silence, libc::POLLIN)];
                    matches!(poll(&flag, fds, Some(time)), Ok(0))
                },
                &|| matches!(epoll_wait(&flag, &epoll(), &mut [event()], Some(time)), Ok(0)),
            ];
            for call in calls {
                let (begin, before) = (Instant::now(), SEEN.load(SeqCst));
                let fine = call();
                let (waited, signals) = (begin.elapsed(), SEEN.load(SeqCst) - before);
                ended.store(u32::from(!fine), SeqCst);
                assert!(fine && waited >= time && signals > 0, "{waited:?}, {signals} signals");
            }
            ended.store(1, SeqCst);
        });
    }
}

#[test]
fn calls_do_what_they_are_for() {
    let flag = Flag::new();
    // Sockets, blocking and not, and what is already there.
    let listener = stress::listener();
    for nonblocking in [false, true] {
        listener.set_nonblocking(nonblocking).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let server = UnixStream::from(accept(&flag, &listener).unwrap());
        // SAFETY: no memory is involved.
        let flags = unsafe { libc::fcntl(server.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        server.set_nonblocking(nonblocking).unwrap();
        let mut bytes = [0; 8];
        let later = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            client.write_all(b"later").unwrap();
            client
        });
        assert_eq!(read(&flag, &server, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"later");
        drop(later.join().unwrap());
        assert_eq!(read(&flag, &server, &mut bytes).unwrap(), 0);
    }
    // A file, from where the last one ended.
    let file = std::fs::File::open("/proc/self/status").unwrap();
    let mut bytes = [0; 5];
    assert_eq!(read(&flag, &file, &mut bytes).unwrap(), 5);
    assert_eq!(&bytes, b"Name:");
    assert_ne!(read(&flag, &file, &mut bytes).unwrap(), 0);
    assert_ne!(&bytes, b"Name:");
    let directory = std::fs::File::open("/").unwrap();
    let error = read(&flag, &directory, &mut bytes).unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.raw_os_error() == Some(libc::EISDIR)), "{error:?}");
    assert_eq!(std::io::Error::from(error).raw_os_error(), Some(libc::EISDIR));
    let error = std::io::Error::from(Error::Interrupted);
    assert_ne!(error.kind(), std::io::ErrorKind::Interrupted);
    // Events.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let epoll = epoll();
    let (add, mut wanted) = (libc::EPOLL_CTL_ADD, event());
    // SAFETY: `wanted` is a live local.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), add, reader.as_raw_fd(), &mut wanted) };
    let mut events = [event(); 2];
    assert_eq!(epoll_wait(&flag, &epoll, &mut events, Some(SHORT)).unwrap(), 0);
    writer.write_all(b"!").unwrap();
    assert_eq!(epoll_wait(&flag, &epoll, &mut events, None).unwrap(), 1);
    assert_eq!({ events[0].u64 }, 3);
    assert!(epoll_wait(&flag, &epoll, &mut [], None).is_err());
    // A word.
    let word = AtomicU32::new(7);
    assert!(futex_wait(&flag, &word, 8, None).unwrap());
    assert!(!futex_wait(&flag, &word, 7, Some(SHORT)).unwrap());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(SHORT);
            word.store(8, SeqCst);
            let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: wakes whoever waits at a live word.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, 1) };
        });
        while word.load(SeqCst) == 7 {
            assert!(futex_wait(&flag, &word, 7, Some(FOR_EVER)).unwrap());
        }
    });
}

/// A signal that was blocked is unblocked for as long as the thread is enlisted; and a handler
/// stays.
#[test]
fn enlisting_is_undone() {
    extern "C" fn own(_: libc::c_int) {}
    let flag = Flag::new();
    let handler = own as *const () as usize;
    // SAFETY: a handler, sets that are initialised, and live locals.
    unsafe {
        libc::signal(libc::SIGXCPU, handler);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGXCPU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        let is_blocked = || {
            let mut now: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut now);
            libc::sigismember(&now, libc::SIGXCPU) == 1
        };
        assert!(is_blocked());
        let enlisted = flag.enlist(libc::SIGXCPU).unwrap();
        assert!(!is_blocked());
        // Whichever of two goes first, the other one needs it.
        let other = Flag::new();
        let another = other.enlist(libc::SIGXCPU).unwrap();
        drop(enlisted);
        assert!(!is_blocked());
        drop(another);
        assert!(is_blocked());
        assert_eq!(libc::signal(libc::SIGXCPU, handler), handler);
    }
    // Forgotten ones hurt nobody.
    std::thread::scope(|threads| {
        threads.spawn(|| std::mem::forget(flag.enlist(libc::SIGURG).unwrap()));
    });
    flag.set_and_wake();
    assert!(flag.enlist(libc::SIGSTOP).is_err() && flag.enlist(-1).is_err());
    assert!(flag.enlist(0).is_err() && flag.enlist(1000).is_err());
}

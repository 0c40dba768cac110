//! A holder that is stopped, on another CPU than those who wait.
//!
//! Nothing tells them: no section of theirs is aborted, and their CPU is not the one that the lock
//! names. A stopped process stops with all of its threads, and nobody may trace a thread of its own
//! process: so this same test runs once more in a child, of which one thread is stopped.

use super::cpus::{allowed, restrict};
use super::ptrace::{detach, interrupt, seize};
use super::{Lock, Raw};
use std::hint::spin_loop;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::Duration;

/// Set in the child.
const CHILD: &str = "STILLPOINT_STOPPED_HOLDER";
/// What the child is told when its holder has stopped.
const STOPPED: &str = "stopped";
/// Time to park in. Not measured: an emulated CPU that is not on turn charges its thread all the
/// same.
const SETTLE: Duration = Duration::from_millis(500);
const HELD: Duration = Duration::from_secs(1);
const WAITERS: usize = 8;

/// A holder that a tracer has stopped costs the others no CPU.
pub(crate) fn waiters_of_a_stopped_holder_sleep<R: Raw>() {
    let [theirs, its, ..] = allowed()[..] else {
        return println!("SKIPPED: one CPU, so there is no other for the holder");
    };
    if std::env::var_os(CHILD).is_some() { child::<R>(theirs, its) } else { parent() }
}

/// One thread takes the lock on `its` CPU, and is stopped there; the others wait on `theirs`.
fn child<R: Raw>(theirs: usize, its: usize) {
    let lock = Lock::<R, u32>::new(0);
    let (turns, may_end) = (AtomicU64::new(0), AtomicBool::new(false));
    let arrived = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    let is_stopped = thread::scope(|scope| {
        let (lock, turns, may_end, arrived) = (&lock, &turns, &may_end, &arrived);
        scope.spawn(move || {
            let is_there = restrict(0, &[its]);
            let _guard = lock.lock();
            // SAFETY: no arguments.
            tell.send(unsafe { libc::gettid() }).unwrap();
            while !may_end.load(SeqCst) {
                turns.fetch_add(1, SeqCst);
                spin_loop();
            }
            assert!(is_there);
        });
        println!("\nholder {}", told.recv().unwrap());
        let mut line = String::new();
        if stdin().read_line(&mut line).unwrap() == 0 {
            // The parent has failed, and says why.
            std::process::exit(1);
        }
        let before = turns.load(SeqCst);
        let is_stopped = line.trim_end() == STOPPED;
        if is_stopped {
            for _ in 0..WAITERS {
                scope.spawn(move || {
                    assert!(restrict(0, &[theirs]));
                    arrived.fetch_add(1, SeqCst);
                    *lock.lock() += 1;
                });
            }
            while arrived.load(SeqCst) < WAITERS {
                sleep(Duration::from_millis(1));
            }
            sleep(SETTLE);
            // That of the waiters: nobody else in this process has anything to do.
            let used = process_cpu();
            sleep(HELD);
            let used = process_cpu() - used;
            println!("\ncharged {}", used.as_nanos());
        }
        let turned = turns.load(SeqCst) - before;
        // Whatever comes next, or nobody would ever end.
        may_end.store(true, SeqCst);
        println!("\nturned {turned}");
        is_stopped
    });
    assert_eq!(lock.into_inner(), if is_stopped { WAITERS as u32 } else { 0 });
}

/// Stops the holder, and judges.
fn parent() {
    let test = thread::current().name().expect("a test's thread has its name").to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut number = |what: &str| -> u64 {
        let found = from.find_map(|line| line.strip_prefix(what)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("the child of {test} never said {what:?}"))
    };
    let holder = number("holder ") as libc::pid_t;
    let refused = [libc::EPERM, libc::EACCES, libc::ENOSYS];
    let is_stopped = match seize(holder) {
        Ok(()) => true,
        Err(e) if e.raw_os_error().is_some_and(|number| refused.contains(&number)) => {
            println!("SKIPPED: ptrace is not allowed: {e}");
            false
        }
        Err(e) => panic!("{e}"),
    };
    if is_stopped {
        interrupt(holder);
    }
    writeln!(to, "{}", if is_stopped { STOPPED } else { "not stopped" }).unwrap();
    if is_stopped {
        let charged = Duration::from_nanos(number("charged "));
        let turned = number("turned ");
        detach(holder);
        println!("{WAITERS} waiters, {HELD:?}: charged {charged:?}");
        assert_eq!(turned, 0, "the holder ran meanwhile");
        // Much more than threads are charged that sleep; less than one that spins gets of a CPU that
        // others want, too.
        assert!(charged < HELD / 50, "waiters spin: {charged:?}");
    }
    assert!(child.wait().unwrap().success());
}

/// CPU time of all threads of this process.
fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

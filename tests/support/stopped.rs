//! A reader that is stopped in the middle of its section, by a tracer, while others write.

use super::ptrace::{detach, interrupt, request, seize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;
use stillpoint::rcu::{Domain, SnapshotCell};
use stillpoint::rseq::area::{ensure_registered, thread_area};

/// Set in the child.
const CHILD: &str = "STILLPOINT_STOPPED_CHILD";
const WORDS: usize = 512;
const WRITES: u64 = 100_000;
/// More than ever wait: some lists of 256 values of this size for each CPU that the writer comes
/// to, and what a CPU that it has left still has.
const MOST: u64 = 20_000;

static DOMAIN: Domain = Domain::new();
static CELL: SnapshotCell<[u64; WORDS], &Domain> = SnapshotCell::new_in([0; WORDS], &DOMAIN);

/// Unregisters the calling thread's area. False if it was not registered.
pub(crate) fn unregister() -> bool {
    const UNREGISTER: libc::c_int = 1;
    const SIGNATURE: u32 = if cfg!(target_arch = "aarch64") { 0xd428_bc00 } else { 0x5305_3053 };
    let Ok(registration) = stillpoint::machine().registration() else { return false };
    if !ensure_registered() {
        return false;
    }
    let (area, length) = (thread_area(), registration.length);
    // SAFETY: this thread's area, as it was registered; it lives as long as the thread.
    unsafe { libc::syscall(libc::SYS_rseq, area, length, UNREGISTER, SIGNATURE) == 0 }
}

/// True if the calling thread cannot run sequences.
pub(crate) fn is_unregistered() -> bool {
    !ensure_registered()
}

/// What the child does: writes when it is told to, beside a reader.
pub(crate) fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    static READS: AtomicU64 = AtomicU64::new(0);
    CELL.set([1; WORDS]);
    let (to, from) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        ensure_registered();
        // SAFETY: no preconditions.
        to.send((unsafe { libc::syscall(libc::SYS_gettid) }, thread_area().addr())).unwrap();
        while !STOP.load(SeqCst) {
            let words = CELL.get();
            assert_eq!(words, [words[0]; WORDS]);
            READS.fetch_add(1, SeqCst);
        }
    });
    let (thread, area) = from.recv().unwrap();
    println!("\nreader {thread} {area}");
    let mut lines = std::io::stdin().lines();
    let mut told = |what: &str| assert_eq!(lines.next().unwrap().unwrap(), what);
    told("write");
    let before = READS.load(SeqCst);
    let mut most = 0;
    for n in 0..WRITES {
        CELL.set([n; WORDS]);
        if n % 64 == 0 {
            most = most.max(DOMAIN.pending().callbacks);
        }
    }
    DOMAIN.barrier();
    println!("\nwritten {most} {}", READS.load(SeqCst) - before);
    told("end");
    STOP.store(true, SeqCst);
    reader.join().unwrap();
    assert!(READS.load(SeqCst) > before, "it went on");
    assert_eq!(DOMAIN.pending().callbacks, 0);
    println!("\ndone");
}

/// The instruction a stopped thread is at.
fn instruction(thread: libc::pid_t) -> u64 {
    const NT_PRSTATUS: usize = 1;
    // SAFETY: all-zero registers are valid, and overwritten.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let mut vector = libc::iovec {
        iov_base: (&raw mut registers).cast(),
        iov_len: size_of::<libc::user_regs_struct>(),
    };
    let vector = (&raw mut vector).expose_provenance();
    request(libc::PTRACE_GETREGSET as _, thread, NT_PRSTATUS, vector).unwrap();
    #[cfg(target_arch = "x86_64")]
    return registers.rip;
    #[cfg(target_arch = "aarch64")]
    return registers.pc;
}

/// Stops the thread in its section, if that comes about within some thousand attempts.
fn stop_inside(thread: libc::pid_t, area: usize) -> bool {
    for attempt in 0..5000 {
        interrupt(thread);
        let peek = |at: usize| request(libc::PTRACE_PEEKDATA as _, thread, at, 0).unwrap();
        let descriptor = peek(area + 8) as usize;
        if descriptor != 0 {
            let (start, length) = (peek(descriptor + 8), peek(descriptor + 16));
            let inside = instruction(thread).wrapping_sub(start);
            if 0 < inside && inside < length {
                println!("stopped {inside} bytes into its section, attempt {attempt}");
                return true;
            }
        }
        request(libc::PTRACE_CONT as _, thread, 0, 0).unwrap();
        std::thread::sleep(Duration::from_micros(50));
    }
    false
}

/// Runs the child, stops its reader, has it write.
pub(crate) fn parent(test: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = |what: &str| -> Vec<u64> {
        let line = from.by_ref().map(Result::unwrap).find(|line| line.starts_with(what));
        let line = line.unwrap_or_else(|| panic!("the child never said {what:?}"));
        line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect()
    };
    let reader = line("reader ");
    let (thread, area) = (reader[0] as libc::pid_t, reader[1] as usize);
    let stopped = match seize(thread) {
        Ok(()) => stop_inside(thread, area),
        Err(e) => {
            println!("SKIPPED: ptrace is not allowed: {e}");
            false
        }
    };
    writeln!(to, "write").unwrap();
    let written = line("written ");
    println!("{WRITES} values written, at most {} waited", written[0]);
    if stopped {
        assert_eq!(written[1], 0, "it was not stopped");
        assert!(written[0] < MOST, "{} values waited", written[0]);
        detach(thread);
    } else {
        println!("SKIPPED: the reader was not stopped inside its section");
    }
    writeln!(to, "end").unwrap();
    line("done");
    assert!(child.wait().unwrap().success());
}

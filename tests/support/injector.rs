//! A signal at every instruction of a section that ends with a system call.
//!
//! As in `tracer.rs` a parent stops a child everywhere; what it does there is to send a signal,
//! whose handler forbids the call. The call that is tried either has an effect, which must not
//! show, or blocks for ever, which it must not. At last the signal comes while the call blocks.

use super::tracer::{Child, Descriptor, LONGEST, remember_planted, stops};
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stillpoint::rseq::area::ensure_registered;
use stillpoint::rseq::syscall::{Call, armed, unless};

const SIGNAL: libc::c_int = libc::SIGUSR1;
/// What the child says of a call that was not made.
const NOT_MADE: u64 = u64::MAX;
/// What is in the slot: the call is being made; the handler has forbidden it.
const ARMED: usize = 7;
const FORBIDDEN: usize = 8;

/// What parent and child share.
#[repr(C)]
pub(crate) struct Stage {
    flag: AtomicU32,
    slot: AtomicUsize,
    /// Counts writes. Nonblocking for the parent's sake.
    bell: libc::c_int,
    /// Nothing will ever be there.
    silence: libc::c_int,
    /// Whether the call that is tried is one that blocks.
    blocks: AtomicU32,
    result: AtomicU64,
    descriptor: AtomicPtr<Descriptor>,
}

/// One sequence under test.
pub(crate) struct Sequence {
    pub(crate) name: &'static str,
    /// One attempt, in a function of its own, so that its code can be found.
    attempt: extern "C" fn(&Stage) -> u64,
}

pub(crate) const SEQUENCES: [Sequence; 2] = [
    Sequence { name: "unless", attempt: attempt_unless },
    Sequence { name: "armed", attempt: attempt_armed },
];

#[inline(never)]
extern "C" fn attempt_unless(stage: &Stage) -> u64 {
    // SAFETY: the stage's call.
    unsafe { unless(&stage.flag, &stage.call()) }.map_or(NOT_MADE, |result| result as u64)
}

#[inline(never)]
extern "C" fn attempt_armed(stage: &Stage) -> u64 {
    // SAFETY: the stage's call; only the handler stores to the slot.
    unsafe { armed(&stage.slot, ARMED, &stage.call()) }.map_or(NOT_MADE, |result| result as u64)
}

/// Where the handler finds it.
static STAGE: AtomicPtr<Stage> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn forbid(_: libc::c_int) {
    // SAFETY: the stage stays mapped.
    let stage = unsafe { &*STAGE.load(SeqCst) };
    stage.flag.store(1, SeqCst);
    stage.slot.store(FORBIDDEN, SeqCst);
}

impl Stage {
    fn map() -> io::Result<&'static Stage> {
        // SAFETY: a fresh shared mapping; all-zero bytes are a valid stage.
        unsafe {
            let (protection, how) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANON);
            let p = libc::mmap(std::ptr::null_mut(), size_of::<Stage>(), protection, how, -1, 0);
            let mut pipe = [0; 2];
            if p == libc::MAP_FAILED || libc::pipe(pipe.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let p = p.cast::<Stage>();
            (*p).silence = pipe[0];
            (*p).bell = libc::eventfd(0, libc::EFD_NONBLOCK);
            STAGE.store(p, SeqCst);
            Ok(&*p)
        }
    }

    fn call(&self) -> Call {
        static ONCE: AtomicU64 = AtomicU64::new(1);
        let (number, fd) = match self.blocks.load(SeqCst) {
            0 => (libc::SYS_write, self.bell),
            _ => (libc::SYS_read, self.silence),
        };
        Call { number, arguments: [fd as usize, ONCE.as_ptr() as usize, 8, 0, 0, 0] }
    }

    fn rung(&self) -> u64 {
        let mut count = 0_u64;
        // SAFETY: a buffer of eight bytes.
        let read = unsafe { libc::read(self.bell, (&raw mut count).cast(), 8) };
        if read == 8 { count } else { 0 }
    }

    fn reset(&self, blocks: bool) {
        self.flag.store(0, SeqCst);
        self.slot.store(0, SeqCst);
        self.blocks.store(blocks.into(), SeqCst);
        self.rung();
    }

    /// What a caller does: tries again until the call is made, or forbidden.
    fn operate(&self, attempt: extern "C" fn(&Stage) -> u64) -> u64 {
        loop {
            // Only what is armed is disarmed: a handler may come in between.
            let _ = self.slot.compare_exchange(ARMED, 0, SeqCst, SeqCst);
            if self.flag.load(SeqCst) != 0 {
                return NOT_MADE;
            }
            let result = attempt(self);
            if result != NOT_MADE {
                return result;
            }
        }
    }

    /// The child: one operation, stop, one operation, stop.
    fn serve(&self, attempt: extern "C" fn(&Stage) -> u64, restart: bool, patience: Duration) -> ! {
        // SAFETY: system calls with valid pointers; the child never returns to the parent's code.
        unsafe {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(99);
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = forbid as *const () as usize;
            action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
            libc::sigaction(SIGNAL, &action, std::ptr::null_mut());
            loop {
                libc::alarm(patience.as_secs() as libc::c_uint);
                let result = self.operate(attempt);
                libc::alarm(0);
                self.result.store(result, SeqCst);
                // A strict kernel clears it behind each system call: once more, and turned away.
                forbid(0);
                attempt(self);
                remember_planted(&self.descriptor);
                libc::raise(libc::SIGSTOP);
            }
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Signals that were sent.
    pub(crate) signals: usize,
    pub(crate) failures: Vec<String>,
}

/// Sends `sequence` signals everywhere; `restart` says whether the handler is one with
/// `SA_RESTART`. `None`, and a printed reason, if this process cannot.
pub(crate) fn inject(sequence: &Sequence, restart: bool, patience: Duration) -> Option<Outcome> {
    if !ensure_registered() {
        println!("SKIPPED signals in {}: rseq is not registered", sequence.name);
        return None;
    }
    match try_inject(sequence, restart, patience) {
        Ok(outcome) => Some(outcome),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            println!("SKIPPED signals in {}: ptrace is not allowed", sequence.name);
            None
        }
        Err(e) => panic!("{}: {e}", sequence.name),
    }
}

fn try_inject(sequence: &Sequence, restart: bool, patience: Duration) -> io::Result<Outcome> {
    let stage = Stage::map()?;
    // SAFETY: the child runs only `serve`, which neither allocates nor takes locks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        stage.serve(sequence.attempt, restart, patience);
    }
    let child = Child { pid };
    if let Err(e) = child.wait() {
        let denied = e.to_string().contains("0x6300");
        return Err(if denied { io::Error::from_raw_os_error(libc::EPERM) } else { e });
    }
    let entry = sequence.attempt as *const () as u64;
    let mut tries = 0..1000;
    let descriptor = loop {
        // SAFETY: planted by the child from the same program text: static data of ours.
        match unsafe { stage.descriptor.load(SeqCst).as_ref() } {
            Some(d) if d.start > entry && d.start - entry < LONGEST => break *d,
            other => assert!(tries.next().is_some(), "{other:x?} is not in {entry:#x}"),
        }
        stage.reset(false);
        child.resume_with(0)?;
    };
    let stops = stops(entry, &descriptor);
    let behind = *stops.last().expect("there are some");
    // The mutants' sections end elsewhere.
    let call = if is_call(behind) { behind } else { stops[stops.len() - 2] };
    let mut outcome = Outcome::default();
    for &at in stops.iter().filter(|&&at| at <= call) {
        for blocks in [false, true] {
            stage.reset(blocks);
            child.run_to(&[at])?;
            outcome.signals += 1;
            let stop = child.resume_with(SIGNAL)?;
            let (result, rung) = (stage.result.load(SeqCst), stage.rung());
            if (stop, result, rung) != (libc::SIGSTOP, NOT_MADE, 0) {
                outcome.failures.push(format!(
                    "{} +{} of +{}: blocks: {blocks}; stopped by {stop}, result {}, rang {rung}",
                    sequence.name,
                    at - entry,
                    call - entry,
                    result as i64,
                ));
            }
            if stop != libc::SIGSTOP {
                return Ok(outcome);
            }
        }
    }
    if call != behind {
        stage.reset(false);
        child.run_to(&[behind])?;
        outcome.signals += 1;
        let stop = child.resume_with(SIGNAL)?;
        if (stop, stage.result.load(SeqCst), stage.rung()) != (libc::SIGSTOP, 8, 1) {
            outcome.failures.push(format!("{}: a call that was made is lost", sequence.name));
        }
    }
    stage.reset(true);
    Child::trace(libc::PTRACE_CONT, pid, 0, 0)?;
    wait_until_blocked(pid, patience)?;
    // SAFETY: our own child, not waited for.
    unsafe { libc::kill(pid, SIGNAL) };
    outcome.signals += 1;
    let stop = child.wait().and_then(|_| child.resume_with(SIGNAL))?;
    let result = stage.result.load(SeqCst);
    let expected = if restart { NOT_MADE } else { -libc::EINTR as i64 as u64 };
    if (stop, result) != (libc::SIGSTOP, expected) {
        let result = result as i64;
        let what = format!("{}: blocked: stopped by {stop}, result {result}", sequence.name);
        outcome.failures.push(what);
    }
    Ok(outcome)
}

/// Whether a system call stands there.
fn is_call(at: u64) -> bool {
    let call: &[u8] =
        if cfg!(target_arch = "x86_64") { &[0x0f, 0x05] } else { &[0x01, 0x00, 0x00, 0xd4] };
    // SAFETY: this program's own text, which goes on.
    unsafe { std::slice::from_raw_parts(at as *const u8, call.len()) == call }
}

/// Waits until the child sleeps, as it does only in the call.
fn wait_until_blocked(pid: libc::pid_t, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(io::Error::other("the child does not block"))
}

//! Abort points, exhaustively.
//!
//! A parent stops a child at every instruction of a sequence, from before the descriptor is
//! planted to behind the section, with a breakpoint. While the child is stopped the parent
//! plays the adversary: it commits on the child's slot, as another thread of that CPU would,
//! may flip the phase, may move the child to another CPU. Then the child goes on. Every count
//! must be there in the end, once, and in the right phase.
//!
//! Pairs of stops (once before the section, once inside) find windows between planting the
//! descriptor and the section: the first stop clears the descriptor, the second then meets
//! a section that runs unprotected.
//!
//! A new sequence joins by one line in [`SEQUENCES`].

#[path = "cpus.rs"]
mod cpus;
#[path = "lists.rs"]
mod lists;

use lists::{Act, Lists};
use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use stillpoint::rseq::area::{ensure_registered, thread_area};
use stillpoint::rseq::part::{self, STRIDE};
use stillpoint::rseq::reader::{Gate, Line, Mark, Phase, enter, leave, leave_here};
use stillpoint::rseq::ring::{self, Record};
use stillpoint::rseq::slot::{SlotLine, Table, claim};
use stillpoint::rseq::syscall::{Call, armed, unless};
use stillpoint::rseq::word::{add, replace};

const CPUS: usize = lists::CPUS;
/// No wrapper around a sequence is longer than this.
pub(crate) const LONGEST: u64 = 4096;
/// Lines the adversary commits on: the child runs on low-numbered CPUs, or the test is weaker.
const INTERFERED: usize = 64;

/// What parent and child share.
#[repr(C)]
struct Arena {
    parts: [Part; CPUS],
    place: part::Place,
    lists: Lists,
    /// What is done there.
    act: Act,
    lines: [Line; CPUS + 1],
    gate: Gate,
    slot_lines: [SlotLine; CPUS],
    table: Table,
    /// The id to claim slots for: that of the current phase.
    slot_gate: AtomicU64,
    /// An `eventfd` that system calls ring, and what was read from it.
    bell: libc::c_int,
    rung: AtomicU64,
    /// What the sections that end with a system call look at.
    flag: AtomicU32,
    slot: AtomicUsize,
    /// Operations the child completed, attempts it made.
    done: AtomicU64,
    attempts: AtomicU64,
    /// Records of its that somebody else has overwritten.
    torn: AtomicU64,
    /// The descriptor the child planted last.
    descriptor: AtomicPtr<Descriptor>,
}

/// A CPU's part; it counts in its first words.
#[repr(C)]
struct Part([AtomicU64; STRIDE / 8]);

/// Words of a record: header, stamp, bytes.
const RECORD: usize = 6;

impl Part {
    /// The record that is published by counting on from `count`.
    fn record(&self, count: u64) -> &[AtomicU64] {
        &self.0[16..].as_chunks::<RECORD>().0[count as usize % 512]
    }
}

/// `struct rseq_cs`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    version: u32,
    flags: u32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    abort: u64,
}

/// One sequence under test.
pub(crate) struct Sequence {
    pub(crate) name: &'static str,
    /// One attempt, in a function of its own, so that its code can be found.
    attempt: extern "C" fn(&Arena) -> bool,
    commits_to: Place,
    /// True if the phase in which it counts is the one current at its commit.
    follows_phase: bool,
}

/// Where a sequence commits.
#[derive(Clone, Copy)]
enum Place {
    /// A counter.
    Word(fn(&Phase) -> &AtomicU64),
    /// A counter in a part.
    InPart,
    /// A list, or an array.
    InList(Act),
    /// A counter in a part, with a record behind it for each count.
    Head,
    /// The first free slot; its count is how many hold the phase's id.
    Slot,
    /// The kernel: the `eventfd` counts calls, of whatever CPU.
    Bell,
}
use Place::{Bell, Head, InList, InPart, Slot, Word};

/// The id that stands for a phase.
fn id(phase: usize) -> u64 {
    phase as u64 + 1
}

/// Of one on a CPU's list or array.
const fn on_list(name: &'static str, act: Act, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: InList(act), follows_phase: false }
}

/// Of one whose last instruction is a system call.
const fn calls(name: &'static str, attempt: extern "C" fn(&Arena) -> bool) -> Sequence {
    Sequence { name, attempt, commits_to: Bell, follows_phase: false }
}

pub(crate) const SEQUENCES: [Sequence; 16] = [
    calls("syscall_unless", attempt_unless),
    calls("syscall_armed", attempt_armed),
    on_list("stack_push", Act::Push, attempt_push),
    on_list("stack_pop", Act::Pop, attempt_pop),
    on_list("stack_take", Act::Take, attempt_take),
    on_list("cache_push", Act::PushItem, attempt_push_item),
    on_list("cache_pop", Act::PopItem, attempt_pop_item),
    Sequence { name: "slot_claim", attempt: attempt_claim, commits_to: Slot, follows_phase: true },
    Sequence {
        name: "reader_enter",
        attempt: attempt_enter,
        commits_to: Word(|p| &p.entered),
        follows_phase: true,
    },
    Sequence {
        name: "reader_leave_here",
        attempt: attempt_leave_here,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
    Sequence {
        name: "reader_leave",
        attempt: attempt_leave,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
    Sequence {
        name: "word_add",
        attempt: attempt_add,
        commits_to: Word(|p| &p.entered),
        follows_phase: false,
    },
    Sequence {
        name: "part_add",
        attempt: attempt_part_add,
        commits_to: InPart,
        follows_phase: false,
    },
    Sequence {
        name: "ring_reserve",
        attempt: attempt_reserve,
        commits_to: Head,
        follows_phase: false,
    },
    Sequence { name: "ring_copy", attempt: attempt_copy, commits_to: Head, follows_phase: false },
    Sequence {
        name: "word_replace",
        attempt: attempt_replace,
        commits_to: Word(|p| &p.left),
        follows_phase: false,
    },
];

#[inline(never)]
extern "C" fn attempt_unless(arena: &Arena) -> bool {
    // SAFETY: writes a word of ours to the `eventfd`.
    unsafe { unless(&arena.flag, &arena.ring()) == Some(8) }
}

#[inline(never)]
extern "C" fn attempt_armed(arena: &Arena) -> bool {
    arena.slot.store(arena.flag.load(SeqCst) as usize, SeqCst);
    // SAFETY: as above; nobody else stores to the slot.
    unsafe { armed(&arena.slot, 7, &arena.ring()) == Some(8) && arena.slot.load(SeqCst) == 7 }
}

#[inline(never)]
extern "C" fn attempt_push(arena: &Arena) -> bool {
    arena.lists.push()
}

#[inline(never)]
extern "C" fn attempt_pop(arena: &Arena) -> bool {
    arena.lists.pop()
}

#[inline(never)]
extern "C" fn attempt_take(arena: &Arena) -> bool {
    arena.lists.take()
}

#[inline(never)]
extern "C" fn attempt_push_item(arena: &Arena) -> bool {
    arena.lists.push_item()
}

#[inline(never)]
extern "C" fn attempt_pop_item(arena: &Arena) -> bool {
    arena.lists.pop_item()
}

#[inline(never)]
extern "C" fn attempt_enter(arena: &Arena) -> bool {
    // SAFETY: the gate describes the arena's lines, which stay mapped.
    unsafe { enter(&arena.gate) }.is_some()
}

#[inline(never)]
extern "C" fn attempt_leave_here(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let phase = NonNull::from(&arena.lines[cpu as usize + 1].phases[0]);
    // SAFETY: the mark is one that `enter` could just have given, on the CPU the thread was on
    // then.
    unsafe { leave_here(Mark { phase, cpu }) }
}

#[inline(never)]
extern "C" fn attempt_leave(arena: &Arena) -> bool {
    // SAFETY: the gate describes the arena's lines, which stay mapped; the mark is one that
    // `enter` could have given.
    unsafe { leave(&arena.gate, Mark { phase: NonNull::from(&arena.lines[1].phases[0]), cpu: 0 }) }
}

#[inline(never)]
extern "C" fn attempt_claim(arena: &Arena) -> bool {
    // SAFETY: the table describes the arena's lines, which stay mapped.
    unsafe { claim(&arena.table, &arena.slot_gate) }.is_some()
}

#[inline(never)]
extern "C" fn attempt_part_add(arena: &Arena) -> bool {
    // SAFETY: the place describes the arena's parts, which stay mapped.
    unsafe { part::add(&arena.place, 0, 1) }
}

#[inline(never)]
extern "C" fn attempt_reserve(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    // SAFETY: a head of that CPU, to which only sequences on it store, and the adversary.
    let done = unsafe { ring::reserve(cpu, &part.0[0], count, count + 1, &record[0], 7, 8) };
    if done {
        arena.check(&record[..2], [7, 8]);
    }
    done
}

#[inline(never)]
extern "C" fn attempt_copy(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let part = &arena.parts[cpu as usize];
    let count = part.0[0].load(SeqCst);
    let record = part.record(count);
    let from = [9_u64, 10, 11];
    let (last, end) = (MaybeUninit::new(12), &raw const record[5]);
    let what = Record { header: 7, stamp: 8, from: from.as_ptr().cast(), whole: 24, last, end };
    // SAFETY: as above; the source is there.
    let done = unsafe { ring::copy(cpu, &part.0[0], count, count + 1, &record[0], &what) };
    if done {
        arena.check(record, [7, 8, 9, 10, 11, 12]);
    }
    done
}

/// The CPU the thread was on a moment ago.
fn cpu_before() -> u32 {
    // SAFETY: the calling thread's own area.
    unsafe { thread_area().cast::<u32>().add(1).read_volatile() }
}

#[inline(never)]
extern "C" fn attempt_add(arena: &Arena) -> bool {
    let cpu = cpu_before();
    // SAFETY: a word of that CPU, to which only this sequence stores, and the adversary.
    unsafe { add(cpu, &arena.lines[cpu as usize + 1].phases[0].entered, 1) }
}

#[inline(never)]
extern "C" fn attempt_replace(arena: &Arena) -> bool {
    let cpu = cpu_before();
    let word = &arena.lines[cpu as usize + 1].phases[0].left;
    // SAFETY: a pointer and this number have one size, and the same bytes are valid for both.
    let word = unsafe { &*word.as_ptr().cast::<AtomicPtr<u8>>() };
    let old = word.load(SeqCst);
    // SAFETY: as in `attempt_add`.
    unsafe { replace(cpu, word, old, old.wrapping_add(1)) }
}

impl Arena {
    fn map(place: Place) -> io::Result<&'static Arena> {
        // SAFETY: a fresh shared mapping; all-zero bytes are a valid arena.
        let arena = unsafe {
            let p = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Arena>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANON,
                -1,
                0,
            );
            if p == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let p = p.cast::<Arena>();
            (&raw mut (*p).act).write(match place {
                InList(act) => act,
                Word(_) | InPart | Head | Slot | Bell => Act::Push,
            });
            (&raw mut (*p).bell).write(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC));
            &*p
        };
        if arena.bell < 0 {
            return Err(io::Error::last_os_error());
        }
        arena.gate.phase.store((&raw const arena.lines[1].phases[0]).cast_mut(), SeqCst);
        arena.gate.slots.store(CPUS as u32, SeqCst);
        arena.table.lines.store((&raw const arena.slot_lines).cast_mut().cast(), SeqCst);
        arena.table.bound.store(CPUS as u32, SeqCst);
        // SAFETY: a part for each of so many CPUs, which stay mapped.
        unsafe {
            arena.place.set((&raw const arena.parts).cast_mut().cast());
            arena.place.open(CPUS as u32);
            arena.lists.open();
        }
        arena.slot_gate.store(id(0), SeqCst);
        arena.reset();
        Ok(arena)
    }

    /// The system call that rings.
    fn ring(&self) -> Call {
        static ONCE: u64 = 1;
        let arguments = [self.bell as usize, (&raw const ONCE) as usize, 8, 0, 0, 0];
        Call { number: libc::SYS_write, arguments }
    }

    /// How often it rang.
    fn rung(&self) -> u64 {
        let mut new = 0_u64;
        // SAFETY: a buffer of eight bytes.
        let read = unsafe { libc::read(self.bell, (&raw mut new).cast(), 8) };
        self.rung.fetch_add(if read == 8 { new } else { 0 }, SeqCst) + new
    }

    fn phase(&self) -> usize {
        usize::from(self.gate.phase.load(SeqCst).cast_const() != &raw const self.lines[1].phases[0])
    }

    fn flip(&self) {
        let other = 1 - self.phase();
        self.gate.phase.store((&raw const self.lines[1].phases[other]).cast_mut(), SeqCst);
        self.slot_gate.store(id(other), SeqCst);
    }

    /// Frees all slots but the first two, which readers of another lock have: so a claim goes
    /// through each of its instructions.
    fn reset(&self) {
        self.lists.reset(self.act);
        for line in &self.slot_lines {
            for (at, slot) in line.slots.iter().enumerate() {
                slot.store(if at < 2 { u64::MAX } else { 0 }, SeqCst);
            }
        }
    }

    fn sum(&self, phase: usize, place: Place) -> u64 {
        let line_0 = match place {
            Word(word) => word(&self.lines[0].phases[phase]).load(SeqCst),
            Slot | InPart | InList(_) | Head | Bell => 0,
        };
        line_0 + (0..CPUS).map(|cpu| self.sum_of(cpu, phase, place)).sum::<u64>()
    }

    /// The same on one CPU's line.
    fn sum_of(&self, cpu: usize, phase: usize, place: Place) -> u64 {
        match place {
            Word(word) => word(&self.lines[cpu + 1].phases[phase]).load(SeqCst),
            InPart | Head => self.parts[cpu].0[phase].load(SeqCst),
            InList(act) if phase == 0 => self.lists.count(cpu, act),
            InList(_) => 0,
            Bell if cpu == 0 && phase == 0 => self.rung(),
            Bell => 0,
            Slot => {
                let slots = self.slot_lines[cpu].slots.iter();
                slots.filter(|slot| slot.load(SeqCst) == id(phase)).count() as u64
            }
        }
    }

    /// Commits once on every slot the child may be about to commit on. Returns how often.
    fn interfere(&self, phase: usize, place: Place) -> u64 {
        for cpu in 0..INTERFERED {
            match place {
                Word(word) => {
                    word(&self.lines[cpu + 1].phases[phase]).fetch_add(1, SeqCst);
                }
                InPart => {
                    self.parts[cpu].0[phase].fetch_add(1, SeqCst);
                }
                InList(act) => self.lists.interfere(cpu, act),
                Head => {
                    let count = self.parts[cpu].0[phase].load(SeqCst);
                    for word in self.parts[cpu].record(count) {
                        word.store(u64::MAX, SeqCst);
                    }
                    self.parts[cpu].0[phase].store(count + 1, SeqCst);
                }
                Bell => {
                    let Call { number, arguments: [bell, once, length, ..] } = self.ring();
                    // SAFETY: as the child makes it.
                    unsafe { libc::syscall(number, bell, once, length) };
                }
                Slot => {
                    let mut slots = self.slot_lines[cpu].slots.iter();
                    let free = slots.find(|slot| slot.load(SeqCst) == 0);
                    free.expect("few are taken").store(id(phase), SeqCst);
                }
            }
        }
        INTERFERED as u64
    }

    /// Counts a record that is not as it was written.
    fn check<const N: usize>(&self, record: &[AtomicU64], expected: [u64; N]) {
        if !record.iter().zip(expected).all(|(word, expected)| word.load(SeqCst) == expected) {
            self.torn.fetch_add(1, SeqCst);
        }
    }

    /// The child: one operation, stop, one operation, stop.
    fn serve(&self, sequence: &Sequence) -> ! {
        let attempt = sequence.attempt;
        // SAFETY: system calls without memory; the child never returns to the parent's code.
        unsafe {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(99);
            }
            loop {
                loop {
                    self.attempts.fetch_add(1, SeqCst);
                    if attempt(self) {
                        break;
                    }
                }
                if matches!(sequence.commits_to, Bell) {
                    // A strict kernel clears it behind each system call: once more, and turned
                    // away.
                    self.flag.store(1, SeqCst);
                    attempt(self);
                    self.flag.store(0, SeqCst);
                }
                remember_planted(&self.descriptor);
                self.done.fetch_add(1, SeqCst);
                libc::raise(libc::SIGSTOP);
            }
        }
    }
}

/// Stores the descriptor that the calling thread planted last.
pub(crate) fn remember_planted(to: &AtomicPtr<Descriptor>) {
    // SAFETY: the calling thread's own area.
    let planted = unsafe { thread_area().byte_add(8).cast::<*mut Descriptor>().read_volatile() };
    // A preemption in between clears it; then the last one seen is as good.
    if !planted.is_null() {
        to.store(planted, SeqCst);
    }
}

/// The addresses of a sequence's instructions: the two that plant its descriptor, those of the
/// section, and the one behind it.
pub(crate) fn stops(entry: u64, descriptor: &Descriptor) -> Vec<u64> {
    let code = cpu::instructions(entry, descriptor.start + descriptor.length);
    let first = code.iter().position(|&at| at == descriptor.start);
    code[first.expect("start is an instruction") - 2..].to_vec()
}

/// A stopped child under trace.
pub(crate) struct Child {
    pub(crate) pid: libc::pid_t,
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod cpu {
    pub(crate) const BREAKPOINT: u64 = 0xcc;
    pub(crate) const MASK: u64 = 0xff;
    pub(crate) type Registers = libc::user_regs_struct;
    /// After a breakpoint the instruction pointer is behind it.
    pub(crate) const BEHIND: u64 = 1;
    pub(crate) fn ip(registers: &mut Registers) -> &mut u64 {
        &mut registers.rip
    }
    /// Addresses of the instructions from `from` up to `to`, inclusive.
    pub(crate) fn instructions(from: u64, to: u64) -> Vec<u64> {
        let length = usize::try_from(to - from).unwrap() + 16;
        // SAFETY: this program's own text, readable at least a few bytes beyond a function's
        // middle.
        let code = unsafe { std::slice::from_raw_parts(from as *const u8, length) };
        let mut decoder =
            iced_x86::Decoder::with_ip(64, code, from, iced_x86::DecoderOptions::NONE);
        let mut all = Vec::new();
        while decoder.ip() <= to {
            all.push(decoder.ip());
            assert!(!decoder.decode().is_invalid(), "not code at {:#x}", all[all.len() - 1]);
        }
        all
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod cpu {
    pub(crate) const BREAKPOINT: u64 = 0xd420_0000;
    pub(crate) const MASK: u64 = 0xffff_ffff;
    pub(crate) type Registers = libc::user_regs_struct;
    pub(crate) const BEHIND: u64 = 0;
    pub(crate) fn ip(registers: &mut Registers) -> &mut u64 {
        &mut registers.pc
    }
    pub(crate) fn instructions(from: u64, to: u64) -> Vec<u64> {
        (from..=to).step_by(4).collect()
    }
}

/// What each libc takes for a number of `ptrace`.
#[cfg(not(target_env = "musl"))]
pub(crate) type Request = libc::c_uint;
#[cfg(target_env = "musl")]
pub(crate) type Request = libc::c_int;

impl Child {
    pub(crate) fn trace(
        request: Request,
        pid: libc::pid_t,
        address: u64,
        data: u64,
    ) -> io::Result<u64> {
        // SAFETY: a request on our own stopped child; requests that write to our memory are
        // not made through here.
        let r = unsafe {
            *libc::__errno_location() = 0;
            libc::ptrace(request, pid, address as *mut c_void, data as *mut c_void)
        };
        let error = io::Error::last_os_error();
        if r == -1 && error.raw_os_error() != Some(0) { Err(error) } else { Ok(r as u64) }
    }

    pub(crate) fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: our own child; `status` is a live local.
        if unsafe { libc::waitpid(self.pid, &mut status, 0) } != self.pid {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::other(format!("the child is gone, status {status:#x}")));
        }
        Ok(libc::WSTOPSIG(status))
    }

    fn resume(&self) -> io::Result<i32> {
        self.resume_with(0)
    }

    /// Lets the child go on, with a signal, to its next stop.
    pub(crate) fn resume_with(&self, signal: libc::c_int) -> io::Result<i32> {
        Child::trace(libc::PTRACE_CONT, self.pid, 0, signal as u64)?;
        self.wait()
    }

    fn registers(&self, request: Request, registers: &mut cpu::Registers) -> io::Result<()> {
        const NT_PRSTATUS: usize = 1;
        let mut vector = libc::iovec {
            iov_base: (&raw mut *registers).cast(),
            iov_len: size_of::<cpu::Registers>(),
        };
        // SAFETY: the vector describes a live local of the type the kernel expects.
        let r = unsafe { libc::ptrace(request, self.pid, NT_PRSTATUS, &raw mut vector) };
        if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Lets the child run to `address`, and back up to it.
    pub(crate) fn run_to(&self, address: u64) -> io::Result<()> {
        let text = Child::trace(libc::PTRACE_PEEKTEXT, self.pid, address, 0)?;
        let broken = (text & !cpu::MASK) | cpu::BREAKPOINT;
        Child::trace(libc::PTRACE_POKETEXT, self.pid, address, broken)?;
        let signal = self.resume()?;
        // SAFETY: all-zero registers are valid, and overwritten.
        let mut registers: cpu::Registers = unsafe { std::mem::zeroed() };
        self.registers(libc::PTRACE_GETREGSET, &mut registers)?;
        let ip = *cpu::ip(&mut registers);
        if signal != libc::SIGTRAP || ip != address + cpu::BEHIND {
            return Err(io::Error::other(format!("signal {signal} at {ip:#x}, not {address:#x}")));
        }
        Child::trace(libc::PTRACE_POKETEXT, self.pid, address, text)?;
        *cpu::ip(&mut registers) = address;
        self.registers(libc::PTRACE_SETREGSET, &mut registers)
    }

    /// The CPU number that the child's area shows it.
    fn cpu(&self) -> io::Result<usize> {
        // A forked child's area is where the forking thread's is.
        let area = thread_area() as u64;
        Ok((Child::trace(libc::PTRACE_PEEKDATA, self.pid, area, 0)? >> 32) as usize)
    }

    /// Moves the child to one of `cpus`. If it cannot be moved, the test is weaker.
    fn move_to(&self, cpus: &[usize]) {
        cpus::restrict(self.pid, cpus);
    }
}

/// What the adversary does at a stop, besides committing.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// Where the child is stopped first, if it is a pair.
    before: Option<u64>,
    at: u64,
    migrate: bool,
    flip: bool,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Stops that were tried.
    pub(crate) stops: usize,
    /// Of those, inside the section.
    pub(crate) inside: usize,
    /// Every stop after which a count was lost, doubled, or in the wrong phase.
    pub(crate) failures: Vec<String>,
}

/// Stops `sequence` everywhere. `None`, and a printed reason, if this process cannot.
pub(crate) fn trace(sequence: &Sequence) -> Option<Outcome> {
    if !ensure_registered() {
        println!("SKIPPED abort points of {}: rseq is not registered", sequence.name);
        return None;
    }
    match try_trace(sequence) {
        Ok(outcome) => Some(outcome),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            println!("SKIPPED abort points of {}: ptrace is not allowed", sequence.name);
            None
        }
        Err(e) => panic!("{}: {e}", sequence.name),
    }
}

fn try_trace(sequence: &Sequence) -> io::Result<Outcome> {
    let arena = Arena::map(sequence.commits_to)?;
    // SAFETY: the child runs only `serve`, which neither allocates nor takes locks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        arena.serve(sequence);
    }
    let child = Child { pid };
    if let Err(e) = child.wait() {
        return Err(if e.to_string().contains("0x6300") {
            io::Error::from_raw_os_error(libc::EPERM)
        } else {
            e
        });
    }
    let entry = sequence.attempt as *const () as u64;
    // What the child planted last need not be the sequence's own, if it was preempted since.
    let mut tries = 0..1000;
    let descriptor = loop {
        // SAFETY: planted by the child from the same program text: static data of ours.
        match unsafe { arena.descriptor.load(SeqCst).as_ref() } {
            Some(d) if d.start > entry && d.start - entry < LONGEST => break *d,
            other => assert!(tries.next().is_some(), "{other:x?} is not in {entry:#x}"),
        }
        arena.reset();
        child.resume()?;
    };
    let section = descriptor.start..descriptor.start + descriptor.length;
    let (start, end) = (section.start, section.end);
    let stops = stops(entry, &descriptor);
    let cpus = cpus::allowed();

    let mut outcome = Outcome { stops: 0, inside: 0, failures: Vec::new() };
    for &at in &stops {
        for migrate in [false, true] {
            for flip in [false, true] {
                let pairs = stops.iter().copied().take_while(|&b| b < start && b < at).map(Some);
                for before in std::iter::once(None).chain(pairs) {
                    let stop = Stop { before, at, migrate: migrate && cpus.len() > 1, flip };
                    outcome.stops += 1;
                    outcome.inside += usize::from(section.contains(&at));
                    if let Err(what) = try_stop(&child, arena, sequence, &section, &cpus, stop)? {
                        outcome.failures.push(format!(
                            "{} +{} (section +{}..+{}) {stop:x?}: {what}",
                            sequence.name,
                            at - entry,
                            start - entry,
                            end - entry,
                        ));
                    }
                }
            }
        }
    }
    Ok(outcome)
}

/// One stop. The inner error says what went wrong with the counts.
fn try_stop(
    child: &Child,
    arena: &Arena,
    sequence: &Sequence,
    section: &Range<u64>,
    cpus: &[usize],
    stop: Stop,
) -> io::Result<Result<(), String>> {
    let place = sequence.commits_to;
    arena.reset();
    let sums = || [arena.sum(0, place), arena.sum(1, place)];
    let phase = if sequence.follows_phase { arena.phase() } else { 0 };
    let mut expected = sums();
    if let Some(before) = stop.before {
        child.run_to(before)?;
    }
    child.run_to(stop.at)?;
    let attempts = arena.attempts.load(SeqCst);

    let committed = sums()[phase] != expected[phase];
    expected[phase] += arena.interfere(phase, place);
    let mut lands_in = phase;
    if stop.flip {
        arena.flip();
        if sequence.follows_phase && !committed {
            lands_in = 1 - phase;
        }
    }
    expected[lands_in] += 1;
    let mut lands_on = None;
    if stop.migrate {
        let here = child.cpu()?;
        let there = cpus.iter().copied().find(|&cpu| cpu != here).unwrap_or(here);
        child.move_to(&[there]);
        // The kernel's count is of no CPU.
        if !committed && !matches!(place, Bell) {
            lands_on = Some((there, arena.sum_of(there, lands_in, place) + 1));
        }
    }

    let signal = child.resume()?;
    child.move_to(cpus);
    if signal != libc::SIGSTOP {
        return Err(io::Error::other(format!("signal {signal} instead of the stop")));
    }
    let restarted = arena.attempts.load(SeqCst) != attempts;
    let torn = arena.torn.swap(0, SeqCst) != 0;
    Ok(if sums() != expected {
        Err(format!("counts {:?}, expected {expected:?}", sums()))
    } else if lands_on.is_some_and(|(cpu, n)| arena.sum_of(cpu, lands_in, place) != n) {
        Err("committed on the line of another CPU".to_owned())
    } else if torn {
        Err("published a record that is not its own".to_owned())
    } else if committed && stop.at < section.end {
        Err("committed inside the section".to_owned())
    } else if section.contains(&stop.at) && !restarted {
        Err("not aborted inside the section".to_owned())
    } else if stop.at >= section.end && restarted {
        Err("restarted behind the section".to_owned())
    } else {
        Ok(())
    })
}

//! What the tracer's parent and child share, and what the adversary does to it.

use super::leaves::{Leaves, Read};
use super::lists::{self, Act, Lists};
use super::pages::Pages;
use super::sequences::Sequence;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use stillpoint::rseq::area::thread_area;
use stillpoint::rseq::part::{self, STRIDE};
use stillpoint::rseq::reader::{Gate, Line, Phase};
use stillpoint::rseq::slot::{SlotLine, Table};
use stillpoint::rseq::syscall::Call;

pub(super) const CPUS: usize = lists::CPUS;
/// Lines the adversary commits on: the child runs on low-numbered CPUs, or the test is weaker.
pub(super) const INTERFERED: usize = 64;

/// What parent and child share.
#[repr(C)]
pub(super) struct Arena {
    pub(super) parts: [Part; CPUS],
    pub(super) place: part::Place,
    pub(super) lists: Lists,
    /// What is done there.
    pub(super) act: Act,
    pub(super) leaves: Leaves,
    /// What is read there.
    pub(super) read: Read,
    pub(super) pages: Pages,
    pub(super) lines: [Line; CPUS + 1],
    pub(super) gate: Gate,
    pub(super) slot_lines: [SlotLine; CPUS],
    pub(super) table: Table,
    /// The id to claim slots for: that of the current phase.
    pub(super) slot_gate: AtomicU64,
    /// An `eventfd` that system calls ring, and what was read from it.
    bell: libc::c_int,
    rung: AtomicU64,
    /// What the sections that end with a system call look at.
    pub(super) flag: AtomicU32,
    pub(super) slot: AtomicUsize,
    /// Operations the child completed, attempts it made.
    pub(super) done: AtomicU64,
    pub(super) attempts: AtomicU64,
    /// Records of its that somebody else has overwritten.
    pub(super) torn: AtomicU64,
    /// The descriptor the child planted last.
    pub(super) descriptor: AtomicPtr<Descriptor>,
}

/// A CPU's part; it counts in its first words.
#[repr(C)]
pub(super) struct Part(pub(super) [AtomicU64; STRIDE / 8]);

/// Words of a record: header, stamp, bytes.
const RECORD: usize = 6;

impl Part {
    /// The record that is published by counting on from `count`.
    pub(super) fn record(&self, count: u64) -> &[AtomicU64] {
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
    pub(super) abort: u64,
}

/// Where a sequence commits.
#[derive(Clone, Copy)]
pub(super) enum Place {
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
    /// What is read; of no CPU.
    InLeaf(Read),
    /// A buffer, from the page of a CPU's counter.
    FromPage,
    /// The kernel: the `eventfd` counts calls, of whatever CPU.
    Bell,
}
pub(super) use Place::{Bell, FromPage, Head, InLeaf, InList, InPart, Slot, Word};

/// The id that stands for a phase.
pub(super) fn id(phase: usize) -> u64 {
    phase as u64 + 1
}

impl Arena {
    pub(super) fn map(place: Place) -> io::Result<&'static Arena> {
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
                Word(_) | InPart | Head | Slot | InLeaf(_) | FromPage | Bell => Act::Push,
            });
            (&raw mut (*p).read).write(match place {
                InLeaf(read) => read,
                Word(_) | InPart | Head | Slot | InList(_) | FromPage | Bell => Read::Copy(1),
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
        arena.pages.open();
        arena.slot_gate.store(id(0), SeqCst);
        arena.reset();
        Ok(arena)
    }

    /// The system call that rings.
    pub(super) fn ring(&self) -> Call {
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

    pub(super) fn phase(&self) -> usize {
        usize::from(self.gate.phase.load(SeqCst).cast_const() != &raw const self.lines[1].phases[0])
    }

    pub(super) fn flip(&self) {
        let other = 1 - self.phase();
        self.gate.phase.store((&raw const self.lines[1].phases[other]).cast_mut(), SeqCst);
        self.slot_gate.store(id(other), SeqCst);
    }

    /// Frees all slots but the first two, which readers of another lock have: so a claim goes through
    /// each of its instructions.
    pub(super) fn reset(&self) {
        self.lists.reset(self.act);
        self.leaves.reset(self.read);
        self.pages.reset();
        for line in &self.slot_lines {
            for (at, slot) in line.slots.iter().enumerate() {
                slot.store(if at < 2 { u64::MAX } else { 0 }, SeqCst);
            }
        }
    }

    pub(super) fn sum(&self, phase: usize, place: Place) -> u64 {
        let line_0 = match place {
            Word(word) => word(&self.lines[0].phases[phase]).load(SeqCst),
            Slot | InPart | InList(_) | InLeaf(_) | Head | FromPage | Bell => 0,
        };
        line_0 + (0..CPUS).map(|cpu| self.sum_of(cpu, phase, place)).sum::<u64>()
    }

    /// The same on one CPU's line.
    pub(super) fn sum_of(&self, cpu: usize, phase: usize, place: Place) -> u64 {
        match place {
            Word(word) => word(&self.lines[cpu + 1].phases[phase]).load(SeqCst),
            InPart | Head => self.parts[cpu].0[phase].load(SeqCst),
            InList(act) if phase == 0 => self.lists.count(cpu, act),
            InLeaf(read) if phase == 0 && cpu == 0 => self.leaves.count(read),
            Bell if cpu == 0 && phase == 0 => self.rung(),
            FromPage if phase == 0 => self.pages.count(cpu),
            InList(_) | InLeaf(_) | FromPage | Bell => 0,
            Slot => {
                let slots = self.slot_lines[cpu].slots.iter();
                slots.filter(|slot| slot.load(SeqCst) == id(phase)).count() as u64
            }
        }
    }

    /// Commits once on every slot the child may be about to commit on. Returns how often.
    pub(super) fn interfere(&self, phase: usize, place: Place) -> u64 {
        if let InLeaf(read) = place {
            self.leaves.interfere(read, INTERFERED as u64);
            return INTERFERED as u64;
        }
        if let FromPage = place {
            self.pages.interfere(INTERFERED);
            return INTERFERED as u64;
        }
        for cpu in 0..INTERFERED {
            match place {
                Word(word) => {
                    word(&self.lines[cpu + 1].phases[phase]).fetch_add(1, SeqCst);
                }
                InPart => {
                    self.parts[cpu].0[phase].fetch_add(1, SeqCst);
                }
                InList(act) => self.lists.interfere(cpu, act),
                InLeaf(_) | FromPage => {}
                Bell => {
                    let Call { number, arguments: [bell, once, length, ..] } = self.ring();
                    // SAFETY: as the child makes it.
                    unsafe { libc::syscall(number, bell, once, length) };
                }
                Head => {
                    let count = self.parts[cpu].0[phase].load(SeqCst);
                    for word in self.parts[cpu].record(count) {
                        word.store(u64::MAX, SeqCst);
                    }
                    self.parts[cpu].0[phase].store(count + 1, SeqCst);
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
    pub(super) fn check<const N: usize>(&self, record: &[AtomicU64], expected: [u64; N]) {
        if !record.iter().zip(expected).all(|(word, expected)| word.load(SeqCst) == expected) {
            self.torn.fetch_add(1, SeqCst);
        }
    }

    /// The child: one operation, stop, one operation, stop.
    pub(super) fn serve(&self, sequence: &Sequence) -> ! {
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

//! The engine of a domain: everything that must stay where it is.
//!
//! A [`Domain`](super::Domain) can be moved between two uses. What readers count in, what
//! callbacks hang from, and what a grace period is made of cannot: the reclaimer and the child of
//! a fork come to it from elsewhere. So it lives in a mapping of its own, made on first use, and the
//! domain holds a pointer to it.
//!
//! Mapped, not allocated: readers in signal handlers and inside allocators may be the first to
//! need it, and fresh pages are zero, page-aligned, and placed on the node that touches them.
//!
//! Counted: the domain has one reference, whoever works for it behind its back another one.

use super::bins::Bin;
use super::grace::Grace;
use super::hooks::Hooks;
use super::statistics::Counts;
use crate::machine::{Shape, Tier, shape, spread};
use crate::rseq::reader::{Gate, Line, Phase};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, const_unless_modelled};
use std::sync::atomic::{self, AtomicU64};
use std::time::Duration;

/// What a domain is told when it is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) ceiling: Tier,
    pub(super) name: &'static str,
    pub(super) most_callbacks: u64,
    pub(super) most_bytes: u64,
    pub(super) stall: Duration,
    /// Where the gate is, if that is known when compiling.
    pub(super) gate: Option<&'static Gate>,
}

impl Settings {
    pub(super) const DEFAULT: Settings = Settings {
        ceiling: Tier::Rseq,
        name: "",
        most_callbacks: u64::MAX,
        most_bytes: u64::MAX,
        stall: Duration::from_secs(10),
        gate: None,
    };
}

/// On cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Engine {
    /// What readers load: `own_gate`, or one whose address they know.
    gate: *const Gate,
    own_gate: Apart<Gate>,
    pub(super) name: &'static str,
    shape: Shape,
    /// Replaced in the child of a fork, and only there.
    lines: atomic::AtomicPtr<Line>,
    bins: *const Bin,
    /// How many there are of each.
    length: usize,
    /// The limits, and how long until a grace period has stalled; set at run time too.
    pub(super) most_callbacks: AtomicU64,
    pub(super) most_bytes: AtomicU64,
    pub(super) stall_nanos: AtomicU64,
    pub(super) hooks: Hooks,
    pub(super) grace: Apart<Grace>,
    pub(super) counts: Apart<Counts>,
    /// What all bins together have told to wait: a [`Load`](super::bins).
    pub(super) outstanding: AtomicU64,
    references: AtomicUsize,
    /// The next engine in the list of all.
    pub(super) next: AtomicPtr<Engine>,
    /// No domain has it, nor will: see [`super::registry`].
    pub(super) given_up: atomic::AtomicBool,
}

impl Engine {
    /// A new engine, with one reference, known to nobody.
    pub(super) fn create(settings: &Settings) -> *mut Engine {
        let shape = shape(settings.ceiling);
        // Line 0, and one for each CPU or shard.
        let length = shape.lines() + 1;
        let (Some(lines), Some((engine, bins))) = (memory::lines(length), memory::rest(length))
        else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Engine>());
        };
        // SAFETY: only the address is taken.
        let own_gate = unsafe { &raw const (*engine).own_gate.0 };
        let value = Engine {
            gate: settings.gate.map_or(own_gate, std::ptr::from_ref),
            own_gate: Apart(closed_gate()),
            name: settings.name,
            shape,
            lines: atomic::AtomicPtr::new(lines),
            bins,
            length,
            most_callbacks: AtomicU64::new(settings.most_callbacks),
            most_bytes: AtomicU64::new(settings.most_bytes),
            stall_nanos: AtomicU64::new(nanos_of(settings.stall)),
            hooks: Hooks::new(),
            grace: Apart(Grace::new()),
            counts: Apart(Counts::default()),
            outstanding: AtomicU64::new(0),
            references: AtomicUsize::new(1),
            next: AtomicPtr::new(std::ptr::null_mut()),
            given_up: atomic::AtomicBool::new(false),
        };
        // SAFETY: fresh memory, large enough and aligned for an engine.
        unsafe { engine.write(value) };
        engine
    }

    /// What readers load.
    pub(super) fn gate(&self) -> &Gate {
        // SAFETY: this engine's own, or a static.
        unsafe { &*self.gate }
    }

    /// Lets readers in. Once it is published, and any number of times.
    pub(super) fn open(&self) {
        let (gate, lines) = (self.gate(), self.lines.load(Ordering::Relaxed));
        // Release: the zeroed lines come first. Partner: the readers' load of the phase, on whose
        // address all they do with the lines depends. Others may have flipped it by now, from null.
        let _ = gate.phase.compare_exchange(
            std::ptr::null_mut(),
            first_phase(lines),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if self.shape.tier == Tier::Rseq {
            // Release: after the phase, as the sequences expect.
            gate.slots.store(self.shape.slots, Ordering::Release);
        }
    }

    pub(super) fn tier(&self) -> Tier {
        self.shape.tier
    }

    /// How many CPUs have a line; for the Rseq tier.
    pub(super) fn slots(&self) -> u32 {
        self.shape.slots
    }

    pub(super) fn lines(&self) -> &[Line] {
        // Relaxed: set before the engine was published, or where there is no other thread.
        let lines = self.lines.load(Ordering::Relaxed);
        // SAFETY: made with this length; freed with the engine.
        unsafe { std::slice::from_raw_parts(lines, self.length) }
    }

    pub(super) fn bins(&self) -> &[Bin] {
        // SAFETY: as in `lines`.
        unsafe { std::slice::from_raw_parts(self.bins, self.length) }
    }

    /// The line and bin of those who count atomically: on the Rseq tier number 0, below it a
    /// shard of its own for most threads; any would do.
    pub(super) fn shard(&self) -> usize {
        if self.shape.tier == Tier::Rseq {
            return 0;
        }
        spread(self.length)
    }

    /// Another reference.
    #[cfg(not(stillpoint_loom))]
    pub(super) fn retain(&self) {
        // Relaxed: whoever asks has, or borrows, one already.
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a reference back; the last one frees the engine.
    ///
    /// # Safety
    ///
    /// `engine` came from `create`; the reference is the caller's, and not used again.
    pub(super) unsafe fn release(engine: *mut Engine) {
        // SAFETY: alive as long as the caller's reference is.
        let this = unsafe { &*engine };
        // Acquire and release: everyone's use comes before the end.
        if this.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (lines, bins) = (this.lines.load(Ordering::Relaxed), this.bins.cast_mut());
            let length = this.length;
            // SAFETY: nobody has a reference any more. What was allocated is freed once.
            unsafe {
                std::ptr::drop_in_place(engine);
                memory::free(lines, engine, bins, length);
            }
        }
    }
}

#[cfg(not(stillpoint_loom))]
impl Engine {
    /// In the child of a fork: fresh lines, in which nobody reads. The old ones stay: guards
    /// from before the fork end in them, and nobody looks. If there is no memory, grace periods wait
    /// for readers that are not here.
    pub(super) fn renew_lines(&self) {
        if let Some(lines) = memory::lines(self.length) {
            self.lines.store(lines, Ordering::Relaxed);
            self.gate().phase.store(first_phase(lines), Ordering::Relaxed);
        }
    }
}

const_unless_modelled! {
    /// A gate that turns every sequence away.
    pub(super) const fn closed_gate() -> Gate {
        Gate { phase: AtomicPtr::new(std::ptr::null_mut()), slots: AtomicU32::new(0) }
    }
}

/// What readers enter first: the phase of CPU 0's line.
fn first_phase(lines: *mut Line) -> *mut Phase {
    // SAFETY: there are two lines at least.
    unsafe { &raw mut (*lines.add(1)).phases[0] }
}

/// The longest duration counts as for ever.
pub(super) fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(not(stillpoint_loom))]
mod memory {
    use super::{Bin, Engine, Line};

    /// Fresh zeroed pages.
    fn map<T>(bytes: usize) -> Option<*mut T> {
        // SAFETY: a fresh anonymous mapping touches nobody's memory.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            )
        };
        (p != libc::MAP_FAILED).then(|| p.cast())
    }

    // Lengths are bounded by the CPU ceiling, so sizes are far below isize::MAX.
    const BINS: usize = size_of::<Engine>().next_multiple_of(align_of::<Bin>());

    const fn bytes(length: usize) -> usize {
        BINS + length * size_of::<Bin>()
    }

    /// Zeroed lines.
    pub(super) fn lines(length: usize) -> Option<*mut Line> {
        map(length * size_of::<Line>())
    }

    /// Space for an engine, and zeroed bins behind it.
    pub(super) fn rest(length: usize) -> Option<(*mut Engine, *mut Bin)> {
        let engine: *mut Engine = map(bytes(length))?;
        Some((engine, engine.wrapping_byte_add(BINS).cast()))
    }

    /// # Safety
    ///
    /// They came from `lines` and `rest` with this length and are not used again.
    pub(super) unsafe fn free(lines: *mut Line, engine: *mut Engine, _: *mut Bin, length: usize) {
        // SAFETY: the caller's promise. Lines and bins have nothing to drop.
        unsafe {
            libc::munmap(lines.cast(), length * size_of::<Line>());
            libc::munmap(engine.cast(), bytes(length));
        }
    }
}

#[cfg(stillpoint_loom)]
mod memory {
    use super::{Bin, Engine, Line};
    use std::mem::MaybeUninit;

    fn boxed<T: Default>(length: usize) -> *mut T {
        let all: Box<[T]> = (0..length).map(|_| T::default()).collect();
        Box::into_raw(all).cast()
    }

    pub(super) fn lines(length: usize) -> Option<*mut Line> {
        Some(boxed(length))
    }

    pub(super) fn rest(length: usize) -> Option<(*mut Engine, *mut Bin)> {
        Some((Box::into_raw(Box::<Engine>::new_uninit()).cast(), boxed(length)))
    }

    pub(super) unsafe fn free(
        lines: *mut Line,
        engine: *mut Engine,
        bins: *mut Bin,
        length: usize,
    ) {
        // SAFETY: all of them came from boxes; the engine was dropped in place.
        unsafe {
            drop(Box::from_raw(engine.cast::<MaybeUninit<Engine>>()));
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(lines, length)));
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(bins, length)));
        }
    }
}

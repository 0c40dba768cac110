//! Events, one of each sort on each CPU: opening, reading, closing.
//!
//! # Fork
//!
//! The child inherits the files, whose events are the parent's, but not the mappings of their pages:
//! other memory may be there. The tables that lead to the pages are in memory that the kernel wipes for
//! the child (`MADV_WIPEONFORK`, Linux 4.14), so there its sections are turned away by a bound of 0, at
//! no cost, and everything else sees it there too. Without such memory no pages are mapped.

use super::page::{self, Values};
use super::types::{CpuType, cpu_types};
use super::{Error, Event};
use crate::machine::{Tier, shape};
use crate::rseq::RETRIES;
use crate::rseq::counter::{Head, Raw, Table, UserPage, read};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};

/// `struct perf_event_attr`, its second version.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config_1: u64,
    config_2: u64,
}

const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
/// `read` gives both times behind the count.
const BOTH_TIMES: u64 = 1 | 2;
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// On arm64 in the second configuration word: 64 bits wide; readable by user space.
const ARM_WIDE: u64 = 1;
const ARM_READABLE: u64 = 2;

/// An event on a CPU.
#[derive(Debug)]
struct Counted {
    file: OwnedFd,
    /// Null if its counter cannot be read without a system call.
    page: *const UserPage,
}

/// A CPU with its events.
#[derive(Debug)]
struct Cpu {
    number: u32,
    /// Which of the types.
    kind: usize,
    /// How long the thread has been here.
    clock: Option<OwnedFd>,
    /// `None` for events that this type does not have.
    events: Vec<Option<Counted>>,
}

/// For each event a table of pages, in memory that a fork wipes.
#[derive(Debug)]
struct Tables {
    first: *mut c_void,
    /// Bytes from one to the next, and of all.
    stride: usize,
    length: usize,
    /// Whether the child of a fork finds it empty.
    wiped: bool,
}

impl Tables {
    fn new(events: usize, slots: u32) -> io::Result<Tables> {
        let stride = size_of::<Table>() + slots as usize * size_of::<*const UserPage>();
        let length = (stride * events.max(1)).next_multiple_of(page_size());
        // SAFETY: fresh memory of our own.
        let (first, wiped) = unsafe {
            let (protection, how) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let first = libc::mmap(null_mut(), length, protection, how, -1, 0);
            if first == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            (first, libc::madvise(first, length, libc::MADV_WIPEONFORK) == 0)
        };
        let tables = Tables { first, stride, length, wiped };
        for event in 0..events.max(1) {
            // SAFETY: within the memory, aligned to 8, and nobody else's.
            unsafe { tables.of(event).cast_mut().write(Table::new(slots)) };
        }
        Ok(tables)
    }

    fn of(&self, event: usize) -> *const Table {
        self.first.wrapping_byte_add(event * self.stride).cast_const().cast()
    }

    /// Where the table has the CPU's page.
    fn place(&self, event: usize, cpu: u32) -> *mut *const UserPage {
        self.of(event)
            .wrapping_add(1)
            .cast::<*const UserPage>()
            .wrapping_add(cpu as usize)
            .cast_mut()
    }

    /// True in the child of a fork.
    fn are_wiped(&self) -> bool {
        // SAFETY: the memory is there; the first table's bound is not 0 otherwise.
        unsafe { &*self.of(0) }.bound() == 0
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and in the child of a fork as well.
        unsafe { libc::munmap(self.first, self.length) };
    }
}

/// Events on each CPU.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) events: Vec<Event>,
    pub(super) types: Vec<CpuType>,
    cpus: Vec<Cpu>,
    tables: Tables,
    /// Of everyone who runs on a CPU, instead of one thread.
    whole_cpus: bool,
}

// SAFETY: files, and mappings that are changed by the kernel alone once they are here. Reading the pages
// is for threads on the CPU they belong to, whichever these are.
unsafe impl Send for Set {}
// SAFETY: as above.
unsafe impl Sync for Set {}

impl Set {
    pub(super) fn open(events: &[Event], whole_cpus: bool) -> Result<Set, Error> {
        let slots = crate::machine::decide::decision().slots;
        let online = crate::machine::online().unwrap_or_else(|| (0..slots).collect());
        let tables = Tables::new(events.len(), slots).map_err(Error::Io)?;
        let (types, cpus) = (cpu_types(), Vec::with_capacity(online.len()));
        let mut set = Set { events: events.to_vec(), types, cpus, tables, whole_cpus };
        // The first refusal of each event; it counts if no CPU has the event.
        let mut refusals: Vec<Option<Error>> = events.iter().map(|_| None).collect();
        for number in online.iter().copied().filter(|&cpu| cpu < slots) {
            let of = |kind: &CpuType| kind.cpus.contains(&number);
            let Some(kind) = set.types.iter().position(of) else { continue };
            let wanted = online.len() * (events.len() + usize::from(!whole_cpus));
            let failed = |event, error| Error::of_open(event, whole_cpus, wanted, error);
            // It may have gone offline since.
            let is_gone = |error: &io::Error| error.raw_os_error() == Some(libc::ENODEV);
            let clock = match (!whole_cpus).then(|| set.open_on(number, None, Event::TaskClock)) {
                None => None,
                Some(Ok((clock, _))) => Some(clock),
                Some(Err(error)) if is_gone(&error) => continue,
                Some(Err(error)) => return Err(failed(Event::TaskClock, error)),
            };
            let mut cpu = Cpu { number, kind, clock, events: Vec::with_capacity(events.len()) };
            for (at, &event) in events.iter().enumerate() {
                match set.open_on(number, set.types[kind].unit, event) {
                    Ok((file, readable)) => {
                        let page = if readable { set.map(&file) } else { null() };
                        // SAFETY: within the table, which nobody reads yet.
                        unsafe { set.tables.place(at, number).write(page) };
                        cpu.events.push(Some(Counted { file, page }));
                    }
                    Err(error) => {
                        match failed(event, error) {
                            error @ Error::Absent { .. } => {
                                refusals[at].get_or_insert(error);
                            }
                            // No other CPU would do better. What is open is closed.
                            error => {
                                set.cpus.push(cpu);
                                return Err(error);
                            }
                        }
                        cpu.events.push(None);
                    }
                }
            }
            set.cpus.push(cpu);
        }
        for (at, refusal) in refusals.into_iter().enumerate() {
            if let Some(error) = refusal
                && set.cpus.iter().all(|cpu| cpu.events[at].is_none())
            {
                return Err(error);
            }
        }
        Ok(set)
    }

    /// The event's file, and whether its page is worth mapping.
    fn open_on(&self, cpu: u32, unit: Option<u32>, event: Event) -> io::Result<(OwnedFd, bool)> {
        let mut attributes = Attributes {
            size: size_of::<Attributes>() as u32,
            read_format: BOTH_TIMES,
            ..Attributes::default()
        };
        if !self.whole_cpus && !event.happens_in_kernel() {
            attributes.flags = EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR;
        }
        // Of whole CPUs arm64 lets nobody read.
        let arm = cfg!(target_arch = "aarch64") && event.is_hardware() && !self.whole_cpus;
        let extras: &[u64] = match event {
            Event::Cycles if arm => &[ARM_READABLE | ARM_WIDE, ARM_READABLE, 0],
            _ if arm => &[ARM_READABLE, 0],
            _ => &[0],
        };
        let mut refusal = None;
        for (kind, config) in event.codes(unit) {
            for &extra in extras {
                (attributes.kind, attributes.config) = (kind, config);
                attributes.config_1 = extra;
                match open(&attributes, cpu, self.whole_cpus) {
                    Ok(file) => return Ok((file, event.is_hardware())),
                    Err(error) => _ = refusal.get_or_insert(error),
                }
            }
        }
        Err(refusal.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
    }

    /// Maps the page of an event, if its counter can be read and sections work here.
    fn map(&self, file: &OwnedFd) -> *const UserPage {
        if !self.tables.wiped || shape(Tier::Rseq).tier != Tier::Rseq {
            return null();
        }
        // SAFETY: a fresh mapping of an event's page, which is never shorter than its head.
        unsafe {
            let fd = file.as_raw_fd();
            let (protection, length) = (libc::PROT_READ, page_size());
            let at = libc::mmap(null_mut(), length, protection, libc::MAP_SHARED, fd, 0);
            if at == libc::MAP_FAILED {
                // The user's share of locked memory, as a rule.
                return null();
            }
            if !page::can_be_read(&at.cast::<Head>().read_volatile()) {
                libc::munmap(at, length);
                return null();
            }
            at.cast_const().cast()
        }
    }

    pub(super) fn cpus(&self) -> impl Iterator<Item = (u32, usize)> {
        self.cpus.iter().map(|cpu| (cpu.number, cpu.kind))
    }

    /// Whether some CPU's event can be read without a system call.
    pub(super) fn is_mapped(&self, event: usize) -> bool {
        self.cpus.iter().flat_map(|cpu| cpu.events.get(event)).flatten().any(|e| !e.page.is_null())
    }

    /// The CPU of the calling thread, and its event's values, without a system call.
    #[inline]
    pub(super) fn read_by_page(&self, event: usize) -> Option<(u32, Values)> {
        if event >= self.events.len() {
            return None;
        }
        let table = self.tables.of(event);
        let mut raw = Raw::default();
        for attempt in 0..RETRIES {
            // SAFETY: the table has an address, or null, for each CPU below its bound, which is 0 if a
            // fork has wiped it. Pages live as long as `self`. The kernel names a counter there only if
            // this process may read it.
            if unsafe { read(table, &mut raw) } {
                if raw.is_consistent() {
                    return Some((raw.cpu, page::values(&raw)));
                }
                if raw.head.index == 0 {
                    // Not counted just now; or nobody may read it. Then the page is out of date.
                    return None;
                }
            } else if attempt == 0 && !self.sequences_may_work(event) {
                return None;
            }
        }
        None
    }

    #[cold]
    fn sequences_may_work(&self, event: usize) -> bool {
        self.is_mapped(event) && !self.tables.are_wiped() && registered()
    }

    /// The same by any means.
    pub(super) fn read_here(&self, event: usize) -> Result<(u32, Values, bool), Error> {
        if let Some((cpu, values)) = self.read_by_page(event) {
            return Ok((cpu, values, true));
        }
        if event >= self.events.len() {
            return Err(Error::NoSuchEvent);
        }
        let cpu = crate::current_cpu();
        let known = self.cpus.iter().find(|known| known.number == cpu);
        match known.and_then(|known| known.events[event].as_ref()) {
            Some(counted) => Ok((cpu, self.read_file(&counted.file, cpu)?, false)),
            None if self.tables.are_wiped() => Err(Error::Forked),
            None => Err(Error::NotOnThisCpu { cpu }),
        }
    }

    /// An event's values on a CPU by a system call; on another than the calling thread's this may send
    /// it an interrupt. `None` if that CPU has no such event.
    pub(super) fn read_on(&self, at: usize, event: usize) -> Result<Option<Values>, Error> {
        let cpu = &self.cpus[at];
        let file = cpu.events[event].as_ref().map(|counted| &counted.file);
        file.map(|file| self.read_file(file, cpu.number)).transpose()
    }

    /// How long the thread has been on a CPU, in nanoseconds; of whole CPUs, nothing.
    pub(super) fn clock_on(&self, at: usize) -> Result<u64, Error> {
        let cpu = &self.cpus[at];
        match &cpu.clock {
            Some(clock) => self.read_file(clock, cpu.number).map(|[_, _, running]| running),
            None => Ok(0),
        }
    }

    fn read_file(&self, file: &OwnedFd, cpu: u32) -> Result<Values, Error> {
        if self.tables.are_wiped() {
            return Err(Error::Forked);
        }
        let mut values: Values = [0; 3];
        let size = size_of_val(&values);
        loop {
            // SAFETY: a buffer of that size.
            let n = unsafe { libc::read(file.as_raw_fd(), values.as_mut_ptr().cast(), size) };
            match usize::try_from(n) {
                Ok(n) if n == size => return Ok(values),
                // The event is in no state to count: its CPU has gone, as a rule.
                Ok(_) => return Err(Error::NotOnThisCpu { cpu }),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(Error::Io(error));
                    }
                }
            }
        }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // The child of a fork has the files, but not the mappings.
        if self.tables.are_wiped() {
            return;
        }
        for counted in self.cpus.iter().flat_map(|cpu| &cpu.events).flatten() {
            if !counted.page.is_null() {
                // SAFETY: mapped by us in this process, and nobody reads it any more.
                unsafe { libc::munmap(counted.page.cast_mut().cast(), page_size()) };
            }
        }
    }
}

fn open(attributes: &Attributes, cpu: u32, whole_cpu: bool) -> io::Result<OwnedFd> {
    // All there are, or the calling thread's.
    let process: libc::pid_t = if whole_cpu { -1 } else { 0 };
    let group: libc::c_int = -1;
    // SAFETY: the kernel reads the attributes, as many bytes as they say.
    let file = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attributes),
            process,
            cpu as libc::c_int,
            group,
            CLOSE_ON_EXEC,
        )
    };
    match libc::c_int::try_from(file) {
        // SAFETY: a file that was just opened, and is nobody else's.
        Ok(file @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(stillpoint_sections)]
fn registered() -> bool {
    crate::rseq::area::ensure_registered()
}

#[cfg(not(stillpoint_sections))]
fn registered() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real page is where we think that its words are: the kernel keeps one for any event.
    #[test]
    fn the_layout_is_the_kernels() {
        let Ok(set) = Set::open(&[Event::TaskClock], false) else {
            return println!("SKIPPED: no events");
        };
        let file = &set.cpus[0].events[0].as_ref().unwrap().file;
        // SAFETY: a fresh mapping of an event's page, given back.
        let head = unsafe {
            let (fd, length) = (file.as_raw_fd(), page_size());
            let at = libc::mmap(null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
            assert_ne!(at, libc::MAP_FAILED, "{}", io::Error::last_os_error());
            let head = at.cast::<Head>().read_volatile();
            libc::munmap(at, length);
            head
        };
        println!("{head:x?}");
        // The kernel sets bit 1 and never bit 0. A software event has no counter.
        assert_eq!(head.capabilities & 3, 2);
        assert!(!page::can_be_read(&head) && head.index == 0);
        assert!(head.lock.is_multiple_of(2) && head.lock != 0);
        assert!([80, 96].contains(&head.size), "up to `time_zero`, or `time_mask`");
        if head.capabilities & 1 << 3 != 0 {
            assert!(head.time_mult != 0 && head.time_shift <= 32);
        }
    }
}

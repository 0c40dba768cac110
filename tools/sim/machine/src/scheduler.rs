//! The event loop, and the scheduler of the CPUs.
//!
//! Each CPU has a queue of threads and runs the first for a quantum; then, if others wait, it goes
//! to the end. A thread that is woken goes to its last CPU if that is idle, else to another idle
//! one, of its node if possible, else it queues at its last. A CPU that has nothing to do takes the
//! first in the queue of another, of its node if possible.
//!
//! A thread that is preempted amid something goes on with the rest of it when it runs again. If it
//! waited for a line, it gets the line, and does the access only when it runs: what it wanted to
//! write is not written meanwhile. If it was in a section, which that aborts, it does not wait for
//! the rest: it goes on at once when it runs again, and can ask.

use crate::costs::{Costs, Shape};
use crate::lines::{Kind, Lines, MOST_CPUS};
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};

/// Stack of a simulated thread.
const STACK: usize = 64 << 10;

/// Why a coroutine yields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// It computes for so long.
    Compute(u64),
    /// It accesses the line of that address, when it is resumed.
    Access(usize, Kind),
    /// It reads that word until it is not `value`, or time is up.
    Spin { word: *const AtomicU32, value: u32, turns: u32 },
    /// It is in a queue of the parking lot, and sleeps unless it was woken meanwhile.
    Park,
    /// It lets others run.
    Yield,
}

pub(crate) type ThisYielder = Yielder<(), Request>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On its CPU; its event is pending.
    Runs,
    /// On its CPU, and waits for a line to change.
    Watches,
    Queued,
    Parked,
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Spin {
    word: *const AtomicU32,
    value: u32,
    until: u64,
}

/// Whether a thread is in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    None,
    Runs,
    Aborted,
}

struct Thread {
    /// Not there while it runs.
    coroutine: Option<Coroutine<(), Request, ()>>,
    cpu: usize,
    state: State,
    /// Events of an earlier number are void.
    number: u32,
    /// When what it does ends; what is left of that while it is queued.
    end: u64,
    rest: u64,
    spin: Option<Spin>,
    /// Time for accesses that did not yield.
    debt: u64,
    /// When the last of its stores leaves the buffer.
    buffered_until: u64,
    /// It stores to that address when it is resumed.
    stores: Option<usize>,
    holds: bool,
    section: Section,
    preempted_at: Option<u64>,
    /// What it was told by whoever woke it, if it has been.
    told: Option<usize>,
}

#[derive(Default)]
struct Cpu {
    runs: Option<usize>,
    queue: VecDeque<usize>,
    slice_ends: u64,
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// What the thread does has ended.
    End { thread: usize, number: u32 },
    /// The quantum has.
    Slice { cpu: usize, number: u32 },
    /// The thread that was woken is runnable.
    Wake { thread: usize },
}

/// What the machine saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// When the last thread ended.
    pub nanos: u64,
    /// For how long, in all, threads that had called [`hold`](crate::hold) did not run though they
    /// could.
    pub preempted_holder_nanos: u64,
    /// How often a thread was preempted.
    pub preemptions: u64,
    /// How often a thread parked.
    pub parks: u64,
    /// How often [`broadcast`](crate::broadcast) was called.
    pub broadcasts: u64,
    /// Events.
    pub events: u64,
}

pub(crate) struct Machine {
    pub(crate) shape: Shape,
    pub(crate) costs: Costs,
    pub(crate) now: u64,
    lines: Lines,
    threads: Vec<Thread>,
    cpus: Vec<Cpu>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
    pub(crate) current: usize,
    /// The current thread is in the parking lot, whose lock no other can take: its accesses do not
    /// yield.
    pub(crate) in_lot: bool,
    pub(crate) lot: BTreeMap<usize, VecDeque<(usize, u64)>>,
    report: Report,
}

std::thread_local! {
    static MACHINE: Cell<*mut Machine> = const { Cell::new(std::ptr::null_mut()) };
    static YIELDERS: Cell<*mut Vec<*const ThisYielder>> = const { Cell::new(std::ptr::null_mut()) };
}

/// Runs `f` with the machine that runs the calling coroutine; `None` outside of a simulation.
pub(crate) fn with<R>(f: impl FnOnce(&mut Machine) -> R) -> Option<R> {
    // SAFETY: set while `run` does nothing but to resume coroutines, and there are no threads; `f`
    // does not yield, and does not come back here, since no caller of `with` calls code of others
    // in it.
    MACHINE.with(|machine| unsafe { machine.get().as_mut() }).map(f)
}

/// Yields from the calling coroutine.
pub(crate) fn request(request: Request) {
    let Some(current) = with(|machine| machine.current) else { return };
    // SAFETY: as above; each coroutine has put its yielder there before it ran anything.
    let yielder = unsafe { &*(&*YIELDERS.get())[current] };
    yielder.suspend(request);
}

/// Runs threads, each with its number, on a machine; the first `cpus` of them on a CPU each, and so
/// on.
///
/// # Panics
///
/// If a thread does, or if none can go on though not all have ended.
pub fn run(shape: Shape, costs: Costs, threads: usize, body: impl Fn(usize)) -> Report {
    assert!((1..=MOST_CPUS).contains(&shape.cpus), "1 to {MOST_CPUS} CPUs");
    let caches = shape.nodes * shape.caches_per_node;
    assert!(caches > 0 && shape.cpus.is_multiple_of(caches), "as many CPUs in each node and cache");
    assert!(!crate::is_simulated(), "one simulation at a time");
    let mut yielders = vec![std::ptr::null(); threads];
    let body = &body;
    // SAFETY: the coroutines end, or are dropped, before this function does.
    let body: &'static dyn Fn(usize) = unsafe { std::mem::transmute(body as &dyn Fn(usize)) };
    let make = |number: usize| {
        let stack = DefaultStack::new(STACK).expect("memory for a stack");
        let coroutine = Coroutine::with_stack(stack, move |yielder: &ThisYielder, ()| {
            // SAFETY: set below, and as long as coroutines run.
            unsafe { (&mut *YIELDERS.get())[number] = yielder };
            body(number);
        });
        Thread {
            coroutine: Some(coroutine),
            cpu: 0,
            state: State::Queued,
            number: 0,
            end: 0,
            rest: 0,
            spin: None,
            debt: 0,
            buffered_until: 0,
            stores: None,
            holds: false,
            section: Section::None,
            preempted_at: None,
            told: None,
        }
    };
    let mut machine = Machine {
        shape,
        costs,
        now: 0,
        lines: Lines::new(shape, costs),
        threads: (0..threads).map(make).collect(),
        cpus: (0..shape.cpus).map(|_| Cpu::default()).collect(),
        events: BinaryHeap::new(),
        made: 0,
        current: 0,
        in_lot: false,
        lot: BTreeMap::new(),
        report: Report::default(),
    };
    for number in 0..threads {
        // One node after the other, so that all are filled evenly.
        let (node, each) = (number % shape.nodes, shape.cpus / shape.nodes);
        machine.enqueue(number, node * each + number / shape.nodes % each);
    }
    YIELDERS.set(&mut yielders);
    machine.work();
    YIELDERS.set(std::ptr::null_mut());
    machine.report.nanos = machine.now;
    machine.report
}

impl Machine {
    fn work(&mut self) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            self.now = time;
            self.report.events += 1;
            match event {
                Event::End { thread, number } if self.threads[thread].number == number => {
                    self.ended(thread);
                }
                Event::Slice { cpu, number } if self.cpus[cpu].number == number => {
                    self.preempt(cpu)
                }
                Event::Wake { thread } => self.wake(thread),
                Event::End { .. } | Event::Slice { .. } => {}
            }
        }
        let stuck = self.threads.iter().filter(|thread| thread.state != State::Done).count();
        assert_eq!(stuck, 0, "deadlock: {stuck} threads wait for ever");
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((time, self.made, event)));
    }

    /// What the thread does ends then.
    fn ends_at(&mut self, thread: usize, time: u64) {
        let this = &mut self.threads[thread];
        this.state = State::Runs;
        this.number += 1;
        this.end = time;
        let number = this.number;
        self.at(time, Event::End { thread, number });
    }

    pub(crate) fn access_at(
        &mut self,
        from: u64,
        thread: usize,
        address: usize,
        kind: Kind,
    ) -> u64 {
        self.lines.access(from, self.threads[thread].cpu, address, kind)
    }

    /// An access behind the stores that the thread has made: reads pass them, a store waits in the
    /// buffer until its line is there and those before it are written, an atomic operation waits
    /// for all of them.
    ///
    /// A store to a line that others have asked for before it must not be seen by them: there the
    /// thread waits for its turn, and then stores.
    fn ordered_access(&mut self, from: u64, thread: usize, address: usize, kind: Kind) -> u64 {
        let buffered = self.threads[thread].buffered_until;
        match kind {
            Kind::Read => self.access_at(from, thread, address, kind),
            Kind::Change => self.access_at(from.max(buffered), thread, address, kind),
            Kind::Write => {
                let is_wanted = self.lines.is_wanted(from, address);
                let end = self.access_at(from, thread, address, kind).max(buffered);
                self.threads[thread].buffered_until = end;
                self.lines.not_before(address, end);
                if is_wanted { end } else { from + self.costs.hit }
            }
        }
    }

    fn ended(&mut self, thread: usize) {
        let Some(spin) = self.threads[thread].spin else { return self.resume(thread) };
        let address = spin.word.addr();
        if self.threads[thread].state == State::Watches {
            self.lines.forget(address, thread);
        }
        // SAFETY: the coroutine that spins borrows the word until it is resumed.
        let now = unsafe { &*spin.word }.load(Ordering::Relaxed);
        if now != spin.value || self.now >= spin.until {
            self.threads[thread].spin = None;
            return self.resume(thread);
        }
        self.lines.watch(address, thread);
        if spin.until == u64::MAX {
            self.threads[thread].number += 1;
        } else {
            self.ends_at(thread, spin.until);
        }
        self.threads[thread].state = State::Watches;
    }

    /// Runs the thread's code until it yields.
    fn resume(&mut self, thread: usize) {
        self.current = thread;
        let mut coroutine = self.threads[thread].coroutine.take().expect("runs once at a time");
        MACHINE.set(self);
        let result = coroutine.resume(());
        MACHINE.set(std::ptr::null_mut());
        self.threads[thread].coroutine = Some(coroutine);
        if let Some(address) = self.threads[thread].stores.take() {
            self.tell_watchers(address);
        }
        let from = self.now + std::mem::take(&mut self.threads[thread].debt);
        match result {
            CoroutineResult::Return(()) => {
                self.threads[thread].state = State::Done;
                self.leave_cpu(thread);
            }
            CoroutineResult::Yield(Request::Compute(nanos)) => self.ends_at(thread, from + nanos),
            CoroutineResult::Yield(Request::Access(address, kind)) => {
                self.threads[thread].stores = (kind != Kind::Read).then_some(address);
                let end = self.ordered_access(from, thread, address, kind);
                self.ends_at(thread, end);
            }
            CoroutineResult::Yield(Request::Spin { word, value, turns }) => {
                let until = match turns {
                    u32::MAX => u64::MAX,
                    turns => from + u64::from(turns) * self.costs.pause,
                };
                self.threads[thread].spin = Some(Spin { word, value, until });
                let end = self.access_at(from, thread, word.addr(), Kind::Read);
                self.ends_at(thread, end);
            }
            CoroutineResult::Yield(Request::Park) => {
                if self.threads[thread].told.is_some() {
                    return self.ends_at(thread, from);
                }
                self.report.parks += 1;
                self.threads[thread].state = State::Parked;
                self.threads[thread].number += 1;
                self.leave_cpu(thread);
            }
            CoroutineResult::Yield(Request::Yield) => {
                let cpu = self.threads[thread].cpu;
                self.threads[thread].rest = 0;
                if self.cpus[cpu].queue.is_empty() {
                    return self.ends_at(thread, from + self.costs.call);
                }
                self.threads[thread].number += 1;
                self.threads[thread].state = State::Queued;
                self.leave_cpu(thread);
                self.enqueue(thread, cpu);
            }
        }
    }

    /// The line has changed: those who spin on it read it again.
    fn tell_watchers(&mut self, address: usize) {
        for watcher in self.lines.watchers(address) {
            let Some(spin) = self.threads[watcher].spin else { continue };
            let end = self.access_at(self.now, watcher, spin.word.addr(), Kind::Read);
            self.ends_at(watcher, end);
        }
    }

    // ---- the scheduler ------------------------------------------------------------------------

    fn enqueue(&mut self, thread: usize, cpu: usize) {
        self.threads[thread].state = State::Queued;
        self.threads[thread].cpu = cpu;
        self.cpus[cpu].queue.push_back(thread);
        if self.cpus[cpu].runs.is_none() {
            self.dispatch(cpu);
        } else if self.cpus[cpu].queue.len() == 1 {
            self.arm(cpu);
        }
    }

    /// Others wait: the quantum counts.
    fn arm(&mut self, cpu: usize) {
        self.cpus[cpu].number += 1;
        let (time, number) = (self.cpus[cpu].slice_ends.max(self.now), self.cpus[cpu].number);
        self.at(time, Event::Slice { cpu, number });
    }

    fn leave_cpu(&mut self, thread: usize) {
        let cpu = self.threads[thread].cpu;
        self.cpus[cpu].runs = None;
        self.dispatch(cpu);
    }

    /// Runs the next on an idle CPU.
    fn dispatch(&mut self, cpu: usize) {
        let Some(thread) = self.cpus[cpu].queue.pop_front().or_else(|| self.steal(cpu)) else {
            self.cpus[cpu].number += 1;
            return;
        };
        let begin = self.now + self.costs.switch;
        self.threads[thread].cpu = cpu;
        self.cpus[cpu].runs = Some(thread);
        self.cpus[cpu].slice_ends = begin + self.costs.quantum;
        self.cpus[cpu].number += 1;
        if !self.cpus[cpu].queue.is_empty() {
            self.arm(cpu);
        }
        if let Some(since) = self.threads[thread].preempted_at.take() {
            self.report.preempted_holder_nanos += self.now - since;
        }
        let end = match self.threads[thread].spin {
            Some(spin) => self.access_at(begin, thread, spin.word.addr(), Kind::Read),
            None => begin + std::mem::take(&mut self.threads[thread].rest),
        };
        self.ends_at(thread, end);
    }

    /// The first that waits elsewhere.
    fn steal(&mut self, cpu: usize) -> Option<usize> {
        let node = self.shape.node(cpu);
        let waits = |&other: &usize| !self.cpus[other].queue.is_empty();
        let near = (0..self.cpus.len()).filter(|&other| self.shape.node(other) == node).find(waits);
        let from = near.or_else(|| (0..self.cpus.len()).find(waits))?;
        self.cpus[from].queue.pop_front()
    }

    fn preempt(&mut self, cpu: usize) {
        let Some(thread) = self.cpus[cpu].runs else { return };
        if self.cpus[cpu].queue.is_empty() {
            return;
        }
        self.report.preemptions += 1;
        let this = &mut self.threads[thread];
        match this.spin {
            Some(spin) => self.lines.forget(spin.word.addr(), thread),
            None => this.rest = this.end.saturating_sub(self.now),
        }
        if this.section == Section::Runs {
            // It goes on at the landing.
            (this.section, this.rest) = (Section::Aborted, 0);
        }
        this.number += 1;
        if this.holds {
            this.preempted_at = Some(self.now);
        }
        this.state = State::Queued;
        self.cpus[cpu].queue.push_back(thread);
        self.leave_cpu(thread);
    }

    fn wake(&mut self, thread: usize) {
        if self.threads[thread].state != State::Parked {
            return;
        }
        let last = self.threads[thread].cpu;
        let node = self.shape.node(last);
        let idle = |&cpu: &usize| self.cpus[cpu].runs.is_none();
        let near = (0..self.cpus.len()).filter(|&cpu| self.shape.node(cpu) == node).find(idle);
        let cpu = Some(last).filter(idle).or(near).or_else(|| (0..self.cpus.len()).find(idle));
        self.threads[thread].rest = 0;
        self.enqueue(thread, cpu.unwrap_or(last));
    }

    // ---- what the current thread does -----------------------------------------------------------

    pub(crate) fn current_cpu(&self) -> usize {
        self.threads[self.current].cpu
    }

    /// An access that takes time, but during which nobody else does anything.
    pub(crate) fn access_at_once(&mut self, address: usize, kind: Kind) {
        let from = self.now + self.threads[self.current].debt;
        let end = self.ordered_access(from, self.current, address, kind);
        self.threads[self.current].debt += end - from;
        if kind != Kind::Read {
            // They look when the coroutine yields, behind the store.
            for watcher in self.lines.watchers(address) {
                self.ends_at(watcher, end);
            }
        }
    }

    pub(crate) fn is_hit(&self, address: usize, kind: Kind) -> bool {
        self.lines.is_hit(self.current_cpu(), address, kind)
    }

    pub(crate) fn owe(&mut self, nanos: u64) {
        self.threads[self.current].debt += nanos;
    }

    pub(crate) fn hold(&mut self, holds: bool) {
        self.threads[self.current].holds = holds;
    }

    pub(crate) fn set_section(&mut self, section: Section) {
        self.threads[self.current].section = section;
    }

    pub(crate) fn section(&self) -> Section {
        self.threads[self.current].section
    }

    /// Interrupts all other CPUs that run a thread. How long that takes for who sends.
    pub(crate) fn interrupt_others(&mut self) -> u64 {
        let mut sent = 0;
        for cpu in 0..self.cpus.len() {
            let Some(thread) = self.cpus[cpu].runs.filter(|&thread| thread != self.current) else {
                continue;
            };
            sent += 1;
            let this = &mut self.threads[thread];
            let rest = match this.section {
                Section::Runs => {
                    this.section = Section::Aborted;
                    0
                }
                _ => this.end.saturating_sub(self.now),
            };
            // Who watches a line has nothing to be late for.
            if this.state == State::Runs {
                self.ends_at(thread, self.now + self.costs.interrupt + rest);
            }
        }
        self.report.broadcasts += 1;
        self.costs.call + sent * self.costs.send
    }

    pub(crate) fn take_told(&mut self) -> Option<usize> {
        self.threads[self.current].told.take()
    }

    /// Tells a parked thread, and wakes it.
    pub(crate) fn tell(&mut self, thread: usize, told: usize) {
        self.threads[thread].told = Some(told);
        let time = self.now + self.threads[self.current].debt + self.costs.wake;
        self.at(time, Event::Wake { thread });
    }
}

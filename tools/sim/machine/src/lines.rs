//! Cache lines: who has them, and when they are where they are wanted.
//!
//! A line is in one CPU's cache to be written, or in several to be read. Who wants to write it and
//! has not got it alone waits for the farthest of the copies to go; who wants to read it, for the
//! one who wrote it last. A line serves one writer after the other, in the order of asking: that is
//! what makes locks collapse. Readers hold it up only for as long as the directory is occupied.
//!
//! A store does not keep its thread: it waits in a buffer, behind those before it, until the line
//! is there.

use crate::costs::{Costs, Shape};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a line.
const LINE: usize = 64;
/// Words of a set of CPUs.
const WORDS: usize = 8;

pub(crate) const MOST_CPUS: usize = WORDS * 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    /// An atomic read-modify-write.
    Change,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cpus([u64; WORDS]);

impl Cpus {
    fn of(cpus: impl Iterator<Item = usize>) -> Cpus {
        let mut set = Cpus::default();
        cpus.for_each(|cpu| set.0[cpu / 64] |= 1 << (cpu % 64));
        set
    }

    fn has(&self, cpu: usize) -> bool {
        self.0[cpu / 64] >> (cpu % 64) & 1 != 0
    }

    fn is_within(&self, other: &Cpus) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, others)| mine & !others == 0)
    }
}

#[derive(Debug, Default)]
struct Line {
    /// Who has a copy.
    copies: Cpus,
    /// Who wrote it last.
    writer: Option<usize>,
    /// From when on it can be moved again.
    free_at: u64,
    /// Threads that spin until it changes.
    watchers: Vec<usize>,
}

/// Addresses are spread well enough by a product.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }

    fn write_usize(&mut self, key: usize) {
        self.0 = (key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}

pub(crate) struct Lines {
    costs: Costs,
    lines: HashMap<usize, Line, BuildHasherDefault<Spread>>,
    cache_of: Vec<Cpus>,
    node_of: Vec<Cpus>,
}

impl Lines {
    pub(crate) fn new(shape: Shape, costs: Costs) -> Lines {
        let with = |same: &dyn Fn(usize, usize) -> bool| -> Vec<Cpus> {
            let all = 0..shape.cpus;
            all.clone().map(|cpu| Cpus::of(all.clone().filter(|&c| same(c, cpu)))).collect()
        };
        Lines {
            costs,
            lines: HashMap::default(),
            cache_of: with(&|a, b| shape.cache(a) == shape.cache(b)),
            node_of: with(&|a, b| shape.node(a) == shape.node(b)),
        }
    }

    /// The time it takes to get a line from those CPUs.
    fn distance(&self, cpu: usize, from: &Cpus) -> u64 {
        if !from.is_within(&self.node_of[cpu]) {
            self.costs.other_node
        } else if !from.is_within(&self.cache_of[cpu]) || self.cache_of[cpu] == self.node_of[cpu] {
            self.costs.same_node
        } else {
            self.costs.same_cache
        }
    }

    /// Whether a plain access needs nobody else.
    pub(crate) fn is_hit(&self, cpu: usize, address: usize, kind: Kind) -> bool {
        let Some(line) = self.lines.get(&(address / LINE)) else { return false };
        match kind {
            Kind::Read => line.copies.has(cpu),
            Kind::Write | Kind::Change => line.copies == Cpus::of(std::iter::once(cpu)),
        }
    }

    /// Moves a line to where it is accessed. Returns when it is there.
    pub(crate) fn access(&mut self, now: u64, cpu: usize, address: usize, kind: Kind) -> u64 {
        let hit = if kind == Kind::Change { self.costs.atomic } else { self.costs.hit };
        let alone = Cpus::of(std::iter::once(cpu));
        if self.is_hit(cpu, address, kind) {
            let free_at = self.lines.get(&(address / LINE)).map_or(0, |line| line.free_at);
            // What was granted to this CPU may still be on its way.
            return now.max(if kind == Kind::Read { 0 } else { free_at }) + hit;
        }
        let Some(line) = self.lines.get(&(address / LINE)) else {
            // Memory that nobody has touched: from the node's own memory, about as far as another
            // core.
            let line = Line { copies: alone, writer: Some(cpu), ..Line::default() };
            self.lines.insert(address / LINE, line);
            return now + self.costs.same_node;
        };
        let from = match (kind, line.writer) {
            (Kind::Read, Some(writer)) => Cpus::of(std::iter::once(writer)),
            _ => line.copies,
        };
        let distance = self.distance(cpu, &from);
        let Some(line) = self.lines.get_mut(&(address / LINE)) else { return now };
        let begin = now.max(line.free_at);
        let end = begin + distance;
        if kind == Kind::Read {
            line.free_at = begin + self.costs.occupied;
            line.copies.0[cpu / 64] |= 1 << (cpu % 64);
        } else {
            line.free_at = end;
            line.copies = alone;
            line.writer = Some(cpu);
        }
        end
    }

    /// Whether the line is on its way to somebody.
    pub(crate) fn is_wanted(&self, now: u64, address: usize) -> bool {
        self.lines.get(&(address / LINE)).is_some_and(|line| line.free_at > now)
    }

    /// Others get the line from then on at the earliest.
    pub(crate) fn not_before(&mut self, address: usize, time: u64) {
        if let Some(line) = self.lines.get_mut(&(address / LINE)) {
            line.free_at = line.free_at.max(time);
        }
    }

    pub(crate) fn watch(&mut self, address: usize, thread: usize) {
        self.lines.entry(address / LINE).or_default().watchers.push(thread);
    }

    pub(crate) fn forget(&mut self, address: usize, thread: usize) {
        if let Some(line) = self.lines.get_mut(&(address / LINE)) {
            line.watchers.retain(|&watcher| watcher != thread);
        }
    }

    /// Those who watched that line, and do not any more.
    pub(crate) fn watchers(&mut self, address: usize) -> Vec<usize> {
        let line = self.lines.get_mut(&(address / LINE));
        line.map_or_else(Vec::new, |line| std::mem::take(&mut line.watchers))
    }
}

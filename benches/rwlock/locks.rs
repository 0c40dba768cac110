//! The locks, all around the same four words.

use crate::mix::Mix;
use crate::work::{self, Tally, Window};
use arc_swap::ArcSwap;
use crossbeam_utils::sync::ShardedLock;
use std::hint::black_box;

pub(crate) const OURS: &str = "stillpoint";
pub(crate) const PARKING_LOT: &str = "parking_lot";

/// What is protected. All words are equal, unless somebody saw a write in progress.
#[derive(Clone, Copy)]
pub(crate) struct Words([u64; 4]);

impl Words {
    const NEW: Words = Words([1; 4]);

    /// Their sum.
    #[inline(always)]
    fn add_up(&self) -> u64 {
        self.0.iter().fold(0, |sum, &word| sum.wrapping_add(word))
    }

    #[inline(always)]
    fn change(&mut self) {
        self.0 = self.0.map(|word| word.wrapping_add(1));
    }
}

/// A reader-writer lock, or what takes its place.
pub(crate) trait Lock: Send + Sync + 'static {
    fn new(words: Words) -> Self;

    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R;

    /// Calls `change` once, or once more where somebody else came first.
    fn change(&self, change: impl Fn(&mut Words));
}

impl Lock for stillpoint::RwLock<Words> {
    fn new(words: Words) -> Self {
        stillpoint::RwLock::new(words)
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R {
        look(&self.read())
    }

    #[inline(always)]
    fn change(&self, change: impl Fn(&mut Words)) {
        change(&mut self.write());
    }
}

impl Lock for parking_lot::RwLock<Words> {
    fn new(words: Words) -> Self {
        parking_lot::RwLock::new(words)
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R {
        look(&self.read())
    }

    #[inline(always)]
    fn change(&self, change: impl Fn(&mut Words)) {
        change(&mut self.write());
    }
}

impl Lock for std::sync::RwLock<Words> {
    fn new(words: Words) -> Self {
        std::sync::RwLock::new(words)
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R {
        look(&self.read().expect("nobody panics"))
    }

    #[inline(always)]
    fn change(&self, change: impl Fn(&mut Words)) {
        change(&mut self.write().expect("nobody panics"));
    }
}

impl Lock for ShardedLock<Words> {
    fn new(words: Words) -> Self {
        ShardedLock::new(words)
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R {
        look(&self.read().expect("nobody panics"))
    }

    #[inline(always)]
    fn change(&self, change: impl Fn(&mut Words)) {
        change(&mut self.write().expect("nobody panics"));
    }
}

impl Lock for ArcSwap<Words> {
    fn new(words: Words) -> Self {
        ArcSwap::from_pointee(words)
    }

    #[inline(always)]
    fn with<R>(&self, look: impl FnOnce(&Words) -> R) -> R {
        look(&self.load())
    }

    #[inline(always)]
    fn change(&self, change: impl Fn(&mut Words)) {
        self.rcu(|old| {
            let mut new = **old;
            change(&mut new);
            new
        });
    }
}

/// A lock whose type is forgotten. Each method is one loop that nobody inlines, compiled with the
/// lock's code in it.
pub(crate) trait Subject: Send + Sync {
    fn reads(&self, times: u64);

    fn writes(&self, times: u64);

    /// Works by the mix until the window ends.
    fn mixed(&self, mix: &Mix, thread: usize, window: &Window) -> Tally;
}

/// On lines of its own.
#[repr(align(128))]
struct Alone<L>(L);

impl<L: Lock> Alone<L> {
    #[inline(always)]
    fn read(&self) {
        let (sum, first) = self.0.with(|words| (words.add_up(), words.0[0]));
        assert!(sum == first.wrapping_mul(4), "a reader beside a writer");
        black_box(sum);
    }

    #[inline(always)]
    fn write(&self) {
        self.0.change(Words::change);
    }
}

impl<L: Lock> Subject for Alone<L> {
    #[inline(never)]
    fn reads(&self, times: u64) {
        (0..times).for_each(|_| self.read());
    }

    #[inline(never)]
    fn writes(&self, times: u64) {
        (0..times).for_each(|_| self.write());
    }

    fn mixed(&self, mix: &Mix, thread: usize, window: &Window) -> Tally {
        if window.samples() {
            work::mixed::<true>(|| self.read(), || self.write(), mix, thread, window)
        } else {
            work::mixed::<false>(|| self.read(), || self.write(), mix, thread, window)
        }
    }
}

/// A name, and how to make one.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) new: fn() -> Box<dyn Subject>,
}

fn make<L: Lock>() -> Box<dyn Subject> {
    Box::new(Alone(L::new(Words::NEW)))
}

pub(crate) const ALL: [Peer; 5] = [
    Peer { name: OURS, new: make::<stillpoint::RwLock<Words>> },
    Peer { name: PARKING_LOT, new: make::<parking_lot::RwLock<Words>> },
    Peer { name: "std", new: make::<std::sync::RwLock<Words>> },
    Peer { name: "ShardedLock", new: make::<ShardedLock<Words>> },
    Peer { name: "arc-swap *", new: make::<ArcSwap<Words>> },
];

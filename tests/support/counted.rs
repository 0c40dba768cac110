//! Values that count their drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Counts its drops.
#[derive(Clone, Debug)]
pub(crate) struct Counted(pub(crate) u32, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

/// A count of drops, and what makes values that it counts.
pub(crate) fn counted() -> (Arc<AtomicUsize>, impl Fn(u32) -> Counted + Clone) {
    let drops = Arc::new(AtomicUsize::new(0));
    let of = drops.clone();
    (drops, move |n| Counted(n, of.clone()))
}

//! The lock of a bucket without a map, for models: with one, four threads take too long.

use super::bucket::Bucket;

/// A bucket that is locked, moved, and nothing else.
#[derive(Debug)]
pub struct Latch(Bucket);

impl Default for Latch {
    fn default() -> Latch {
        Latch(Bucket::new())
    }
}

impl Latch {
    /// As a writer does that finds nothing to do. False if the bucket was moved.
    pub fn pass(&self) -> bool {
        self.0.lock().is_some()
    }

    /// As whoever moves it, once.
    pub fn leave(&self) {
        self.0.lock().expect("moved once").mark_moved();
    }
}

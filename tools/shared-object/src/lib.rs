//! A shared object that uses the library: a second copy of it in the process, with its
//! thread-local storage behind the global offset table.

use std::sync::LazyLock;
use stillpoint::rcu::{self, RcuCell};

static TABLE: LazyLock<RcuCell<[u64; 4]>> = LazyLock::new(|| RcuCell::new([1, 2, 3, 4]));

/// `rounds` read-side critical sections around one dependent load.
#[unsafe(no_mangle)]
pub extern "C" fn shared_object_read(rounds: u64) -> u64 {
    let table = &*TABLE;
    let mut sum = 0_u64;
    for i in 0..rounds {
        let guard = rcu::read();
        sum = sum.wrapping_add(table.load(&guard)[(i & 3) as usize]);
    }
    sum
}

/// Replaces the table and waits until the old one is freed.
#[unsafe(no_mangle)]
pub extern "C" fn shared_object_update(seed: u64) {
    TABLE.store([seed; 4]);
    rcu::barrier();
}

/// The calling thread's area, for whoever asks what it says after this object was closed.
#[unsafe(no_mangle)]
pub extern "C" fn shared_object_area() -> *const std::ffi::c_void {
    stillpoint::rseq::area::ensure_registered();
    stillpoint::rseq::area::thread_area()
}

//! What simulated code calls.

use crate::Choice;
use crate::atomic::AtomicU32;
use crate::scheduler::{Request, Section, request, with};

/// Whether the caller is simulated.
pub fn is_simulated() -> bool {
    with(|_| ()).is_some()
}

/// Simulated time, which it takes some to read; 0 outside of a simulation.
pub fn nanos() -> u64 {
    let Some(clock) = with(|machine| machine.costs.clock) else { return 0 };
    compute(clock);
    with(|machine| machine.now).unwrap_or(0)
}

/// Simulated time, at no cost, for the observer.
pub fn thread() -> Option<(usize, u64)> {
    with(|machine| (machine.current, machine.now))
}

/// The caller computes for so long.
pub fn compute(nanos: u64) {
    request(Request::Compute(nanos));
}

/// So many turns of a spinning loop.
pub fn pause(turns: u32) {
    if let Some(pause) = with(|machine| machine.costs.pause) {
        compute(pause * u64::from(turns));
    }
}

/// Spins while `word` has this value, for so many turns at most; `u32::MAX` is without end. Returns
/// what it has then.
pub fn spin_while(word: &AtomicU32, value: u32, turns: u32) -> u32 {
    request(Request::Spin { word: word.real(), value, turns });
    word.real().load(std::sync::atomic::Ordering::Acquire)
}

/// Lets others run on this CPU.
pub fn yield_cpu() {
    request(Request::Yield);
}

/// From here on, until [`end_section`], what the caller waits for ends at once if it has lost its
/// CPU meanwhile, or somebody has sent a broadcast: then [`is_aborted`]. As a restartable sequence
/// that commits nothing.
pub fn begin_section() {
    with(|machine| machine.set_section(Section::Runs));
}

/// Whether the caller's section was aborted.
pub fn is_aborted() -> bool {
    with(|machine| machine.section() == Section::Aborted).unwrap_or(false)
}

/// Ends the caller's section.
pub fn end_section() {
    with(|machine| machine.set_section(Section::None));
}

/// Interrupts all CPUs that run a thread, and aborts the sections there: `membarrier`.
pub fn broadcast() {
    if let Some(nanos) = with(|machine| machine.interrupt_others()) {
        compute(nanos);
    }
}

/// The CPU that the caller runs on; `None` outside of a simulation.
pub fn current_cpu() -> Option<u32> {
    with(|machine| machine.current_cpu() as u32)
}

/// Its node.
pub fn current_node() -> Option<u32> {
    with(|machine| machine.shape.node(machine.current_cpu()) as u32)
}

/// Its last-level cache.
pub fn current_cache() -> Option<u32> {
    with(|machine| machine.shape.cache(machine.current_cpu()) as u32)
}

/// The node of a CPU.
pub fn node_of(cpu: u32) -> Option<u32> {
    with(|machine| machine.shape.node(cpu as usize) as u32)
}

/// From here on the caller has a lock, or has not: to count the time for which holders do not run.
pub fn hold(holds: bool) {
    with(|machine| machine.hold(holds));
}

/// Lets `f` do its accesses at once: nobody else runs meanwhile. They take their time afterwards.
fn at_once<R>(f: impl FnOnce() -> R) -> R {
    with(|machine| machine.in_lot = true);
    let result = f();
    with(|machine| machine.in_lot = false);
    result
}

/// Parks the caller at `key`, unless `still` says that there is nothing to wait for. Returns what
/// it is told.
pub fn park(key: usize, token: u64, still: impl FnOnce() -> bool) -> Option<usize> {
    let call = with(|machine| machine.costs.call)?;
    compute(call);
    let parks = at_once(|| {
        let parks = still();
        with(|machine| {
            if parks {
                let current = machine.current;
                machine.lot.entry(key).or_default().push_back((current, token));
            }
            machine.take_told();
        });
        parks
    });
    if !parks {
        return None;
    }
    request(Request::Park);
    with(|machine| machine.take_told()).flatten()
}

/// Offers those parked at `key` to `choose`; then `then` hears whether any are left, and says what
/// those that wake are told.
pub fn wake(key: usize, mut choose: impl FnMut(u64) -> Choice, then: impl FnOnce(bool) -> usize) {
    let Some(call) = with(|machine| machine.costs.call) else { return };
    let woken = at_once(|| {
        let queue = with(|machine| machine.lot.remove(&key)).flatten().unwrap_or_default();
        let (mut left, mut woken) = (std::collections::VecDeque::new(), Vec::new());
        let mut stopped = false;
        for (thread, token) in queue {
            let choice = if stopped { Choice::Stop } else { choose(token) };
            stopped |= choice == Choice::Stop;
            if choice == Choice::Wake {
                woken.push(thread);
            } else {
                left.push_back((thread, token));
            }
        }
        let told = then(!left.is_empty());
        with(|machine| {
            if !left.is_empty() {
                machine.lot.insert(key, left);
            }
            for &thread in &woken {
                machine.tell(thread, told);
            }
        });
        woken.len() as u64
    });
    compute(if woken == 0 { 50 } else { call });
}

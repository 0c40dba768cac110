//! What an event's page says, as `linux/perf_event.h` tells to work it out.

use crate::rseq::counter::{Head, Raw};

const CAN_BE_READ: u64 = 1 << 2;
const HAS_TIME: u64 = 1 << 3;
const HAS_SHORT_TIME: u64 = 1 << 5;

/// Count, nanoseconds wanted, nanoseconds counted; as `read` on the event's file gives them.
pub(super) type Values = [u64; 3];

/// True if a program may read such an event's counter, whenever there is one.
pub(super) fn can_be_read(head: &Head) -> bool {
    head.capabilities & CAN_BE_READ != 0
}

/// What a consistent reading comes to.
pub(super) fn values(raw: &Raw) -> Values {
    let head = &raw.head;
    let count = head.offset.wrapping_add(extended(raw.counter, head.pmc_width)) as u64;
    let since = since_change(head, raw.clock).unwrap_or(0);
    // There was a counter, so it ran.
    [count, head.time_enabled.wrapping_add(since), head.time_running.wrapping_add(since)]
}

/// A counter of so many bits; the highest of them is its sign.
fn extended(counter: u64, width: u16) -> i64 {
    match 64_u32.checked_sub(width.into()) {
        Some(unused @ 0..64) => (counter << unused).cast_signed() >> unused,
        // No width is no counter that we know.
        _ => counter.cast_signed(),
    }
}

/// Nanoseconds since the page was changed, if the clock tells.
fn since_change(head: &Head, clock: u64) -> Option<u64> {
    if head.capabilities & HAS_TIME == 0 || head.time_shift > 32 {
        return None;
    }
    let clock = if head.capabilities & HAS_SHORT_TIME == 0 {
        clock
    } else {
        let since = clock.wrapping_sub(head.time_cycles) & head.time_mask;
        head.time_cycles.wrapping_add(since)
    };
    let (mult, shift) = (u64::from(head.time_mult), head.time_shift);
    let (quotient, rest) = (clock >> shift, clock & ((1 << shift) - 1));
    let nanos = quotient.wrapping_mul(mult).wrapping_add((rest * mult) >> shift);
    let since = head.time_offset.wrapping_add(nanos);
    // A clock that is a little behind that of the CPU that wrote.
    Some(if since.cast_signed() < 0 { 0 } else { since })
}

/// What would have been counted in all of `enabled`, of which only `running` was counted. `None` if
/// nothing was.
pub(super) fn scaled(count: u64, enabled: u64, running: u64) -> Option<u64> {
    if running >= enabled {
        return Some(count);
    }
    let all = u128::from(count) * u128::from(enabled);
    all.checked_div(running.into()).map(|all| u64::try_from(all).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rseq::counter::{Table, UserPage, read};
    use std::sync::atomic::Ordering::Relaxed;

    fn counted(counter: u64, head: Head) -> u64 {
        values(&Raw { counter, head, ..Raw::default() })[0]
    }

    #[test]
    fn counters_are_extended_by_their_sign() {
        for (counter, width, expected) in [
            (0, 48, 0),
            (1, 48, 1),
            ((1 << 47) - 1, 48, (1 << 47) - 1),
            (1 << 47, 48, -(1 << 47)),
            ((1 << 48) - 1, 48, -1),
            // Bits above mean nothing.
            (0xabcd << 48 | 5, 48, 5),
            (0xffff_ffff, 32, -1),
            (0x7fff_ffff, 32, 0x7fff_ffff),
            (u64::MAX, 64, -1),
            (1, 1, -1),
            (2, 1, 0),
            (u64::MAX, 0, -1),
            (7, 99, 7),
        ] {
            assert_eq!(extended(counter, width), expected, "{counter:#x}, {width} bits");
        }
    }

    /// As the kernel uses it: a counter starts at minus the distance to its overflow, and what it
    /// held then has been taken off the offset.
    #[test]
    fn the_offset_is_added() {
        let start = -1000_i64;
        let counter = ((start + 123) as u64) & ((1 << 48) - 1);
        let head = Head { offset: 5000 - start, pmc_width: 48, ..Head::default() };
        assert_eq!(counted(counter, head), 5123);
        // Behind the overflow.
        let head = Head { offset: 5000 - start, pmc_width: 32, ..Head::default() };
        assert_eq!(counted((start + 1500) as u64, head), 6500);
        let head = Head { offset: -7, pmc_width: 48, ..Head::default() };
        assert_eq!(counted(10, head), 3);
    }

    fn clocked(mult: u32, shift: u16, offset: u64) -> Head {
        Head {
            capabilities: HAS_TIME,
            time_mult: mult,
            time_shift: shift,
            time_offset: offset,
            ..Head::default()
        }
    }

    #[test]
    fn the_clock_is_scaled_as_wide_numbers_are() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..100_000 {
            let (clock, mult, shift) = (next() >> (next() % 64), next() as u32, next() % 33);
            let wide = ((u128::from(clock) * u128::from(mult)) >> shift) as u64;
            // So that it comes to something that is not negative.
            let (since, shift) = (next() >> 1, shift as u16);
            let head = clocked(mult, shift, since.wrapping_sub(wide));
            assert_eq!(since_change(&head, clock), Some(since), "{clock} * {mult} >> {shift}");
        }
    }

    #[test]
    fn a_clock_may_be_short_or_behind_or_absent() {
        let head = Head {
            capabilities: HAS_TIME | HAS_SHORT_TIME,
            time_cycles: (1 << 56) + 100,
            time_mask: (1 << 56) - 1,
            // One nanosecond a tick; none had passed when it was at `time_cycles`.
            ..clocked(1 << 10, 10, ((1_u64 << 56) + 100).wrapping_neg())
        };
        assert_eq!(since_change(&head, 100), Some(0));
        assert_eq!(since_change(&head, 150), Some(50));
        // It has turned over.
        assert_eq!(since_change(&head, 20), Some((1 << 56) - 80));
        let head = clocked(1 << 10, 10, 100_u64.wrapping_neg());
        assert_eq!(since_change(&head, 90), Some(0), "behind");
        assert_eq!(since_change(&Head { capabilities: CAN_BE_READ, ..head }, 150), None);
        assert_eq!(since_change(&Head { time_shift: 33, ..head }, 150), None);
    }

    #[test]
    fn times_go_on_while_it_counts() {
        let page = clocked(1 << 10, 10, 100_u64.wrapping_neg());
        let head = Head { index: 1, pmc_width: 48, time_enabled: 70, time_running: 50, ..page };
        let raw = Raw { counter: 3, clock: 130, head, ..Raw::default() };
        assert_eq!(values(&raw), [3, 100, 80]);
    }

    #[test]
    fn what_was_not_counted_is_estimated() {
        assert_eq!(scaled(10, 100, 100), Some(10));
        assert_eq!(scaled(10, 100, 200), Some(10));
        assert_eq!(scaled(10, 100, 25), Some(40));
        assert_eq!(scaled(0, 100, 1), Some(0));
        assert_eq!(scaled(0, 0, 0), Some(0));
        assert_eq!(scaled(5, 100, 0), None);
        assert_eq!(scaled(u64::MAX, 3, 2), Some(u64::MAX));
        assert_eq!(scaled(1 << 62, 6, 4), Some(3 << 61));
    }

    fn consistent(lock: u32, again: u32, index: u32) -> bool {
        let head = Head { lock, index, ..Head::default() };
        Raw { again, head, ..Raw::default() }.is_consistent()
    }

    #[test]
    fn readings_that_met_a_change_are_turned_away() {
        assert!(consistent(0, 0, 1) && consistent(4, 4, 2));
        assert!(!consistent(4, 6, 1), "changed meanwhile");
        assert!(!consistent(5, 5, 1), "changing");
        assert!(!consistent(4, 5, 1) && !consistent(5, 6, 1));
        assert!(!consistent(4, 4, 0), "no counter");
        let other = if cfg!(target_arch = "aarch64") { 32 } else { 0x4000_0002 };
        assert!(consistent(4, 4, other), "fixed counters have high numbers");
        assert_eq!(consistent(4, 4, 7), !cfg!(target_arch = "aarch64"), "no text reads it");
    }

    /// The shipped sequence on pages of our own, in which nothing counts.
    #[test]
    fn the_sequence_copies_the_page_of_its_cpu() {
        #[repr(C)]
        struct Pages(Table, [*const UserPage; 64]);
        let pages: Vec<UserPage> = (0..64).map(|_| UserPage::default()).collect();
        for (cpu, page) in pages.iter().enumerate() {
            for (at, word) in page.0.iter().enumerate() {
                word.store((cpu as u64) << 32 | (at as u64 + 1) << 16, Relaxed);
            }
            // Lock; no index.
            page.0[1].store(2 * cpu as u64 + 2, Relaxed);
        }
        let mut raw = Raw::default();
        let table = Pages(Table::new(64), std::array::from_fn(|cpu| &raw const pages[cpu]));
        if crate::machine().registration().is_err() || crate::current_cpu() >= 64 {
            return println!("SKIPPED: no sequences, or on too high a CPU");
        }
        // SAFETY: a table of live pages, without an index.
        let read_at = |table: &Pages, raw: &mut Raw| unsafe { read(&raw const table.0, raw) };
        let mut tries = (0..100_000).map(|_| read_at(&table, &mut raw));
        assert!(tries.any(|done| done), "always aborted");
        let cpu = u64::from(raw.cpu);
        let expected = |at: u64| cpu << 32 | (at + 1) << 16;
        assert_eq!(u64::from(raw.again), 2 * cpu + 2);
        assert_eq!((raw.head.lock, raw.head.index, raw.counter), (raw.again, 0, 0));
        assert_eq!(raw.head.offset as u64, expected(2));
        assert_eq!(raw.head.time_enabled, expected(3));
        assert_eq!((raw.head.time_running, raw.head.capabilities), (expected(4), expected(5)));
        assert_eq!((raw.head.time_offset, raw.head.time_zero), (expected(7), expected(8)));
        assert_eq!((raw.head.time_cycles, raw.head.time_mask), (expected(10), expected(11)));
        assert!(!raw.is_consistent() && raw.clock != 0);
        // Whoever has no page is turned away, and so is everyone if the table was wiped.
        let none = Pages(Table::new(64), [std::ptr::null(); 64]);
        let wiped = Pages(Table::new(0), table.1);
        for table in [&none, &wiped] {
            assert!((0..1000).all(|_| !read_at(table, &mut raw)));
        }
    }
}

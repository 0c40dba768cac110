//! The instructions of this test's own sequences are what the essay in `src/rcu/domain.rs`
//! claims: which commit releases, that no load acquires, that nothing else orders anything.
//!
//! It only reads code: under an emulator without rseq it checks as much.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[allow(dead_code, reason = "tests/elf.rs uses the rest")]
#[path = "support/sections/mod.rs"]
mod sections;

use sections::order::{Claim, Order, faults};
use sections::sketch::Sketch;
use sections::{Arch, Image};
use std::hint::black_box;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
use stillpoint::rcu;
use stillpoint::rseq::cache;
use stillpoint::rseq::change::{self, Change};
use stillpoint::rseq::counter::{self, Raw, Table as Pages};
use stillpoint::rseq::exchange;
use stillpoint::rseq::leaf::{Area, copy, retain};
use stillpoint::rseq::part::{self, Place};
use stillpoint::rseq::reader::{Gate, Mark, enter, leave, leave_here};
use stillpoint::rseq::ring::{self, Record};
use stillpoint::rseq::slot::{Table, claim};
use stillpoint::rseq::stack::{self, Link, TurnedAway};
use stillpoint::rseq::syscall::{Call, armed, unless};
use stillpoint::rseq::wait::{Watched, watch};
use stillpoint::rseq::word::{add, replace};

const PLAIN: Order = Order::Plain;
/// On x86-64, a plain store as well.
const RELEASE: Order = Order::Ordered;

/// A read: it ends with a load, and acquires.
const NOTHING: Order = Order::Nothing;
/// An atomic addition, and it acquires.
const LOCKED: Order = Order::Locked;

/// What the kernel then does is another matter.
const CALL: Order = Order::Call;

const CLAIMS: [Claim; 32] = [
    Claim { function: "audited_change_commit", commits: &[RELEASE] },
    Claim { function: "audited_change_store", commits: &[RELEASE] },
    Claim { function: "audited_change_copy", commits: &[RELEASE] },
    Claim { function: "audited_exchange_swap", commits: &[RELEASE] },
    Claim { function: "audited_exchange_pop", commits: &[RELEASE] },
    Claim { function: "audited_counter", commits: &[PLAIN] },
    Claim { function: "audited_unless", commits: &[CALL] },
    Claim { function: "audited_armed", commits: &[CALL] },
    Claim { function: "audited_copy_one", commits: &[NOTHING] },
    Claim { function: "audited_copy_2", commits: &[NOTHING] },
    Claim { function: "audited_copy_4", commits: &[NOTHING] },
    Claim { function: "audited_copy_6", commits: &[NOTHING] },
    Claim { function: "audited_copy_8", commits: &[NOTHING] },
    Claim { function: "audited_copy_16", commits: &[NOTHING] },
    Claim { function: "audited_copy_32", commits: &[NOTHING] },
    Claim { function: "audited_copy_many", commits: &[NOTHING] },
    Claim { function: "audited_retain", commits: &[LOCKED] },
    Claim { function: "audited_stack_push", commits: &[PLAIN] },
    Claim { function: "audited_stack_pop", commits: &[PLAIN] },
    Claim { function: "audited_stack_take", commits: &[PLAIN] },
    Claim { function: "audited_cache_push", commits: &[PLAIN] },
    Claim { function: "audited_cache_pop", commits: &[PLAIN] },
    Claim { function: "audited_claim", commits: &[PLAIN] },
    Claim { function: "audited_enter", commits: &[PLAIN] },
    Claim { function: "audited_leave_here", commits: &[RELEASE] },
    Claim { function: "audited_elsewhere", commits: &[RELEASE] },
    Claim { function: "audited_add", commits: &[PLAIN] },
    Claim { function: "audited_replace", commits: &[RELEASE] },
    Claim { function: "audited_part_add", commits: &[PLAIN] },
    Claim { function: "audited_ring_reserve", commits: &[RELEASE] },
    Claim { function: "audited_ring_copy", commits: &[RELEASE] },
    Claim { function: "audited_watch", commits: &[] },
];

type Popped = Result<Option<NonZero<usize>>, TurnedAway>;
type Taken = Result<Option<NonNull<Link>>, TurnedAway>;

macro_rules! audited_copies {
    ($($name:ident: $words:literal;)*) => {
        $(
            #[inline(never)]
            fn $name(cell: &AtomicPtr<Area<[u64; $words]>>) -> Option<[u64; $words]> {
                // SAFETY: never called.
                unsafe { copy(cell) }
            }
        )*

        fn keep_copies() {
            $(black_box($name as fn(&AtomicPtr<Area<[u64; $words]>>) -> Option<[u64; $words]>);)*
        }
    };
}

audited_copies! {
    audited_copy_one: 1;
    audited_copy_2: 2;
    audited_copy_4: 4;
    audited_copy_6: 6;
    audited_copy_8: 8;
    audited_copy_16: 16;
    audited_copy_32: 32;
    audited_copy_many: 512;
}

#[inline(never)]
fn audited_retain(cell: &AtomicPtr<u64>) -> Option<NonNull<u64>> {
    // SAFETY: never called.
    unsafe { retain(cell) }
}

#[inline(never)]
fn audited_enter(gate: &Gate) -> Option<Mark> {
    // SAFETY: never called.
    unsafe { enter(gate) }
}

#[inline(never)]
fn audited_leave_here(mark: Mark) -> bool {
    // SAFETY: never called.
    unsafe { leave_here(mark) }
}

#[inline(never)]
fn audited_elsewhere(gate: &Gate, mark: Mark) -> bool {
    // SAFETY: never called.
    unsafe { leave(gate, mark) }
}

#[inline(never)]
fn audited_add(cpu: u32, word: &AtomicU64, n: u64) -> bool {
    // SAFETY: never called.
    unsafe { add(cpu, word, n) }
}

#[inline(never)]
fn audited_replace(cpu: u32, word: &AtomicPtr<u8>, old: *mut u8, new: *mut u8) -> bool {
    // SAFETY: never called.
    unsafe { replace(cpu, word, old, new) }
}

#[inline(never)]
fn audited_claim(table: &Table, gate: &AtomicU64) -> Option<NonNull<AtomicU64>> {
    // SAFETY: never called.
    unsafe { claim(table, gate) }
}

#[inline(never)]
fn audited_watch(word: &AtomicU32, looks: u32) -> Watched {
    watch(word, looks)
}

#[inline(never)]
fn audited_part_add(place: &Place, at: usize, n: u64) -> bool {
    // SAFETY: never called.
    unsafe { part::add(place, at, n) }
}

#[inline(never)]
fn audited_stack_push(place: &Place, node: NonNull<Link>) -> bool {
    // SAFETY: never called.
    unsafe { stack::push(place, node) }
}

#[inline(never)]
fn audited_stack_pop(place: &Place) -> Taken {
    // SAFETY: never called.
    unsafe { stack::pop(place) }
}

#[inline(never)]
fn audited_stack_take(place: &Place) -> Taken {
    // SAFETY: never called.
    unsafe { stack::take(place) }
}

#[inline(never)]
fn audited_cache_push(place: &Place, item: NonZero<usize>) -> bool {
    // SAFETY: never called.
    unsafe { cache::push(place, item, 64) }
}

#[inline(never)]
fn audited_cache_pop(place: &Place) -> Option<NonZero<usize>> {
    // SAFETY: never called.
    unsafe { cache::pop(place) }
}

#[inline(never)]
fn audited_ring_copy(cpu: u32, head: &AtomicU64, at: &AtomicU64, record: &Record) -> bool {
    // SAFETY: never called.
    unsafe { ring::copy(cpu, head, 0, 1, at, record) }
}

#[inline(never)]
fn audited_ring_reserve(cpu: u32, head: &AtomicU64, at: &AtomicU64, header: u64) -> bool {
    // SAFETY: never called.
    unsafe { ring::reserve(cpu, head, 0, 1, at, header, 2) }
}

#[inline(never)]
fn audited_unless(flag: &AtomicU32, call: &Call) -> Option<isize> {
    // SAFETY: never called.
    unsafe { unless(flag, call) }
}

#[inline(never)]
fn audited_armed(slot: &AtomicUsize, value: usize, call: &Call) -> Option<isize> {
    // SAFETY: never called.
    unsafe { armed(slot, value, call) }
}

#[inline(never)]
fn audited_change_commit(change: &Change<'_>) -> bool {
    // SAFETY: never called.
    unsafe { change::commit(change) }
}

#[inline(never)]
fn audited_change_store(change: &Change<'_>, to: &AtomicU64, value: u64) -> bool {
    // SAFETY: never called.
    unsafe { change::store(change, to, value) }
}

#[inline(never)]
fn audited_change_copy(change: &Change<'_>, to: &[AtomicU64; 4], from: &[u64; 4]) -> bool {
    // SAFETY: never called.
    unsafe { change::copy(change, to, from) }
}

#[inline(never)]
fn audited_exchange_swap(place: &Place, at: usize, new: u64) -> Result<u64, TurnedAway> {
    // SAFETY: never called.
    unsafe { exchange::swap(place, at, new) }
}

#[inline(never)]
fn audited_exchange_pop(place: &Place, at: usize, next: usize) -> Popped {
    // SAFETY: never called.
    unsafe { exchange::pop(place, at, next) }
}

#[inline(never)]
fn audited_counter(pages: *const Pages, to: &mut Raw) -> bool {
    // SAFETY: never called.
    unsafe { counter::read(pages, to) }
}

/// A read-side critical section, whole.
#[inline(never)]
fn audited_section() {
    drop(black_box(rcu::read()));
}

/// This test's own file, in which every function above is.
fn own() -> Image {
    black_box(audited_enter as fn(&Gate) -> Option<Mark>);
    black_box(audited_leave_here as fn(Mark) -> bool);
    black_box(audited_elsewhere as fn(&Gate, Mark) -> bool);
    black_box(audited_add as fn(u32, &AtomicU64, u64) -> bool);
    black_box(audited_replace as fn(u32, &AtomicPtr<u8>, *mut u8, *mut u8) -> bool);
    black_box(audited_claim as fn(&Table, &AtomicU64) -> Option<NonNull<AtomicU64>>);
    black_box(audited_part_add as fn(&Place, usize, u64) -> bool);
    black_box(audited_watch as fn(&AtomicU32, u32) -> Watched);
    black_box(audited_stack_push as fn(&Place, NonNull<Link>) -> bool);
    black_box(audited_stack_pop as fn(&Place) -> Taken);
    black_box(audited_stack_take as fn(&Place) -> Taken);
    black_box(audited_cache_push as fn(&Place, NonZero<usize>) -> bool);
    black_box(audited_cache_pop as fn(&Place) -> Option<NonZero<usize>>);
    black_box(audited_ring_copy as fn(u32, &AtomicU64, &AtomicU64, &Record) -> bool);
    black_box(audited_ring_reserve as fn(u32, &AtomicU64, &AtomicU64, u64) -> bool);
    black_box(audited_unless as fn(&AtomicU32, &Call) -> Option<isize>);
    black_box(audited_armed as fn(&AtomicUsize, usize, &Call) -> Option<isize>);
    black_box(audited_change_commit as fn(&Change<'_>) -> bool);
    black_box(audited_change_store as fn(&Change<'_>, &AtomicU64, u64) -> bool);
    black_box(audited_change_copy as fn(&Change<'_>, &[AtomicU64; 4], &[u64; 4]) -> bool);
    black_box(audited_exchange_swap as fn(&Place, usize, u64) -> Result<u64, TurnedAway>);
    black_box(audited_exchange_pop as fn(&Place, usize, usize) -> Popped);
    black_box(audited_counter as fn(*const Pages, &mut Raw) -> bool);
    black_box(audited_section as fn());
    keep_copies();
    black_box(audited_retain as fn(&AtomicPtr<u64>) -> Option<NonNull<u64>>);
    let path = std::env::current_exe().unwrap();
    Image::load(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn sequences_are_as_claimed() {
    let image = own();
    for claim in &CLAIMS {
        assert_eq!(faults(&image, claim), [""; 0], "{claim:?}");
    }
}

/// Two sections, and between and around them no barrier, no atomic instruction.
#[test]
fn a_read_side_critical_section_is_as_claimed() {
    if cfg!(any(debug_assertions, feature = "debug-readers")) {
        return println!("SKIPPED a whole section: this build records its readers");
    }
    let claim = Claim { function: "audited_section", commits: &[PLAIN, RELEASE] };
    assert_eq!(faults(&own(), &claim), [""; 0]);
}

fn assert_found(sketch: &Sketch, commit: &'static [Order], fault: &str) {
    let claim = Claim { function: Sketch::FUNCTION, commits: commit };
    let found = faults(&sketch.build(), &claim);
    assert!(found.iter().any(|f| f.contains(fault)), "{fault:?} not in {found:#?}: {sketch:x?}");
}

fn assert_clean(sketch: &Sketch, commit: &'static [Order]) {
    let claim = Claim { function: Sketch::FUNCTION, commits: commit };
    assert_eq!(faults(&sketch.build(), &claim), [""; 0], "{sketch:x?}");
}

#[test]
fn it_finds_wrong_orders_on_aarch64() {
    let plain = Sketch::good(Arch::Aarch64);
    // stlr x2, [x1]
    let stlr = 0xc89f_fc22_u32.to_le_bytes();
    let release = plain.with_body(&stlr);
    assert_clean(&plain, &[PLAIN]);
    assert_clean(&release, &[RELEASE]);
    assert_found(&plain, &[RELEASE], "1 of them releases");
    assert_found(&release, &[PLAIN], "0 of them releases");
    assert_found(&plain, &[PLAIN, RELEASE], "not 2 commits");
    // svc 0
    let svc = plain.with_body(&0xd400_0001_u32.to_le_bytes());
    assert_clean(&svc, &[CALL]);
    assert_found(&svc, &[PLAIN], "other system calls");
    assert_found(&plain, &[CALL], "other system calls");
    for (fault, instruction) in [
        ("fence", 0xd503_3bbf_u32), // dmb ish
        ("fence", 0xd503_39bf),     // dmb ishld
        ("fence", 0xd503_3b9f),     // dsb ish
        ("fence", 0xd503_3fdf),     // isb
        ("acquires", 0xc8df_fc20),  // ldar x0, [x1]
        ("acquires", 0xf8bf_c020),  // ldapr x0, [x1]
        ("stores [", 0xf900_0020),  // str x0, [x1]
        ("stores [", 0xc89f_fc20),  // stlr x0, [x1]
        ("atomic", 0xc85f_7c20),    // ldxr x0, [x1]
        ("atomic", 0xc802_7c20),    // stxr w2, x0, [x1]
        ("atomic", 0xf862_0020),    // ldaddl x2, x0, [x1]
        ("atomic", 0xf8e2_8020),    // swpal x2, x0, [x1]
        ("atomic", 0xc8a2_7c20),    // cas x2, x0, [x1]
    ] {
        let word = instruction.to_le_bytes();
        assert_found(&plain.before_commit(&word), &[PLAIN], fault);
        assert_found(&plain.with_body(&[word, stlr].concat()), &[RELEASE], fault);
        // Outside of the section: in front of the instructions that plant the descriptor.
        if fault != "stores [" {
            let before = |body: &Sketch| Sketch { before: word.to_vec(), ..body.clone() };
            assert_found(&before(&plain), &[PLAIN], "stray: ");
        }
    }
    // stlur x0, [x1]: in no section of ours.
    assert_found(&plain.before_commit(&0xd900_0020_u32.to_le_bytes()), &[PLAIN], "stray: acq");
    // The commit not last.
    let nop = 0xd503_201f_u32.to_le_bytes();
    assert_found(&plain.with_body(&[stlr, nop].concat()), &[RELEASE], "behind a store");
}

#[test]
fn it_finds_wrong_orders_on_x86_64() {
    let plain = Sketch::good(Arch::X86_64);
    assert_clean(&plain, &[PLAIN]);
    assert_clean(&plain, &[RELEASE]);
    let syscall = plain.with_body(&[0x0f, 0x05]);
    assert_clean(&syscall, &[CALL]);
    assert_found(&syscall, &[RELEASE], "other system calls");
    assert_found(&plain, &[CALL], "other system calls");
    // lock inc qword ptr [rcx]; xchg [rcx], rax
    assert_found(&plain.with_body(&[0xf0, 0x48, 0xff, 0x01]), &[RELEASE], "atomic");
    assert_found(&plain.with_body(&[0x48, 0x87, 0x01]), &[RELEASE], "atomic");
    assert_found(&plain.with_body(&[0x90]), &[PLAIN], "stores []");
    for (fault, instruction) in [
        ("fence", &[0x0f, 0xae, 0xf0][..]),       // mfence
        ("fence", &[0x0f, 0xae, 0xe8]),           // lfence
        ("atomic", &[0xf0, 0x48, 0x0f, 0xc1, 1]), // lock xadd [rcx], rax
        ("stores [", &[0x48, 0x89, 0x01]),        // mov [rcx], rax
    ] {
        assert_found(&plain.before_commit(instruction), &[PLAIN], fault);
        if fault != "stores [" {
            let before = Sketch { before: instruction.to_vec(), ..plain.clone() };
            assert_found(&before, &[PLAIN], "stray: ");
        }
    }
}

/// Sections that read: they end with the last load, and say so.
#[test]
fn it_knows_reads() {
    let x86 = Sketch::good(Arch::X86_64);
    // mov rax, ds:[rcx]; the same without the segment; mov rax, rcx
    let (last, load, copy) = (&[0x3e, 0x48, 0x8b, 0x01], &[0x48, 0x8b, 0x01], &[0x48, 0x89, 0xc8]);
    assert_clean(&x86.with_body(last), &[NOTHING]);
    assert_found(&x86.with_body(last), &[PLAIN], "not 1 commits");
    assert_found(&x86.with_body(load), &[NOTHING], "commits nothing");
    assert_found(&x86.with_body(&[&last[..], copy].concat()), &[NOTHING], "not the last");
    assert_found(&x86.before_commit(last), &[PLAIN], "not the last");
    assert_found(&x86, &[NOTHING], "not 1 commits");
    // lock inc qword ptr [rcx]
    let locked = &[0xf0, 0x48, 0xff, 0x01];
    assert_clean(&x86.with_body(locked), &[LOCKED]);
    assert_found(&x86.with_body(&[&locked[..], load].concat()), &[LOCKED], "atomic");
    assert_found(&x86, &[LOCKED], "not 1 commits");

    let arm = Sketch::good(Arch::Aarch64);
    let code = |words: &[u32]| {
        arm.with_body(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>())
    };
    // ldar x0, [x1]; ldur x0, [x1]; ldr x0, [x1]; ldxr x0, [x1]; stxr w2, x0, [x1]; str x2, [x1]
    let (ldar, ldur, ldr) = (0xc8df_fc20, 0xf840_0020, 0xf940_0020);
    let (ldxr, stxr, str) = (0xc85f_7c20, 0xc802_7c20, 0xf900_0022);
    assert_clean(&code(&[ldar, ldr, ldur]), &[NOTHING]);
    assert_found(&code(&[ldar, ldr]), &[NOTHING], "commits nothing");
    assert_found(&code(&[ldur, ldr]), &[NOTHING], "not the last");
    assert_found(&code(&[ldar, ldr, ldur]), &[PLAIN], "not 1 commits");
    assert_clean(&code(&[ldar, ldxr, stxr]), &[LOCKED]);
    assert_found(&code(&[ldxr, stxr, ldr]), &[LOCKED], "atomic");
    assert_found(&code(&[ldxr, str]), &[LOCKED], "atomic");
    assert_found(&code(&[ldxr, ldur]), &[NOTHING], "atomic");
    assert_found(&code(&[str]), &[LOCKED], "not 1 commits");
}

//! aarch64 instructions, as the audit sees them: what sections may contain is a short list.

use super::{Image, Kind, Order};
use std::ops::Range;

const NOP: u32 = 0xd503_201f;
const YIELD: u32 = 0xd503_203f;
/// `svc 0`.
const SVC: u32 = 0xd400_0001;

/// A signed field of `bits` bits, the lowest of them at `shift`.
fn field(word: u32, shift: u32, bits: u32) -> i64 {
    i64::from((word << (32 - shift - bits)) as i32 >> (32 - bits))
}

/// The descriptor that the instructions before `start` plant: `adrp x, page`,
/// `add x, x, low`, `str x, [area, 8]`; or, as linkers shorten it, `nop`, `adr x, address`.
pub(super) fn planted(image: &Image, start: u64) -> Option<u64> {
    let from = start.checked_sub(12)?;
    let text = image.text(from..start)?;
    let word = |at: usize| u32::from_le_bytes(text[at..at + 4].try_into().unwrap());
    let [page, low, store] = [word(0), word(4), word(8)];
    let x = store & 31;
    if store & 0xffff_fc00 != 0xf900_0400 || low & 31 != x {
        return None;
    }
    let immediate = |word: u32| field(word, 5, 19) << 2 | i64::from(word >> 29 & 3);
    if low & 0x9f00_0000 == 0x1000_0000 {
        return (from + 4).checked_add_signed(immediate(low));
    }
    if page & 0x9f00_001f == 0x9000_0000 | x && low & 0xffc0_03e0 == 0x9100_0000 | x << 5 {
        let page = (from & !0xfff).checked_add_signed(immediate(page) << 12)?;
        return Some(page + u64::from(low >> 10 & 0xfff));
    }
    None
}

pub(super) fn kinds(start: u64, text: &[u8]) -> Vec<(Range<u64>, Kind)> {
    let addresses = (start..).step_by(4);
    let kinds = addresses.zip(text.chunks(4)).map(|(at, bytes)| {
        let kind = match bytes.try_into() {
            Ok(word) => kind(at, u32::from_le_bytes(word)),
            Err(_) => Kind::Forbidden("no instruction"),
        };
        (at..at + 4, kind)
    });
    kinds.collect()
}

/// A fence, an atomic access, an access that acquires or releases: what orders more than a plain
/// access does.
pub(super) fn strays(start: u64, text: &[u8]) -> Vec<(u64, &'static str)> {
    let words = text.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    (start..).step_by(4).zip(words).filter_map(|(at, word)| Some((at, stray(word)?))).collect()
}

fn stray(word: u32) -> Option<&'static str> {
    let is = |mask: u32, pattern: u32| word & mask == pattern;
    if is(0xffff_f000, 0xd503_3000) {
        Some("fence") // dmb, dsb, isb, sb, clrex
    } else if is(0x3f20_0c00, 0x3820_0000) {
        // Bits 29 to 24, 21, 11 and 10: ldadd and its kin, swp; ldapr.
        Some("atomic")
    } else if is(0x3f00_0000, 0x0800_0000) {
        // Bits 29 to 24: ldxr, stxr, cas and casp; with bit 23 and not 21, ldar, stlr.
        Some(if is(0x00a0_0000, 0x0080_0000) { "acquires or releases" } else { "atomic" })
    } else if is(0x3f20_0c00, 0x1900_0000) {
        Some("acquires or releases") // ldapur, stlur
    } else {
        None
    }
}

fn kind(at: u64, word: u32) -> Kind {
    let is = |mask: u32, pattern: u32| word & mask == pattern;
    let branch = |shift, bits| Kind::Branch(at.wrapping_add_signed(field(word, shift, bits) << 2));
    if word == NOP {
        Kind::Nop
    } else if word == YIELD {
        Kind::Harmless
    } else if word == SVC {
        Kind::Call
    } else if is(0xfc00_0000, 0x1400_0000) {
        branch(0, 26) // b
    } else if is(0xff00_0010, 0x5400_0000) || is(0x7e00_0000, 0x3400_0000) {
        branch(5, 19) // b.cond; cbz, cbnz
    } else if is(0x7e00_0000, 0x3600_0000) {
        branch(5, 14) // tbz, tbnz
    } else if is(0xfff0_0000, 0xd530_0000) {
        Kind::Harmless // mrs
    } else if is(0xffff_f000, 0xd503_3000) {
        Kind::Forbidden("fence")
    } else if is(0x1c00_0000, 0x1400_0000) {
        Kind::Forbidden("call, system call, return or trap")
    } else if is(0x0a00_0000, 0x0800_0000) {
        access(is)
    } else if word >> 16 == 0 {
        Kind::Forbidden("no instruction")
    } else {
        Kind::Harmless
    }
}

/// Loads and stores: single words, by immediate or register; or acquiring, releasing, exclusive.
fn access(is: impl Fn(u32, u32) -> bool) -> Kind {
    // ldr by immediate or register; ldrsw; ldp of two words, of four; ldr of two.
    let plain = [
        (0xbfc0_0000, 0xb940_0000),
        (0xbfe0_0c00, 0xb860_0800),
        (0xffc0_0000, 0xb980_0000),
        (0xffc0_0000, 0xa940_0000),
        (0xffc0_0000, 0xad40_0000),
        (0xffc0_0000, 0x3dc0_0000),
    ];
    if plain.iter().any(|&(mask, pattern)| is(mask, pattern)) {
        Kind::Load(Order::Plain)
    } else if is(0xffe0_0c00, 0xf840_0000) || is(0xffe0_0c00, 0x3cc0_0000) {
        Kind::Last // ldur of a word, of two
    } else if is(0xffff_fc00, 0xc85f_7c00) {
        Kind::Reserve // ldxr
    } else if is(0xffe0_fc00, 0xc800_7c00) {
        Kind::Locked // stxr
    } else if is(0xbfff_fc00, 0x88df_fc00) || is(0xbfff_fc00, 0xb8bf_c000) {
        Kind::Load(Order::Ordered) // ldar, ldapr
    } else if is(0xbfc0_0000, 0xb900_0000) || is(0xbfe0_0c00, 0xb820_0800) {
        Kind::Store(Order::Plain) // str, by either
    } else if is(0xbfe0_0c00, 0xb800_0000) || is(0xffe0_0c00, 0x3c80_0000) {
        Kind::Private // stur, of a word or two
    } else if is(0xbfff_fc00, 0x889f_fc00) {
        Kind::Store(Order::Ordered) // stlr
    } else {
        Kind::Forbidden("atomic, or an access that no section of ours has")
    }
}

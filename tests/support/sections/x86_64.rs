//! x86-64 instructions, as the audit sees them.

use super::{Image, Kind, Order};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use std::ops::Range;

/// The descriptor that the two instructions before `start` plant:
/// `lea x, [rip + descriptor]`, `mov fs:[o + 8], x`.
pub(super) fn planted(image: &Image, start: u64) -> Option<u64> {
    // The store is a byte longer if its base register wants it.
    [5, 6].into_iter().find_map(|store| {
        let from = start.checked_sub(7 + store)?;
        let text = image.text(from..start)?;
        let mut decoder = Decoder::with_ip(64, text, from, DecoderOptions::NONE);
        let (address, store) = (decoder.decode(), decoder.decode());
        let plants = address.mnemonic() == Mnemonic::Lea
            && address.is_ip_rel_memory_operand()
            && store.mnemonic() == Mnemonic::Mov
            && store.op0_kind() == OpKind::Memory
            && store.op1_kind() == OpKind::Register
            && store.op1_register() == address.op0_register()
            && store.memory_segment() == Register::FS
            && store.memory_base() != Register::None
            && store.memory_index() == Register::None
            && store.memory_displacement64() == 8
            && store.next_ip() == start;
        plants.then(|| address.ip_rel_memory_address())
    })
}

pub(super) fn kinds(start: u64, text: &[u8]) -> Vec<(Range<u64>, Kind)> {
    let mut decoder = Decoder::with_ip(64, text, start, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    let mut kinds = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        kinds.push((instruction.ip()..instruction.next_ip(), kind(&instruction, &mut info)));
    }
    kinds
}

/// A fence, an atomic access: what orders more than a plain access does.
pub(super) fn strays(start: u64, text: &[u8]) -> Vec<(u64, &'static str)> {
    let stray = |(at, kind): (Range<u64>, Kind)| match kind {
        Kind::Forbidden(what @ ("fence" | "atomic")) => Some((at.start, what)),
        Kind::Locked => Some((at.start, "atomic")),
        _ => None,
    };
    kinds(start, text).into_iter().filter_map(stray).collect()
}

fn kind(instruction: &Instruction, info: &mut InstructionInfoFactory) -> Kind {
    if instruction.is_invalid() {
        return Kind::Forbidden("no instruction");
    }
    if instruction.mnemonic() == Mnemonic::Syscall {
        return Kind::Call;
    }
    match instruction.flow_control() {
        FlowControl::Next => {}
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            return Kind::Branch(instruction.near_branch_target());
        }
        _ => return Kind::Forbidden("call, system call, return or trap"),
    }
    if instruction.is_stack_instruction() {
        return Kind::Forbidden("uses the stack");
    }
    let memory: Vec<_> =
        info.info(instruction).used_memory().iter().map(|memory| memory.access()).collect();
    let writes = |access| {
        use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
        matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
    };
    match instruction.mnemonic() {
        Mnemonic::Nop => Kind::Nop,
        Mnemonic::Mfence | Mnemonic::Sfence | Mnemonic::Lfence | Mnemonic::Cpuid => {
            Kind::Forbidden("fence")
        }
        Mnemonic::Inc if instruction.has_lock_prefix() => Kind::Locked,
        _ if instruction.has_lock_prefix() => Kind::Forbidden("atomic"),
        Mnemonic::Xchg if !memory.is_empty() => Kind::Forbidden("atomic"),
        _ if memory.iter().any(|&access| writes(access)) => {
            if instruction.segment_prefix() == Register::DS {
                Kind::Private
            } else {
                Kind::Store(Order::Plain)
            }
        }
        _ if memory.iter().any(|&access| access != OpAccess::NoMemAccess) => {
            if instruction.segment_prefix() == Register::DS {
                Kind::Last
            } else {
                Kind::Load(Order::Plain)
            }
        }
        _ => Kind::Harmless,
    }
}

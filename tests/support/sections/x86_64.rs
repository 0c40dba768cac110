//! x86-64 instructions, as the audit sees them.

use super::{Code, Image, Kind};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

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

pub(super) fn read(code: &mut Code<'_>, text: &[u8]) {
    let mut decoder = Decoder::with_ip(64, text, code.section.start, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        code.take(instruction.ip()..instruction.next_ip(), kind(&instruction, &mut info));
    }
}

fn kind(instruction: &Instruction, info: &mut InstructionInfoFactory) -> Kind {
    if instruction.is_invalid() {
        return Kind::Forbidden("no instruction");
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
    let mut memory = info.info(instruction).used_memory().iter().map(|m| m.access());
    let writes = |access| {
        use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
        matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
    };
    match instruction.mnemonic() {
        Mnemonic::Nop => Kind::Nop,
        Mnemonic::Mfence | Mnemonic::Sfence | Mnemonic::Lfence | Mnemonic::Cpuid => {
            Kind::Forbidden("fence")
        }
        _ if instruction.has_lock_prefix() => Kind::Forbidden("atomic"),
        Mnemonic::Xchg if memory.len() > 0 => Kind::Forbidden("atomic"),
        _ if memory.any(writes) => Kind::Store,
        _ => Kind::Harmless,
    }
}

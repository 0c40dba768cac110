//! Audits the restartable sections of an ELF file: descriptors, pointers, exit points, code.
//!
//! The file may be of either architecture, whatever the host is; it may be position
//! independent or not, an executable or a shared object. [`Image::load`] puts into the tables
//! what the dynamic loader would (before it adds the load bias); [`audit`] then says what is
//! wrong.

mod aarch64;
pub(crate) mod order;
pub(crate) mod sketch;
mod x86_64;

use object::elf::{R_AARCH64_RELATIVE, R_X86_64_RELATIVE, SHF_EXECINSTR};
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, SectionFlags, SymbolKind};
use std::collections::HashMap;
use std::ops::Range;

/// Whose instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

/// Bytes, and the address they are linked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    /// The bytes of a range of addresses, if all of them are here.
    fn slice(&self, range: Range<u64>) -> Option<&[u8]> {
        let start = range.start.checked_sub(self.address)?;
        let end = range.end.checked_sub(self.address)?;
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// The block as 64-bit words, with their addresses.
    pub(crate) fn words(&self) -> impl Iterator<Item = (u64, u64)> {
        let words = self.bytes.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap()));
        (self.address..).step_by(8).zip(words)
    }
}

/// What the audit looks at.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    arch: Arch,
    /// Every executable section.
    code: Vec<Block>,
    /// `__rseq_cs`, `__rseq_cs_ptr_array`, `__rseq_exit_point_array`.
    descriptors: Block,
    pointers: Block,
    exits: Block,
    /// Names of functions, as the linker has them, and where they are.
    functions: Vec<(String, Range<u64>)>,
}

impl Image {
    /// Reads an ELF file.
    pub(crate) fn load(file: &[u8]) -> Result<Image, String> {
        let file = object::File::parse(file).map_err(|e| e.to_string())?;
        let (arch, relative) = match file.architecture() {
            object::Architecture::X86_64 => (Arch::X86_64, R_X86_64_RELATIVE),
            object::Architecture::Aarch64 => (Arch::Aarch64, R_AARCH64_RELATIVE),
            other => return Err(format!("no audit for {other:?}")),
        };
        let mut code = Vec::new();
        for section in file.sections() {
            if let SectionFlags::Elf { sh_flags, .. } = section.flags()
                && sh_flags.contains(SHF_EXECINSTR)
            {
                code.push(block(&section)?);
            }
        }
        let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() != 0);
        let functions = functions.filter_map(|s| {
            Some((s.name().ok()?.to_owned(), s.address()..s.address().checked_add(s.size())?))
        });
        let functions = functions.collect();
        let relocated: HashMap<u64, _> = file.dynamic_relocations().into_iter().flatten().collect();
        let table = |name: &str| {
            let section = file.section_by_name(name).ok_or(format!("no section {name}"))?;
            let mut table = block(&section)?;
            for offset in (0..table.bytes.len().saturating_sub(7)).step_by(4) {
                let Some(reloc) = relocated.get(&(table.address + offset as u64)) else { continue };
                if reloc.flags() != (RelocationFlags::Elf { r_type: relative }) {
                    return Err(format!("{name}+{offset}: {reloc:?}"));
                }
                table.bytes[offset..offset + 8].copy_from_slice(&reloc.addend().to_le_bytes());
            }
            Ok(table)
        };
        Ok(Image {
            arch,
            code,
            descriptors: table("__rseq_cs")?,
            pointers: table("__rseq_cs_ptr_array")?,
            exits: table("__rseq_exit_point_array")?,
            functions,
        })
    }

    /// How many descriptors it has.
    pub(crate) fn count(&self) -> usize {
        self.descriptors.bytes.len() / Descriptor::SIZE
    }

    /// The three tables.
    pub(crate) fn tables(&self) -> [&Block; 3] {
        [&self.descriptors, &self.pointers, &self.exits]
    }

    /// Addresses of the descriptors.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.descriptors().map(|d| d.address)
    }

    fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        let table = &self.descriptors;
        let addresses = (table.address..).step_by(Descriptor::SIZE);
        addresses
            .zip(table.bytes.chunks_exact(Descriptor::SIZE))
            .map(|(a, b)| Descriptor::new(a, b))
    }

    /// Executable bytes, if the whole range is within one section.
    fn text(&self, range: Range<u64>) -> Option<&[u8]> {
        self.code.iter().find_map(|block| block.slice(range.clone()))
    }

    /// Pairs of a section's start and where it may be left early.
    fn exit_points(&self) -> Vec<(u64, u64)> {
        let words: Vec<u64> = self.exits.words().map(|(_, word)| word).collect();
        words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

fn block<'d>(section: &impl ObjectSection<'d>) -> Result<Block, String> {
    let bytes = section.data().map_err(|e| e.to_string())?.to_vec();
    Ok(Block { address: section.address(), bytes })
}

/// `struct rseq_cs`.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    address: u64,
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

impl Descriptor {
    const SIZE: usize = 32;
    /// Longer is not wrong, but none of ours is, and a page's worth would be a mistake.
    const LENGTHS: Range<u64> = 1..200;

    fn new(address: u64, bytes: &[u8]) -> Descriptor {
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Descriptor {
            address,
            version: half(0),
            flags: half(4),
            start: word(8),
            length: word(16),
            abort: word(24),
        }
    }

    fn section(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.length)
    }
}

/// Everything that is wrong with an image; nothing, if it is as it should be.
pub(crate) fn audit(image: &Image) -> Vec<String> {
    let mut faults = table_faults(image);
    let exits = image.exit_points();
    for descriptor in image.descriptors() {
        let name = format!("section {:#x}", descriptor.start);
        let mut found = descriptor_faults(image, &descriptor);
        let section = descriptor.section();
        let mut targets = exits.iter().filter(|e| e.0 == section.start).map(|e| e.1);
        match (targets.next(), targets.next()) {
            (Some(exit), None) => {
                if section.contains(&exit) || image.text(exit..exit.saturating_add(1)).is_none() {
                    found.push(format!("exit point {exit:#x} is inside, or not code"));
                }
                found.extend(code_faults(image, &section, exit));
            }
            (None, _) => found.push("no exit point".to_owned()),
            _ => found.push("two exit points".to_owned()),
        }
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    faults
}

/// The tables among themselves: one pointer and one exit point per descriptor.
fn table_faults(image: &Image) -> Vec<String> {
    let mut faults = Vec::new();
    for (table, entry, alignment) in
        [(&image.descriptors, 32, 32), (&image.pointers, 8, 8), (&image.exits, 16, 8)]
    {
        if table.bytes.len() % entry != 0 || table.address % alignment != 0 {
            let (from, length) = (table.address, table.bytes.len());
            faults.push(format!("table {from:#x}, {length} bytes: not aligned, or padded"));
        }
    }
    let mut pointed: HashMap<u64, usize> = image.addresses().map(|address| (address, 0)).collect();
    for (at, pointer) in image.pointers.words() {
        match pointed.get_mut(&pointer) {
            Some(times) => *times += 1,
            None => faults.push(format!("pointer at {at:#x} to {pointer:#x}, no descriptor")),
        }
    }
    for (descriptor, times) in pointed {
        if times != 1 {
            faults.push(format!("{times} pointers to the descriptor {descriptor:#x}"));
        }
    }
    for (start, _) in image.exit_points() {
        if !image.descriptors().any(|d| d.start == start) {
            faults.push(format!("exit point of {start:#x}, no section"));
        }
    }
    faults
}

/// One descriptor and what surrounds its section: landing, signature, planting store.
fn descriptor_faults(image: &Image, d: &Descriptor) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let section = d.section();
    check(d.address.is_multiple_of(32), "descriptor not aligned".to_owned());
    check(d.version == 0 && d.flags == 0, format!("version {}, flags {}", d.version, d.flags));
    check(Descriptor::LENGTHS.contains(&d.length), format!("length {}", d.length));
    check(image.text(section.clone()).is_some(), "section is not code".to_owned());
    check(!section.contains(&d.abort), format!("abort landing {:#x} inside", d.abort));
    check(
        image.text(d.abort..d.abort.saturating_add(1)).is_some(),
        format!("abort landing {:#x} is not code", d.abort),
    );
    let signature = image.arch.signature();
    let before = d.abort.saturating_sub(signature.len() as u64)..d.abort;
    let found = image.text(before);
    check(found == Some(signature), format!("signature {found:x?}"));
    let planted = match image.arch {
        Arch::X86_64 => x86_64::planted(image, d.start),
        Arch::Aarch64 => aarch64::planted(image, d.start),
    };
    check(
        planted == Some(d.address),
        format!("the instruction before it plants {planted:x?}, not {:#x}", d.address),
    );
    faults
}

/// The instructions of a section.
fn code_faults(image: &Image, section: &Range<u64>, exit: u64) -> Vec<String> {
    let Some(text) = image.text(section.clone()) else { return Vec::new() };
    let mut code = Code { section, exit, committed: false, reserved: false, faults: Vec::new() };
    for (at, kind) in kinds(image.arch, section.start, text) {
        code.take(at, kind);
    }
    code.faults
}

/// What each instruction of a text means, and where it stands.
fn kinds(arch: Arch, start: u64, text: &[u8]) -> Vec<(Range<u64>, Kind)> {
    match arch {
        Arch::X86_64 => x86_64::kinds(start, text),
        Arch::Aarch64 => aarch64::kinds(start, text),
    }
}

/// What an instruction means for the section it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Registers.
    Harmless,
    /// A load.
    Load(Order),
    /// Does nothing: where the self-test has its commit.
    Nop,
    /// A store that is not atomic with a load.
    Store(Order),
    /// A store that is not the commit: to memory that nobody else looks at before that. On x86-64 with
    /// a segment that would have gone without saying; on aarch64 `stur`.
    Private,
    /// A load that is the last instruction: of a section that reads, and commits nothing. On
    /// x86-64 with a segment that would have gone without saying; on aarch64 `ldur`.
    Last,
    /// On aarch64, a load that the atomic store at the section's end belongs to.
    Reserve,
    /// A store that is atomic with a load: a section may end with one.
    Locked,
    /// A system call: in a section, its last instruction.
    Call,
    /// A direct branch.
    Branch(u64),
    /// Must not stand in a section.
    Forbidden(&'static str),
}

/// What an access says of other accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing. On x86-64 all are of this kind, and it acquires, and releases.
    Plain,
    /// A load that acquires, a store that releases.
    Ordered,
    /// Of a section's end: nothing is committed, since the section is a read, which acquires.
    Nothing,
    /// Of a section's end: an atomic addition, in a section whose loads acquire.
    Locked,
    /// A system call.
    Call,
}

/// A section while its instructions are read.
#[derive(Debug)]
struct Code<'s> {
    section: &'s Range<u64>,
    exit: u64,
    committed: bool,
    /// There was a load that only an atomic store may follow.
    reserved: bool,
    faults: Vec<String>,
}

impl Code<'_> {
    /// Takes the next instruction, which stands at `at`.
    fn take(&mut self, at: Range<u64>, kind: Kind) {
        let mut fault = |what: String| self.faults.push(format!("{:#x}: {what}", at.start));
        let last = at.end >= self.section.end;
        if self.committed {
            fault("instruction behind a store".to_owned());
        }
        self.committed |= matches!(kind, Kind::Store(_) | Kind::Locked | Kind::Call);
        self.reserved |= kind == Kind::Reserve;
        if kind == Kind::Locked && !last || last && self.reserved && kind != Kind::Locked {
            fault("atomic".to_owned());
        }
        match kind {
            Kind::Forbidden(what) => fault(what.to_owned()),
            Kind::Branch(to)
                if to != self.exit && to != self.section.end && !self.section.contains(&to) =>
            {
                fault(format!("branch to {to:#x}"));
            }
            Kind::Last if !last => fault("the last load is not the last instruction".to_owned()),
            Kind::Call if !last => fault("call, system call, return or trap".to_owned()),
            Kind::Store(_) | Kind::Nop | Kind::Last | Kind::Locked | Kind::Call => {}
            _ if last => fault("the last instruction commits nothing".to_owned()),
            _ => {}
        }
    }
}

impl Arch {
    /// What must stand before an abort landing. On x86-64, with the opcode that makes the
    /// signature an instruction.
    fn signature(self) -> &'static [u8] {
        match self {
            Arch::X86_64 => &[0x0f, 0xb9, 0x3d, 0x53, 0x30, 0x05, 0x53],
            Arch::Aarch64 => &[0x00, 0xbc, 0x28, 0xd4],
        }
    }
}

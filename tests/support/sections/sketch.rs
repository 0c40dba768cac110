//! A small image made by hand, of either architecture, to be spoilt in one place.

use super::{Arch, Block, Image};

const FUNCTION: u64 = 0xff0;
const CODE: u64 = 0x1000;
const START: u64 = 0x100c;
const LANDING: u64 = 0x1100;
const TABLES: u64 = 0x2000;

/// One section, as its fields say.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) arch: Arch,
    pub(crate) tables: u64,
    pub(crate) version: u32,
    pub(crate) flags: u32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) abort: u64,
    /// The function's first instructions, in front of `planting`.
    pub(crate) before: Vec<u8>,
    pub(crate) planting: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) pointers: Vec<u64>,
    pub(crate) exits: Vec<u64>,
}

impl Sketch {
    /// Its one function.
    pub(crate) const FUNCTION: &str = "sketch";

    /// A good one: plants its descriptor, does nothing, commits.
    pub(crate) fn good(arch: Arch) -> Sketch {
        let (planting, nop): (&[u8], &[u8]) = match arch {
            // lea rax, [rip + descriptor]; mov fs:[rcx + 8], rax
            Arch::X86_64 => {
                (&[0x48, 0x8d, 0x05, 0xf9, 0x0f, 0, 0, 0x64, 0x48, 0x89, 0x41, 0x08], &[0x90])
            }
            // adrp x0, descriptor; add x0, x0, 0; str x0, [x1, 8]
            Arch::Aarch64 => {
                (&[0, 0, 0, 0xb0, 0, 0, 0, 0x91, 0x20, 0x04, 0, 0xf9], &[0x1f, 0x20, 0x03, 0xd5])
            }
        };
        let signature = arch.signature().to_vec();
        let abort = LANDING + signature.len() as u64;
        let sketch = Sketch {
            arch,
            tables: TABLES,
            version: 0,
            flags: 0,
            start: START,
            length: 0,
            abort,
            before: Vec::new(),
            planting: planting.to_vec(),
            body: Vec::new(),
            signature,
            pointers: vec![TABLES],
            exits: vec![START, abort],
        };
        sketch.with_body(&[nop, sketch.commit()].concat())
    }

    /// The section's instructions, its last one a commit.
    pub(crate) fn with_body(&self, body: &[u8]) -> Sketch {
        Sketch { body: body.to_vec(), length: body.len() as u64, ..self.clone() }
    }

    /// The body of one instruction, then the commit.
    pub(crate) fn before_commit(&self, instruction: &[u8]) -> Sketch {
        self.with_body(&[instruction, self.commit()].concat())
    }

    /// `inc qword ptr [rcx]`; `str x2, [x1]`
    pub(crate) fn commit(&self) -> &'static [u8] {
        match self.arch {
            Arch::X86_64 => &[0x48, 0xff, 0x01],
            Arch::Aarch64 => &[0x22, 0x00, 0x00, 0xf9],
        }
    }

    pub(crate) fn build(&self) -> Image {
        let mut code = vec![0; 0x200];
        // Instructions that do nothing, of either architecture.
        code[..(CODE - FUNCTION) as usize].fill(0x90);
        let mut put = |at: u64, bytes: &[u8]| {
            let at = (at - FUNCTION) as usize;
            code[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(FUNCTION, &self.before);
        put(CODE, &self.planting);
        put(START, &self.body);
        put(LANDING, &self.signature);
        let table = |offset, words: &[u64]| Block {
            address: self.tables + offset,
            bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        };
        let head = u64::from(self.version) | u64::from(self.flags) << 32;
        Image {
            arch: self.arch,
            code: vec![Block { address: FUNCTION, bytes: code }],
            descriptors: table(0, &[head, self.start, self.length, self.abort]),
            pointers: table(0x100, &self.pointers),
            exits: table(0x200, &self.exits),
            functions: vec![(Sketch::FUNCTION.to_owned(), FUNCTION..LANDING)],
        }
    }
}

//! Programs, spoilt in one place: the audit, and the kernel, must notice.

use crate::sections::Image;
use anyhow::{Context, Result, anyhow, ensure};
use object::{Object, ObjectSection};

/// What the audit looks at.
pub(crate) fn image(file: &[u8]) -> Result<Image> {
    Image::load(file).map_err(|why| anyhow!(why))
}

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// No landing has the signature.
    Signature,
    /// A section has no exit point.
    Exits,
    /// Nobody points to one of the descriptors.
    Pointer,
}

/// The file, with that defect.
pub(crate) fn spoil(good: &[u8], defect: Defect) -> Result<Vec<u8>> {
    let file = object::File::parse(good)?;
    let mut spoilt = good.to_vec();
    match defect {
        Defect::Signature => {
            let signature: &[u8] = match file.architecture() {
                object::Architecture::X86_64 => &[0x0f, 0xb9, 0x3d, 0x53, 0x30, 0x05, 0x53],
                _ => &[0x00, 0xbc, 0x28, 0xd4],
            };
            let (from, length) = place(&file, ".text")?;
            let mut found = 0;
            for at in from..from + length - signature.len() {
                if good[at..].starts_with(signature) {
                    spoilt[at + signature.len() - 1] ^= 1;
                    found += 1;
                }
            }
            ensure!(found > 0, "no signatures");
        }
        // In position-independent programs the words come from relocations; so it is the array's
        // header that changes: its last entry belongs to nobody.
        Defect::Exits => shorten(&file, &mut spoilt, "__rseq_exit_point_array", 16)?,
        Defect::Pointer => shorten(&file, &mut spoilt, "__rseq_cs_ptr_array", 8)?,
    }
    Ok(spoilt)
}

/// Where a section's bytes are in the file.
fn place(file: &object::File<'_>, name: &str) -> Result<(usize, usize)> {
    let section = file.section_by_name(name).with_context(|| format!("no {name}"))?;
    let (from, length) = section.file_range().with_context(|| format!("{name} is empty"))?;
    Ok((from.try_into()?, length.try_into()?))
}

/// Makes a section's header say that it is shorter.
fn shorten(file: &object::File<'_>, spoilt: &mut [u8], name: &str, by: u64) -> Result<()> {
    const HEADER: usize = 64;
    const SIZE: usize = 32;
    let section = file.section_by_name(name).with_context(|| format!("no {name}"))?;
    let word = |bytes: &[u8], at: usize| -> Result<u64> {
        Ok(u64::from_le_bytes(bytes[at..at + 8].try_into()?))
    };
    // Of 64-bit ELF: the section headers' place.
    let headers: usize = word(spoilt, 40)?.try_into()?;
    let at = headers + section.index().0 * HEADER + SIZE;
    let size = word(spoilt, at)?;
    ensure!(size == section.size() && size > by, "not where its size is");
    spoilt[at..at + 8].copy_from_slice(&(size - by).to_le_bytes());
    Ok(())
}

//! The sections that describe restartable sequences, as they are in real files: this test's
//! own binary, a shared object, and whatever `STILLPOINT_AUDIT` names.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

#[allow(dead_code, reason = "tests/instructions.rs uses the rest")]
#[path = "support/sections/mod.rs"]
mod sections;

use sections::sketch::Sketch;
use sections::{Arch, Image, audit};
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use stillpoint::rcu;
use stillpoint::rseq::area::{ensure_registered, thread_area};

/// The sections of one copy of the library: enter and leave, each inlined into a caller and
/// into the cold path, and the self-test's.
const OF_ONE_COPY: usize = 5;

fn load(path: &Path) -> Image {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Image::load(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn own() -> Image {
    load(&std::env::current_exe().unwrap())
}

fn assert_clean(path: &Path, image: &Image, least: usize) {
    let faults = audit(image);
    assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
    println!("{}: {} sections", path.display(), image.count());
    assert!(image.count() >= least, "only {} sections", image.count());
}

/// What the audit of this binary is to find: a read-side critical section, inlined.
#[inline(never)]
fn read_once() {
    drop(std::hint::black_box(rcu::read()));
}

#[test]
fn own_binary() {
    read_once();
    assert_clean(&std::env::current_exe().unwrap(), &own(), OF_ONE_COPY);
}

/// What the dynamic loader made of the tables is what the audit saw.
#[test]
fn own_memory() {
    let bias = load_bias();
    let mut compared = 0;
    for table in own().tables() {
        for (address, expected) in table.words() {
            // SAFETY: a word of one of this program's own data sections, which nobody writes
            // after the loader.
            let found = unsafe { (address.wrapping_add(bias) as *const u64).read_unaligned() };
            // Addresses got the bias added; versions, flags and lengths did not.
            assert!([expected, expected.wrapping_add(bias)].contains(&found), "{address:#x}");
            compared += 1;
        }
    }
    assert!(compared >= OF_ONE_COPY * 7);
}

/// What a reader plants is a descriptor that the pointer table lists.
#[test]
fn planted_is_listed() {
    if !ensure_registered() {
        return println!("SKIPPED planted descriptors: rseq is not registered");
    }
    let listed: Vec<u64> =
        own().addresses().map(|address| address.wrapping_add(load_bias())).collect();
    let planted = || {
        read_once();
        // SAFETY: this thread's registered area; the field is at 8 and aligned.
        unsafe { thread_area().byte_add(8).cast::<u64>().read_volatile() }
    };
    // The kernel takes it away at every preemption; below the Rseq tier nobody plants any.
    match (0..1000).map(|_| planted()).find(|&address| address != 0) {
        Some(address) => assert!(listed.contains(&address), "{address:#x} is not in {listed:x?}"),
        None => assert_ne!(rcu::Domain::global().tier(), stillpoint::Tier::Rseq),
    }
}

/// What the loader added to the addresses that this program is linked at.
fn load_bias() -> u64 {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _: usize,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a live record, and the data that it was given: a live u64.
        unsafe { *data.cast::<u64>() = (*info).dlpi_addr };
        1
    }
    let mut bias = 0_u64;
    // SAFETY: the callback has the asked-for type and writes to `bias`, which lives. The program
    // itself comes first.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut bias).cast()) };
    bias
}

#[test]
fn shared_object() {
    match build_shared_object() {
        Ok(path) => assert_clean(&path, &load(&path), OF_ONE_COPY),
        Err(why) => println!("SKIPPED the shared object: cannot be built: {why}"),
    }
}

/// In a target directory of its own: this test may run while others build.
fn build_shared_object() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-object");
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CARGO_BUILD_TARGET")
        .args(["build", "--offline", "--release", "--package", "shared-object", "--target-dir"])
        .arg(&target)
        .output()
        .map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    let path = target.join("release/libshared_object.so");
    if path.exists() { Ok(path) } else { Err("it was built somewhere else".to_owned()) }
}

/// Files of other targets or linkers, built elsewhere: paths with colons between them.
#[test]
fn named_files() {
    let Some(paths) = std::env::var_os("STILLPOINT_AUDIT") else { return };
    for path in std::env::split_paths(&paths) {
        assert_clean(&path, &load(&path), 1);
    }
}

/// The audit's faults in a sketch.
fn faults(sketch: &Sketch) -> Vec<String> {
    audit(&sketch.build())
}

fn assert_found(sketch: &Sketch, fault: &str) {
    let found = faults(sketch);
    assert!(found.iter().any(|f| f.contains(fault)), "{fault:?} not in {found:#?}: {sketch:x?}");
}

#[test]
fn the_audit_finds_spoilt_tables() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let good = Sketch::good(arch);
        assert_eq!(faults(&good), [""; 0], "{arch:?}");
        let (start, length, abort) = (good.start, good.length, good.abort);
        let descriptor = good.pointers[0];
        let far = 0x9000;
        let spoilt = |fault: &str, spoil: &dyn Fn(&mut Sketch)| {
            let mut sketch = good.clone();
            spoil(&mut sketch);
            assert_found(&sketch, fault);
        };
        spoilt("version 1", &|s| s.version = 1);
        spoilt("flags 4", &|s| s.flags = 4);
        spoilt("length 0", &|s| s.length = 0);
        spoilt("length 200", &|s| s.length = 200);
        spoilt("not aligned", &|s| s.tables += 8);
        spoilt("is not code", &|s| s.start = far);
        spoilt("plants", &|s| s.start += 4);
        spoilt("plants", &|s| s.planting.rotate_left(1));
        spoilt("plants", &|s| s.tables += 32);
        spoilt("landing 0x100c inside", &|s| s.abort = start);
        spoilt("inside", &|s| s.abort = start + length - 1);
        spoilt("landing 0x9000 is not code", &|s| s.abort = far);
        spoilt("signature", &|s| s.abort += 4);
        for byte in 0..good.signature.len() {
            spoilt("signature", &|s| s.signature[byte] ^= 1);
        }
        spoilt("0 pointers", &|s| s.pointers.clear());
        spoilt("2 pointers", &|s| s.pointers.push(descriptor));
        spoilt("no descriptor", &|s| s.pointers.push(descriptor + 32));
        spoilt("no descriptor", &|s| s.pointers[0] += 16);
        spoilt("no exit point", &|s| s.exits.clear());
        spoilt("two exit points", &|s| s.exits.extend([start, abort]));
        spoilt("not aligned, or padded", &|s| s.exits.push(start));
        spoilt("no section", &|s| s.exits.extend([abort, abort]));
        spoilt("exit point 0x100c is inside", &|s| s.exits[1] = start);
        spoilt("exit point 0x9000 is", &|s| s.exits[1] = far);
    }
}

#[test]
fn the_audit_finds_bad_instructions_of_x86_64() {
    let good = Sketch::good(Arch::X86_64);
    for (fault, instruction) in [
        ("call", &[0xff, 0xd0][..]),
        ("call", &[0xe8, 0, 0, 0, 0]),
        ("system call", &[0x0f, 0x05]),
        ("return", &[0xc3]),
        ("trap", &[0xcc]),
        ("stack", &[0x50]),
        ("stack", &[0x58]),
        ("atomic", &[0xf0, 0x48, 0xff, 0x01]),
        ("atomic", &[0x48, 0x87, 0x01]),
        ("fence", &[0x0f, 0xae, 0xf0]),
        ("behind a store", &[0x48, 0x89, 0x01]),
        ("branch to", &[0xeb, 0x40]),
        ("no instruction", &[0x06]),
    ] {
        assert_found(&good.before_commit(instruction), fault);
    }
    // mov eax, fs:[rdx + 4]; cmp eax, [rsi]; jae exit; lea rbx, [rcx + rax]
    let harmless = [
        &[0x64, 0x8b, 0x42, 0x04][..],
        &[0x3b, 0x06],
        &[0x0f, 0x83, 0xef, 0, 0, 0],
        &[0x48, 0x8d, 0x1c, 0x01],
    ];
    assert_eq!(faults(&good.before_commit(&harmless.concat())), [""; 0]);
}

#[test]
fn the_audit_finds_bad_instructions_of_aarch64() {
    let good = Sketch::good(Arch::Aarch64);
    for (fault, instruction) in [
        ("call", 0x9400_0000_u32),    // bl
        ("call", 0xd63f_0000),        // blr x0
        ("system call", 0xd400_0001), // svc 0
        ("return", 0xd65f_03c0),      // ret
        ("atomic", 0xc85f_7c20),      // ldxr x0, [x1]
        ("atomic", 0xf820_0022),      // ldadd x0, x2, [x1]
        ("atomic", 0xa9bf_7bfd),      // stp x29, x30, [sp, -16]!
        ("fence", 0xd503_3bbf),       // dmb ish
        ("behind a store", 0xf900_0020),
        ("behind a store", 0xc89f_fc20), // stlr x0, [x1]
        ("branch to", 0x1400_0010),
        ("branch to", 0x5400_0202), // b.hs
        ("branch to", 0xb400_0200), // cbz x0
        ("no instruction", 0),
    ] {
        assert_found(&good.before_commit(&instruction.to_le_bytes()), fault);
    }
    let exit = (good.exits[1] - good.start) as u32;
    // ldr w0, [x1, 4]; b.hs exit, which is 4 nearer; add x0, x1, x0, lsl 7; ldr x2, [x0, 128]
    let harmless = [0xb940_0420, 0x5400_0002 | (exit - 4) >> 2 << 5, 0x8b00_1c20, 0xf940_4002_u32];
    assert_eq!(faults(&good.before_commit(&harmless.map(u32::to_le_bytes).concat())), [""; 0]);
    // nop; adr x0, descriptor; str x0, [x1, 8]
    let planting = [0xd503_201f, 0x1000_7fe0, 0xf900_0420_u32].map(u32::to_le_bytes).concat();
    assert_eq!(faults(&Sketch { planting, ..good }), [""; 0]);
}

/// A section may store before its commit if it has looked twice whether to leave, and then does not.
#[test]
fn the_audit_knows_what_is_staged() {
    // jae exit; jae exit; mov [rcx], rax; jae exit
    let [first, second, store, third] = [
        &[0x0f, 0x83, 0xf5, 0, 0, 0][..],
        &[0x0f, 0x83, 0xef, 0, 0, 0],
        &[0x48, 0x89, 0x01],
        &[0x0f, 0x83, 0xe6, 0, 0, 0],
    ];
    let good = Sketch::good(Arch::X86_64);
    assert_eq!(faults(&good.before_commit(&[first, second, store].concat())), [""; 0]);
    assert_found(&good.before_commit(&[first, store].concat()), "behind a store");
    assert_found(&good.before_commit(&[first, second, store, third].concat()), "behind a store");
    // b.hs exit; b.hs exit; str x0, [x1]; b.hs exit
    let good = Sketch::good(Arch::Aarch64);
    let exit = (good.exits[1] - good.start) as u32;
    let leave = |at: u32| (0x5400_0002 | (exit - at) >> 2 << 5).to_le_bytes();
    let store = 0xf900_0020_u32.to_le_bytes();
    assert_eq!(faults(&good.before_commit(&[leave(0), leave(4), store].concat())), [""; 0]);
    assert_found(&good.before_commit(&[leave(0), store].concat()), "behind a store");
    let late = good.before_commit(&[leave(0), leave(4), store, leave(12)].concat());
    assert_found(&late, "behind a store");
}

#[test]
fn the_audit_finds_a_misplaced_commit() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let good = Sketch::good(arch);
        let commit = good.commit().len() as u64;
        // The commit one instruction too late: the section ends before it.
        let add: &[u8] = match arch {
            Arch::X86_64 => &[0x48, 0x01, 0xc1],
            Arch::Aarch64 => &[0x20, 0x00, 0x00, 0x8b],
        };
        let late = good.before_commit(add);
        assert_found(&Sketch { length: late.length - commit, ..late }, "commits nothing");
        // Too early: an instruction behind it.
        assert_found(&good.with_body(&[good.commit(), add].concat()), "behind a store");
        // The end in the middle of an instruction.
        assert_found(&Sketch { length: good.length - 1, ..good.clone() }, "no instruction");
    }
}

//! Numbers of the kernel's ABI that the `libc` crate does not have.

#![cfg_attr(not(stillpoint_sections), allow(dead_code, reason = "only registration uses them"))]

/// What must stand in the four bytes before every abort landing, as the libc of the
/// architecture registers it (`RSEQ_SIG`).
#[cfg(target_arch = "aarch64")]
pub(crate) const SIGNATURE: u32 = 0xd428_bc00;
/// What must stand in the four bytes before every abort landing, as the libc of the
/// architecture registers it (`RSEQ_SIG`).
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

/// Auxiliary vector: bytes of `struct rseq` that the kernel fills; absent before Linux 6.3.
pub(crate) const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;
/// Auxiliary vector: alignment the kernel wants of a registration longer than 32 bytes.
pub(crate) const AT_RSEQ_ALIGN: libc::c_ulong = 28;

/// Length of the first `struct rseq`; every kernel accepts a registration of this length.
pub(crate) const ORIGINAL_LENGTH: u32 = 32;
/// Bytes the first `struct rseq` really used.
pub(crate) const ORIGINAL_FEATURES: u32 = 20;

/// `cpu_id` of an area that was never registered, or no longer is.
pub(crate) const CPU_ID_UNINITIALIZED: u32 = -1_i32 as u32;
/// `cpu_id` of an area whose registration failed; written by user space only.
pub(crate) const CPU_ID_REGISTRATION_FAILED: u32 = -2_i32 as u32;

/// `struct rseq` as of Linux 6.3.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Area {
    pub(crate) cpu_id_start: u32,
    pub(crate) cpu_id: u32,
    pub(crate) rseq_cs: u64,
    pub(crate) flags: u32,
    pub(crate) node_id: u32,
    pub(crate) mm_cid: u32,
}

/// Where `slice_ctrl` is, as of Linux 7.0. What user space may write there: the first byte.
pub(crate) const SLICE_CONTROL: usize = 28;
pub(crate) const PR_RSEQ_SLICE_EXTENSION: libc::c_int = 79;
pub(crate) const PR_SLICE_SET: libc::c_ulong = 2;
pub(crate) const PR_SLICE_ENABLE: libc::c_ulong = 1;
/// The same on all architectures that have sequences of ours.
pub(crate) const SYS_RSEQ_SLICE_YIELD: libc::c_long = 471;

pub(crate) const MEMBARRIER_QUERY: libc::c_int = 0;
pub(crate) const MEMBARRIER_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
pub(crate) const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
pub(crate) const MEMBARRIER_PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 7;
/// With a CPU's number: only there. For the broadcast that aborts sections.
pub(crate) const MEMBARRIER_FLAG_CPU: libc::c_int = 1;
pub(crate) const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_RSEQ: libc::c_int = 1 << 8;

//! What a child does before the library's own constructor.

use super::surrounding::EARLY;
use std::ffi::{CStr, CString};
use stillpoint::rcu;

/// The signature that abort landings have, by architecture.
pub(crate) const SIGNATURE: u32 =
    if cfg!(target_arch = "aarch64") { 0xd428_bc00 } else { 0x5305_3053 };

/// An rseq area that is not the library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignArea(*const u32);

impl ForeignArea {
    /// Registers one for the calling thread, as an allocator might, for as long as the process
    /// lives. Else, the error number.
    pub(crate) fn register() -> Result<ForeignArea, i32> {
        #[repr(align(128))]
        struct Room(#[allow(dead_code, reason = "the kernel's")] [u32; 32]);
        let area: *mut u32 = Box::into_raw(Box::new(Room([0; 32]))).cast();
        // SAFETY: the area is never freed, and is aligned beyond what any kernel asks.
        let r = unsafe { libc::syscall(libc::SYS_rseq, area, 32, 0, SIGNATURE) };
        let errno = || std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if r == 0 { Ok(ForeignArea(area)) } else { Err(errno()) }
    }

    /// On which CPU the kernel says the thread is; less than 0 if it does not.
    pub(crate) fn cpu(self) -> i32 {
        // SAFETY: in the area, which the kernel writes.
        unsafe { self.0.add(1).cast::<i32>().read_volatile() }
    }
}

/// Before 99, where the library decides.
#[used]
// SAFETY: the loader calls every pointer of this section as a C function, which this one is; it
// does nothing but where a test asks for it.
#[unsafe(link_section = ".init_array.00050")]
static EARLY_CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn early() {
        let name = CString::new(EARLY).unwrap();
        // SAFETY: before there are threads, nobody changes the environment.
        let wanted = unsafe {
            let value = libc::getenv(name.as_ptr());
            if value.is_null() {
                return;
            }
            CStr::from_ptr(value)
        };
        match wanted.to_bytes() {
            b"read" => {
                drop(rcu::read());
                rcu::synchronize();
            }
            b"register" => assert!(ForeignArea::register().is_ok_and(|area| area.cpu() >= 0)),
            _ => std::process::abort(),
        }
    }
    early
};

//! A shared object that contains the library is opened, used by many threads, and closed. Whatever
//! the threads' areas point to must still be mapped, and nobody may die of it.
//!
//! The object pins itself, `src/rseq/pin.rs`. That the check sees an object that does not is shown by
//! a preloaded `dlopen` that refuses to pin.

use crate::process::{self, Outcome, absent};
use crate::{cargo, process::need};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A loader that refuses to pin.
const UNPINNED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
void *dlopen(const char *file, int flags)
{
	void *(*next)(const char *, int) = dlsym(RTLD_NEXT, "dlopen");
	return flags & RTLD_NODELETE ? 0 : next(file, flags);
}
"#;

pub(crate) fn check(work: &Path) -> Result<()> {
    if !cfg!(target_env = "gnu") {
        return absent("this C library unloads nothing");
    }
    let object = cargo::release("shared-object")?.join("libshared_object.so");
    let off = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0".to_owned());
    for (name, surrounding) in [
        ("registered by libc", None),
        ("registered by the object", Some(off)),
        ("tier membarrier", Some(("STILLPOINT_TIER", "membarrier".to_owned()))),
    ] {
        let output = child(&object, work, surrounding)?.good(name)?;
        println!("{name}: {}", output.trim_end());
    }
    need("cc")?;
    let outcome = child(&object, work, Some(("LD_PRELOAD", refuse(work)?.display().to_string())))?;
    let noticed = match (outcome.status.code(), outcome.status.signal()) {
        (Some(1), _) => outcome.output.contains("not mapped any more"),
        (_, signal) => matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)),
    };
    ensure!(noticed, "an object that is not pinned is not noticed: {outcome:?}");
    println!("not pinned: noticed: {}, {}", outcome.status, outcome.output.trim_end());
    Ok(())
}

fn child(object: &Path, work: &Path, variable: Option<(&str, String)>) -> Result<Outcome> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--open-and-close").arg(object);
    command.envs(variable);
    process::run(&mut command, &work.join("unload.log"), PATIENCE)
}

/// Builds the loader that refuses.
fn refuse(work: &Path) -> Result<PathBuf> {
    let (source, built) = (work.join("unpinned.c"), work.join("libunpinned.so"));
    std::fs::write(&source, UNPINNED)?;
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&built).arg(&source);
    cargo::finish(command.arg("-ldl"), "a loader that refuses")?;
    Ok(built)
}

const THREADS: usize = 8;
const ROUNDS: usize = 10;

/// The functions of the object.
#[derive(Clone, Copy)]
struct Object {
    handle: *mut c_void,
    read: extern "C" fn(u64) -> u64,
    update: extern "C" fn(u64),
    area: extern "C" fn() -> *const c_void,
}

// SAFETY: a handle and functions, which any thread may use.
unsafe impl Sync for Object {}

impl Object {
    fn open(path: &Path) -> Result<Object> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: our own object, whose constructors may run here.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        ensure!(!handle.is_null(), "{} does not open", path.display());
        let symbol = |name: &std::ffi::CStr| {
            // SAFETY: a live handle.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            if found.is_null() { bail!("no {name:?}") } else { Ok(found) }
        };
        // SAFETY: they have the types that the object's source gives them.
        unsafe {
            Ok(Object {
                handle,
                read: std::mem::transmute::<*mut c_void, extern "C" fn(u64) -> u64>(symbol(
                    c"shared_object_read",
                )?),
                update: std::mem::transmute::<*mut c_void, extern "C" fn(u64)>(symbol(
                    c"shared_object_update",
                )?),
                area: std::mem::transmute::<*mut c_void, extern "C" fn() -> *const c_void>(symbol(
                    c"shared_object_area",
                )?),
            })
        }
    }
}

/// What the child does.
pub(crate) fn open_and_close(path: &Path) -> Result<()> {
    let (mut planted, mut pinned) = (0, 0);
    for round in 0..ROUNDS {
        let object = Object::open(path)?;
        planted += one_round(&object, round as u64)?;
        pinned += usize::from(maps()?.iter().any(|map| map.ends_with(&*path.to_string_lossy())));
    }
    println!(
        "{ROUNDS} times closed, still mapped {pinned} times; {planted} of {} threads had a \
         descriptor planted",
        ROUNDS * THREADS
    );
    Ok(())
}

/// How many threads had a descriptor planted when the object had been closed.
fn one_round(object: &Object, round: u64) -> Result<usize> {
    let (ready, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    (object.read)(1000);
                    let area = (object.area)();
                    ready.fetch_add(1, SeqCst);
                    // In sections until it is closed, or nearly: nobody sleeps, since a thread that
                    // was switched out and came back has nothing planted. The last calls race with
                    // the closing as callers must not; so all stop calling first.
                    while ready.load(SeqCst) < THREADS {
                        (object.read)(10);
                    }
                    (object.read)(1);
                    ready.fetch_add(1, SeqCst);
                    while !closed.load(SeqCst) {
                        std::hint::spin_loop();
                    }
                    let planted = planted(area);
                    let mapped = is_mapped(planted)?;
                    preempted();
                    ensure!(mapped, "{planted:#x} is planted, and not mapped any more");
                    Ok(planted != 0)
                })
            })
            .collect();
        while ready.load(SeqCst) < 2 * THREADS {
            std::hint::spin_loop();
        }
        (object.update)(round);
        // SAFETY: opened once in this round; nobody calls its functions any more.
        let answer = unsafe { libc::dlclose(object.handle) };
        closed.store(true, SeqCst);
        let mut count = 0;
        for thread in threads {
            count += usize::from(thread.join().map_err(|_| anyhow::anyhow!("a panic"))??);
        }
        ensure!(answer == 0, "it does not close");
        // Threads that come later inherit nothing.
        std::thread::spawn(preempted).join().map_err(|_| anyhow::anyhow!("a panic"))?;
        Ok(count)
    })
}

/// What an area's `rseq_cs` says.
fn planted(area: *const c_void) -> u64 {
    if area.is_null() {
        return 0;
    }
    // SAFETY: the calling thread's area, in static thread-local storage, which stays mapped for as
    // long as the thread lives, whether or not the object is there.
    unsafe { area.byte_add(8).cast::<u64>().read_volatile() }
}

/// Is switched out and back in: then the kernel looks at the descriptor.
fn preempted() {
    let until = Instant::now() + Duration::from_millis(20);
    while Instant::now() < until {
        std::thread::yield_now();
        for _ in 0..10_000 {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn maps() -> Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/self/maps")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// True of 0, and of an address in some mapping.
fn is_mapped(address: u64) -> Result<bool> {
    for line in maps()? {
        let range = line.split_whitespace().next().context("an empty line")?;
        let (from, to) = range.split_once('-').context("no range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        if (from..to).contains(&address) {
            return Ok(true);
        }
    }
    Ok(address == 0)
}

//! A shared object that contains the library is opened, used by many threads, and closed. Whatever
//! the threads' areas point to must still be mapped, and nobody may die of it.
//!
//! The object pins itself, `src/rseq/pin.rs`. That the check sees an object that does not is shown
//! by a preloaded `dlopen` that refuses to pin.

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
        if handle.is_null() {
            // SAFETY: the error of the call that just failed: a C string, until the next call.
            let why = unsafe { std::ffi::CStr::from_ptr(libc::dlerror()) };
            bail!("it does not open: {}", why.to_string_lossy());
        }
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
    let areas: [AtomicUsize; THREADS] = Default::default();
    let come = |number: usize| {
        while ready.load(SeqCst) < number {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        for area in &areas {
            scope.spawn(|| {
                (object.read)(1000);
                area.store((object.area)() as usize, SeqCst);
                ready.fetch_add(1, SeqCst);
                while ready.load(SeqCst) < THREADS + 1 {
                    (object.read)(10);
                }
                // The last call: whoever closes an object must know that nobody is in it. From here
                // on nobody sleeps. Those that lose their CPU keep what they planted until they are
                // back.
                (object.read)(1);
                ready.fetch_add(1, SeqCst);
                while !closed.load(SeqCst) {
                    std::hint::spin_loop();
                }
                preempted();
            });
        }
        come(THREADS);
        // So the reclaimer works, or waits, when it is closed. A broadcast clears what is planted:
        // none comes later.
        (object.update)(round);
        ready.fetch_add(1, SeqCst);
        come(2 * THREADS + 1);
        // SAFETY: opened once in this round; nobody calls its functions any more.
        let answer = unsafe { libc::dlclose(object.handle) };
        let planted: Vec<u64> = areas.iter().map(|area| planted(area.load(SeqCst))).collect();
        let maps = maps();
        closed.store(true, SeqCst);
        ensure!(answer == 0, "it does not close");
        let maps = maps?;
        for address in planted.iter().filter(|&&address| address != 0) {
            ensure!(
                is_mapped(&maps, *address)?,
                "{address:#x} is planted, and not mapped any more"
            );
        }
        // Threads that come later inherit nothing.
        scope.spawn(preempted);
        Ok(planted.iter().filter(|&&address| address != 0).count())
    })
}

/// What an area's `rseq_cs` says.
fn planted(area: usize) -> u64 {
    if area == 0 {
        return 0;
    }
    // SAFETY: the area of a thread that lives, in static thread-local storage, which stays mapped
    // for as long as the thread lives, whether or not the object is there; an aligned word.
    unsafe { ((area + 8) as *const u64).read_volatile() }
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

/// True if some mapping has that address.
fn is_mapped(maps: &[String], address: u64) -> Result<bool> {
    for line in maps {
        let range = line.split_whitespace().next().context("an empty line")?;
        let (from, to) = range.split_once('-').context("no range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        if (from..to).contains(&address) {
            return Ok(true);
        }
    }
    Ok(false)
}

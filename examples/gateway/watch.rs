//! Live reload: watches the table file and swaps in a new table after each edit.
//!
//! Many editors write a new file and rename it over the old one, which would
//! leave a watch on the file itself behind, so the watch is on the directory.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::guard::Guard;
use crate::parse::{TableError, parse_bytes};
use crate::table::RouteTable;
use crate::{complain, say};

/// One save makes several events; a reload waits until they stop for this long,
/// but not longer than [`PATIENCE`] if they never do.
const QUIET: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a table file gave no table.
pub(crate) enum LoadError {
    Unreadable(io::Error),
    Malformed(TableError),
}

impl fmt::Display for LoadError {
    /// Goes right after the file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, ": cannot read: {error}"),
            Self::Malformed(error) => write!(f, ":{error}"),
        }
    }
}

/// Reads a table file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let read = || match fs::metadata(path)? {
        meta if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // Opening a pipe would wait for someone to write to it.
        meta if !meta.is_file() => Err(io::Error::other("not a regular file")),
        _ => fs::read(path),
    };
    read().map_err(LoadError::Unreadable)
}

/// Keeps `table` in step with the file until dropped.
pub(crate) struct Reloader {
    _watcher: RecommendedWatcher,
}

impl Reloader {
    /// `loaded` is the content that `table`, of generation 1, was made from.
    pub(crate) fn start<G: Guard<RouteTable>>(
        path: PathBuf,
        loaded: Vec<u8>,
        table: Arc<G>,
    ) -> notify::Result<Self> {
        let (tell, edits) = channel();
        let name = path.file_name().map(OsStr::to_owned);
        // A link may change its target without an event of its own name, as when
        // Kubernetes swaps the directory behind a mounted ConfigMap.
        let is_link = path.is_symlink();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may stand for events that were lost.
            let concerns_us = event.map_or(true, |event| {
                let named = || event.paths.iter().any(|p| p.file_name() == name.as_deref());
                event.need_rescan() || is_change(event.kind) && (is_link || named())
            });
            if concerns_us {
                // Fails only while the reloader is being dropped.
                let _ = tell.send(());
            }
        })?;
        watcher.watch(parent(&path), RecursiveMode::NonRecursive)?;
        if let Some(target) = path.canonicalize().ok().filter(|_| is_link) {
            watcher.watch(parent(&target), RecursiveMode::NonRecursive)?;
        }
        let file = File { path, seen: Some(loaded), generation: 1, table };
        thread::Builder::new().name("reload".into()).spawn(move || file.follow(&edits))?;
        Ok(Self { _watcher: watcher })
    }
}

struct File<G> {
    path: PathBuf,
    /// What the file held last time, good or bad; `None` if it could not be read.
    seen: Option<Vec<u8>>,
    generation: u64,
    table: Arc<G>,
}

impl<G: Guard<RouteTable>> File<G> {
    fn follow(mut self, edits: &Receiver<()>) {
        // The start counts as an edit: there may have been one before the watch.
        loop {
            let patience = Instant::now() + PATIENCE;
            while Instant::now() < patience {
                match edits.recv_timeout(QUIET) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            self.reload();
            if edits.recv().is_err() {
                return;
            }
        }
    }

    /// Reads and parses with no lock held; only the finished table is swapped in.
    fn reload(&mut self) {
        let path = self.path.display();
        let was_readable = self.seen.is_some();
        let (seen, parsed) = match read(&self.path) {
            // A read may fail in many ways in a row; the first says enough.
            Err(_) if !was_readable => return,
            Err(error) => (None, Err(error)),
            Ok(bytes) if self.seen.as_ref() == Some(&bytes) => return,
            Ok(bytes) => {
                let parsed = parse_bytes(&bytes, self.generation + 1);
                (Some(bytes), parsed.map_err(LoadError::Malformed))
            }
        };
        self.seen = seen;
        match parsed {
            Ok(table) => {
                self.generation = table.generation();
                let routes = table.routes().len();
                self.table.replace(table);
                say(format_args!(
                    "reloaded {path}: {routes} routes, generation {}",
                    self.generation
                ));
            }
            Err(error) => complain(format_args!(
                "{path}{error}; still serving generation {}",
                self.generation
            )),
        }
    }
}

/// Reading the file makes events as well; they must not lead to another read.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

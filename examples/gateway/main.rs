//! An HTTP gateway whose route table is edited while it serves.
//!
//! ```text
//! cargo run --release --example gateway                        # compare the locks
//! cargo run --release --example gateway -- --serve 127.0.0.1:8080 --table my.routes
//! cargo run --release --example gateway -- --serve 127.0.0.1:8080 --storm 200    # for load from outside
//! ```
//!
//! Every request reads the table and an edit replaces it, which is what RCU is
//! for. `--lock` puts something else in its place, so that the two can be
//! compared: without `--serve` the program does so itself, drives real requests
//! and then bare lookups through each lock while the table is replaced all the
//! time, and prints the results and draws them.
//!
//! `parse` has the format of the table file, `serve` what the gateway answers.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::Demo;
use crate::guard::{Guard, Lock, with_guard};
use crate::serve::Server;
use crate::storm::Storm;
use crate::table::RouteTable;
use crate::traffic::Traffic;
use crate::watch::{LoadError, Reloader};

mod demo;
mod drive;
mod guard;
mod lookups;
mod parse;
mod plot;
mod report;
mod requests;
mod serve;
mod storm;
mod table;
mod traffic;
mod watch;

const EMBEDDED: &str = include_str!("default.routes");

/// An HTTP gateway with a live route table; with no options, a comparison of
/// the locks that can guard it.
#[derive(Parser)]
#[command(name = "gateway", version)]
struct Cli {
    /// The route table, instead of an embedded one
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,

    /// What guards the table: by default rcu with --serve, else each in turn
    #[arg(long, value_enum)]
    lock: Option<Lock>,

    /// Only serve, on this address, until Ctrl-C; edits of the table take effect live
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["seconds", "plot"])]
    serve: Option<String>,

    /// With --serve: replace the table so many times a second, instead of following its file
    #[arg(long, value_name = "PER SECOND", requires = "serve", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    storm: Option<u16>,

    /// How many threads serve, and how many make the load: by default one a CPU
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// How long to load each lock with requests, and again with lookups
    #[arg(long, default_value = "3", allow_negative_numbers = true, value_parser = parse_seconds)]
    seconds: Duration,

    /// Where the plot goes: by default gateway.svg, in target/ if there is one
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            error.exit()
        }
        Err(error) => Err(first_line(&error)),
    };
    result.unwrap_or_else(|reason| {
        complain(reason);
        ExitCode::from(2)
    })
}

fn run(cli: Cli) -> Result<ExitCode, String> {
    let threads = match cli.threads {
        Some(threads) => threads.into(),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let (content, name) = match &cli.table {
        Some(path) => {
            let content = watch::read(path);
            (
                content.map_err(|error| format!("{}{error}", path.display()))?,
                path.display().to_string(),
            )
        }
        None => (EMBEDDED.into(), "the embedded table".into()),
    };
    let table = parse::parse_bytes(&content, 1)
        .map_err(|error| format!("{name}{}", LoadError::Malformed(error)))?;
    if let Some(addr) = &cli.serve {
        let lock = cli.lock.unwrap_or(Lock::Rcu);
        let file = cli.table.map(|path| (path, content));
        let edits = match cli.storm {
            Some(per_second) => Edits::Storm(Traffic::new(&table), per_second),
            None => file.map_or(Edits::None, |(path, content)| Edits::Of(path, content)),
        };
        return with_guard!(lock, Guard => serve::<Guard>(addr, lock, threads, table, &name, edits));
    }
    let plot = cli.plot.unwrap_or_else(|| {
        let target = Path::new("target");
        if target.is_dir() { target.join("gateway.svg") } else { "gateway.svg".into() }
    });
    check_writable(&plot).map_err(|error| format!("cannot write {}: {error}", plot.display()))?;
    let locks = match &cli.lock {
        Some(lock) => std::slice::from_ref(lock),
        None => Lock::value_variants(),
    };
    Demo { locks, threads, length: cli.seconds, plot: &plot }.run(&table, &name)
}

/// What changes the table while it serves.
enum Edits {
    None,
    /// Those of its file, whose content is this now.
    Of(PathBuf, Vec<u8>),
    /// So many a second.
    Storm(Traffic, u16),
}

/// Serves until Ctrl-C or SIGTERM.
fn serve<G: Guard<RouteTable>>(
    addr: &str,
    lock: Lock,
    threads: usize,
    table: RouteTable,
    name: &str,
    edits: Edits,
) -> Result<ExitCode, String> {
    let failed = |error: io::Error| format!("cannot serve on {addr}: {error}");
    let listener = TcpListener::bind(addr).map_err(failed)?;
    let routes = table.routes().len();
    let table = Arc::new(G::hold(table));
    let (mut reloader, mut storm) = (None, None);
    match edits {
        Edits::None => {}
        Edits::Of(path, content) => {
            let started = Reloader::start(path, content, Arc::clone(&table));
            reloader = Some(started.map_err(|error| format!("cannot watch {name}: {error}"))?);
        }
        Edits::Storm(traffic, per_second) => {
            storm = Some(Storm::start(traffic, Arc::clone(&table), per_second).map_err(failed)?);
        }
    }
    let server = Server::start(listener, table, threads).map_err(failed)?;
    server.block_on(async {
        // From here on Ctrl-C ends only the wait below.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        say(format_args!(
            "listening on http://{}: {name}, {routes} routes, lock {}, tier {}",
            server.addr(),
            lock.name(),
            stillpoint::machine().tier(),
        ));
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok::<_, String>(())
    })?;
    drop((storm, reloader));
    server.stop();
    Ok(ExitCode::SUCCESS)
}

/// Fails now rather than after the measurement, and leaves no file behind.
fn check_writable(path: &Path) -> io::Result<()> {
    let is_new = !path.try_exists()?;
    OpenOptions::new().append(true).create(true).open(path)?;
    if is_new { fs::remove_file(path) } else { Ok(()) }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("not a number from 0.1 to 600")
}

/// Of clap's paragraphs, what is wrong and which values would be right.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    match lines.find(|line| line.starts_with("[possible values")) {
        Some(values) => format!("{first} {values}"),
        None => first.to_owned(),
    }
}

/// Prints a line at once. A reader that has gone away must not end the gateway,
/// as `println!` would.
fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "gateway: {line}");
}

//! The gateway example from outside: what it prints, serves, and refuses.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;
use std::{fs, thread};

/// The example, built now if it was not: `cargo test` builds it as a test only.
fn gateway() -> Command {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let mut build = Command::new(env!("CARGO"));
        // As `cargo test --workspace` does it: with the same features of all that it needs.
        build.args(["build", "--workspace", "--example", "gateway", "--message-format", "json"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(built.status.success(), "the example does not build");
        let messages = String::from_utf8(built.stdout).unwrap();
        let path = messages.lines().filter_map(|m| m.split_once(r#""executable":""#)).next_back();
        path.and_then(|(_, rest)| rest.split('"').next()).expect("a program").to_owned()
    });
    Command::new(&*PROGRAM)
}

/// A folder that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A serving gateway; its standard output and error as lines.
struct Serving {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
}

impl Serving {
    fn start(lock: &str, table: &Path) -> Serving {
        Serving::start_with(lock, table, &[])
    }

    fn start_with(lock: &str, table: &Path, more: &[&str]) -> Serving {
        let mut child = gateway()
            .args(more)
            .args(["--serve", "127.0.0.1:0", "--lock", lock, "--table"])
            .arg(table)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let send = send.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = send.send(line);
                }
            });
        }
        let first = lines.recv_timeout(Duration::from_secs(20)).expect("a line when it listens");
        let address = first.strip_prefix("listening on http://").expect("the address");
        let address = address.split(": ").next().unwrap().to_owned();
        Serving { child, address, lines }
    }

    /// Status and `x-upstream` of a request.
    fn get(&self, host: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let upstream = answer.lines().find_map(|line| line.strip_prefix("x-upstream: "));
        (status, upstream.unwrap_or_default().to_owned())
    }

    fn next_line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("a line")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit status 2, one line on standard error that says so, nothing on standard output.
fn refuses(arguments: &[&str], says: &str) {
    let Output { status, stdout, stderr } = gateway().args(arguments).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("gateway: ") && stderr.contains(says), "{arguments:?}: {stderr}");
    assert!(stdout.is_empty(), "{arguments:?} half-started");
}

/// What `--lock` takes.
const LOCKS: [&str; 5] = ["rcu", "stillpoint-rwlock", "rwlock", "parking_lot", "arc-swap"];

#[test]
fn edits_take_effect_and_bad_ones_do_not() {
    for lock in LOCKS {
        let scratch = Scratch::new(lock);
        let table = scratch.file("live.routes", "a.example / one:80\na.example /api two:80\n");
        let serving = Serving::start(lock, &table);
        assert_eq!(serving.get("a.example", "/x"), (200, "one:80".into()));
        assert_eq!(serving.get("A.Example:8080", "/api/v1?q=1"), (200, "two:80".into()));
        assert_eq!(serving.get("a.example", "/apis"), (200, "one:80".into()));
        assert_eq!(serving.get("b.example", "/").0, 404);

        // As an editor saves: a new file, renamed over the old one.
        let new = scratch.file("new", "a.example / three:80\n");
        fs::rename(new, &table).unwrap();
        let line = serving.next_line();
        assert!(line.starts_with("reloaded ") && line.contains("1 routes"), "{line}");
        assert_eq!(serving.get("a.example", "/api"), (200, "three:80".into()));

        fs::write(&table, "a.example / four:80\nnonsense\n").unwrap();
        let line = serving.next_line();
        assert!(line.contains("live.routes:2: ") && line.contains("still serving"), "{line}");
        assert_eq!(serving.get("a.example", "/api"), (200, "three:80".into()));
    }
}

#[test]
fn an_interrupt_ends_it_cleanly() {
    let scratch = Scratch::new("interrupt");
    let table = scratch.file("t.routes", "* / any:1\n");
    let mut serving = Serving::start("rcu", &table);
    // SAFETY: our own child.
    unsafe { libc::kill(serving.child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_storm_of_updates_is_served_and_counted() {
    for lock in LOCKS {
        let scratch = Scratch::new(&format!("storm-{lock}"));
        let table = scratch.file("t.routes", "* / any:1\n");
        let mut serving = Serving::start_with(lock, &table, &["--storm", "500"]);
        // Every edition has another port.
        while serving.get("a.example", "/x") == (200, "any:1".into()) {}
        // SAFETY: our own child.
        unsafe { libc::kill(serving.child.id() as libc::pid_t, libc::SIGTERM) };
        let line = serving.next_line();
        assert!(line.starts_with("storm: ") && line.contains(" updates in "), "{line}");
        assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    }
    refuses(&["--storm", "500"], "required arguments");
    refuses(&["--serve", "127.0.0.1:0", "--storm", "0"], "--storm");
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    refuses(&["--lock", "none"], "--lock");
    refuses(&["--lock", "none"], &LOCKS.join(", "));
    refuses(&["--no-such-flag"], "--no-such-flag");
    refuses(&["--threads", "0"], "--threads");
    refuses(&["--seconds", "0"], "--seconds");
    refuses(&["--table", "/nonexistent.routes"], "/nonexistent.routes");
    refuses(&["--table", "/"], "/");
    refuses(&["--plot", "/nonexistent/plot.svg"], "/nonexistent/plot.svg");
    refuses(&["--serve", "not an address"], "not an address");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    refuses(&["--serve", &busy.local_addr().unwrap().to_string()], "cannot serve on");

    let scratch = Scratch::new("malformed");
    for (text, line) in [
        ("", "no routes"),
        ("# only a comment\n", "no routes"),
        ("a.example / one:80\n\na.example api two:80\n", ":3: "),
        ("a.example / one:80\na.example / two:80\n", ":2: "),
        ("a.example / one\n", ":1: "),
    ] {
        let table = scratch.file("bad.routes", text);
        refuses(&["--table", table.to_str().unwrap()], line);
        refuses(&["--serve", "127.0.0.1:0", "--table", table.to_str().unwrap()], line);
    }
}

#[test]
fn the_demonstration_measures_and_plots() {
    let scratch = Scratch::new("demonstration");
    let plot = scratch.0.join("plot.svg");
    let output = gateway()
        .args(["--seconds", "0.2", "--threads", "2", "--plot"])
        .arg(&plot)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for lock in LOCKS {
        let rows = said.lines().filter(|line| line.contains(&format!(" {lock} "))).count();
        assert!(rows >= 2, "{lock} is missing from a table:\n{said}");
    }
    assert!(fs::read_to_string(plot).unwrap().starts_with("<svg"));
}

//! A server whose threads block in `accept` and `read`, and stop on `SIGTERM`: without a pipe to
//! themselves, an `eventfd`, a `signalfd`, without timeouts. What a client was being told is
//! finished.
//!
//! ```text
//! cargo run --release --example graceful_stop -- 127.0.0.1:7007
//! ```
//!
//! Send it lines; they come back in upper case. `kill` it.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use stillpoint::interrupt::{self, Error, Flag};

const WORKERS: usize = 4;

static STOP: Flag = Flag::new();

/// What was done.
#[derive(Debug, Default)]
struct Served {
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// Runs on whichever thread the kernel picks; the others are woken by signals of their own.
extern "C" fn on_terminate(_: libc::c_int) {
    STOP.set_and_wake();
}

/// `signal` installs with `SA_RESTART`, as most programs' handlers are: here it does not matter.
fn handle_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: `set_and_wake` is async-signal-safe.
        unsafe { libc::signal(signal, on_terminate as *const () as libc::sighandler_t) };
    }
}

/// One of those who accept from the same listener.
fn work(listener: &TcpListener, served: &Served) -> io::Result<()> {
    let _enlisted = STOP.enlist(libc::SIGURG)?;
    loop {
        let client = match interrupt::accept(&STOP, listener) {
            Ok(client) => TcpStream::from(client),
            Err(Error::Interrupted) => return Ok(()),
            // Of this connection only.
            Err(Error::Io(error)) if error.raw_os_error() == Some(libc::ECONNABORTED) => continue,
            Err(Error::Io(error)) => return Err(error),
        };
        served.connections.fetch_add(1, Relaxed);
        // What goes wrong with a client is the client's.
        if let Err(error) = answer(client, served) {
            eprintln!("a client: {error}");
        }
    }
}

/// Until the client is done, or we are.
fn answer(mut client: TcpStream, served: &Served) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match interrupt::read(&STOP, &client, &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                bytes[..n].make_ascii_uppercase();
                // Not interrupted: std begins again. What has come is answered.
                client.write_all(&bytes[..n])?;
                served.bytes.fetch_add(n as u64, Relaxed);
            }
            Err(Error::Interrupted) => return client.write_all(b"[stopping]\n"),
            Err(Error::Io(error)) => return Err(error),
        }
    }
}

fn serve(listener: &TcpListener) -> io::Result<Served> {
    // They share it: one finds that another was faster, and must not block then.
    listener.set_nonblocking(true)?;
    let served = Served::default();
    std::thread::scope(|threads| {
        let workers = [&served; WORKERS].map(|served| {
            threads.spawn(|| {
                // One that cannot go on stops the others.
                work(listener, served).inspect_err(|_| STOP.set_and_wake())
            })
        });
        workers.into_iter().try_for_each(|worker| worker.join().expect("workers do not panic"))
    })?;
    Ok(served)
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    handle_termination();
    let address = listener.local_addr()?;
    println!("listening on {address}: lines come back in upper case, Ctrl-C stops");
    let served = serve(&listener)?;
    println!(
        "stopped; {} connections, {} bytes",
        served.connections.into_inner(),
        served.bytes.into_inner()
    );
    Ok(())
}

/// The real thing, in a process of its own: idle clients, workers that wait for one, and `SIGTERM`.
#[test]
fn it_stops_while_all_block() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    const CHILD: &str = "STILLPOINT_GRACEFUL_STOP";
    const PATIENCE: Duration = Duration::from_secs(30);
    if std::env::var_os(CHILD).is_some() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        handle_termination();
        println!("\nlistening on {}", listener.local_addr().unwrap());
        let served = serve(&listener).unwrap();
        println!("\nstopped: {served:?}");
        return;
    }
    // Some busy, some idle; none; more than there are workers.
    for clients in [2, 0, WORKERS + 2] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "it_stops_while_all_block", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            Some(line.unwrap().strip_prefix("listening on ")?.parse::<SocketAddr>().unwrap())
        });
        let address = address.expect("it listens");
        let mut clients: Vec<_> =
            (0..clients).map(|_| TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        for client in clients.iter_mut().take(WORKERS) {
            client.write_all(b"hello\n").unwrap();
            let mut answer = [0; 6];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HELLO\n");
        }
        // SAFETY: our own child, not waited for.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("it goes on");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}");
        for client in clients.iter_mut().take(WORKERS) {
            let mut last = String::new();
            client.read_to_string(&mut last).unwrap();
            assert_eq!(last, "[stopping]\n");
        }
        assert!(lines.any(|line| line.unwrap().starts_with("stopped: ")));
    }
}

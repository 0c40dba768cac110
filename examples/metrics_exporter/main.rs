//! A server that counts what it does, and says so in the text format of Prometheus.
//!
//! ```text
//! cargo run --release --example metrics_exporter     # two seconds of its own load
//! cargo run --release --example metrics_exporter -- --listen 127.0.0.1:9184
//! ```
//!
//! Every request adds to counters and to a histogram, which are statics: nothing is registered,
//! no thread keeps anything, and no two CPUs write to one cache line. A scrape adds them up.
//!
//! `metrics` has what is counted, `page` the format, `serve` the server, `load` its own clients.

use clap::Parser;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

mod load;
mod metrics;
mod page;
mod serve;

/// A server with counters, and some load to count.
#[derive(Parser)]
#[command(name = "metrics_exporter", version)]
struct Cli {
    /// Only serve, on this address, until Ctrl-C
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["seconds", "clients"])]
    listen: Option<String>,

    /// How long the clients send requests
    #[arg(long, default_value = "2", value_parser = parse_seconds)]
    seconds: Duration,

    /// How many clients there are
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("not a number of seconds, at most a day")
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.listen {
        Some(addr) => listen(addr).map(|()| true),
        None => demonstrate(cli.seconds, cli.clients),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("metrics_exporter: {error}");
            ExitCode::from(2)
        }
    }
}

/// A server, and where it listens.
fn start(addr: &str) -> io::Result<(Runtime, SocketAddr)> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    runtime.spawn(serve::accept(listener));
    Ok((runtime, addr))
}

fn listen(addr: &str) -> io::Result<()> {
    let (runtime, addr) = start(addr)?;
    println!("metrics on http://{addr}{}", serve::METRICS);
    runtime.block_on(tokio::signal::ctrl_c())
}

/// Loads a server, prints its metrics. False if they are not what the clients have seen.
fn demonstrate(length: Duration, clients: u16) -> io::Result<bool> {
    let (runtime, addr) = start("127.0.0.1:0")?;
    let end = Instant::now() + length;
    let more = move |_| Instant::now() < end;
    let answers = runtime.block_on(load::run(addr, clients.into(), more))?;
    let page = runtime.block_on(load::scrape(addr))?;
    print!("{page}");
    let answered: u64 = answers.values().sum();
    let counted = metrics::requests();
    println!("\n# {clients} clients had {answered} answers; {counted} were counted");
    Ok(counted == answered)
}

#[cfg(test)]
mod tests;

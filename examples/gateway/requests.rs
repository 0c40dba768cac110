//! HTTP load: clients that send one request after another over kept-alive
//! connections to a real server on loopback, and check every answer.
//!
//! Each client waits for its answer before it sends again, so a slow answer
//! delays the requests behind it and they are not counted as slow themselves.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::drive::{Tally, Window};
use crate::guard::Guard;
use crate::serve::{Server, X_GENERATION, X_UPSTREAM};
use crate::table::RouteTable;
use crate::traffic::{Probe, Random, Traffic};

pub(crate) const CLIENTS_PER_THREAD: usize = 4;
/// An answer that takes this long is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn drive<G: Guard<RouteTable>>(
    table: &Arc<G>,
    traffic: &Arc<Traffic>,
    threads: usize,
    window: &Arc<Window>,
) -> io::Result<Tally> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Threads of their own keep the clients' work out of the server's queues.
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let server = Server::start(listener, Arc::clone(table), threads)?;
    let addr = server.addr();
    let total = runtime.block_on(async {
        let clients = threads * CLIENTS_PER_THREAD;
        let mut running = JoinSet::new();
        for n in 0..clients as u64 {
            let random = Random::new(n);
            running.spawn(client(addr, Arc::clone(traffic), random, Arc::clone(window)));
        }
        let mut total = Tally::default();
        while let Some(tally) = running.join_next().await {
            total.merge(tally.map_err(io::Error::other)??);
        }
        Ok(total)
    });
    server.stop();
    total
}

async fn client(
    addr: SocketAddr,
    traffic: Arc<Traffic>,
    mut random: Random,
    window: Arc<Window>,
) -> io::Result<Tally> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with the sender, or with an error that the sender reports too.
    tokio::spawn(connection);
    let mut tally = Tally::default();
    while !window.is_stopped() {
        let probe = &traffic.probes[random.below(traffic.probes.len())];
        let oldest = window.oldest_allowed();
        let begin = Instant::now();
        let answer = timeout(ANSWER_WITHIN, ask(&mut sender, probe)).await;
        let took = begin.elapsed();
        let verdict = match answer {
            Ok(Ok(response)) => check(probe, &response, oldest, window.newest_allowed()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
        };
        if let Err(what) = verdict {
            tally.blame(format!("{}{}: {what}", probe.host, probe.uri));
            if sender.is_closed() {
                break;
            }
        }
        if window.is_recording() {
            tally.done += 1;
            tally.took(took);
        }
    }
    Ok(tally)
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    probe: &Probe,
) -> hyper::Result<Response<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = probe.uri.clone();
    let host = probe.host.parse().expect("a host name is a valid header");
    request.headers_mut().insert(HOST, host);
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// The answer must be right for a table that was current during the request.
fn check(
    probe: &Probe,
    response: &Response<Bytes>,
    oldest: u64,
    newest: u64,
) -> Result<(), String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let generation = header(X_GENERATION).and_then(|value| value.parse().ok());
    let generation =
        generation.ok_or_else(|| format!("{} without generation", response.status()))?;
    if !(oldest..=newest).contains(&generation) {
        return Err(format!("generation {generation}, not {oldest} to {newest}"));
    }
    let expected = probe.expected.as_ref().map(|e| e.upstream(generation).to_string());
    let status = if expected.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let upstream = header(X_UPSTREAM);
    let in_body = response.body().starts_with(expected.as_deref().unwrap_or_default().as_bytes());
    if response.status() == status && upstream == expected.as_deref() && in_body {
        Ok(())
    } else {
        Err(format!(
            "{} {upstream:?} in generation {generation}, not {status} {expected:?}",
            response.status()
        ))
    }
}

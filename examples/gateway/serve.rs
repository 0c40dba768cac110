//! The HTTP side: takes connections and answers each request with the route it
//! picked.
//!
//! The gateway stands in for its upstreams. Where a proxy would pass the request
//! on, it answers 200 itself and says in `x-upstream`, `x-upstream-path` and
//! `x-upstream-timeout` where and how it would have sent it. `x-generation` is
//! the generation of the table that decided. No route is 404; a request that no
//! table could route (no usable host, a path that climbs with `..`) is 400.
//! Paths are matched as sent, without percent-decoding.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::guard::Guard;
use crate::table::{RouteTable, Target, is_dot_segment, normalize_host};

pub(crate) const X_GENERATION: HeaderName = HeaderName::from_static("x-generation");
pub(crate) const X_UPSTREAM: HeaderName = HeaderName::from_static("x-upstream");
const X_UPSTREAM_PATH: HeaderName = HeaderName::from_static("x-upstream-path");
const X_UPSTREAM_TIMEOUT: HeaderName = HeaderName::from_static("x-upstream-timeout");

/// How long requests under way may take to finish once the server is to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A server on threads of its own.
pub(crate) struct Server {
    runtime: Runtime,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// The listener is already bound, so a busy port is found before this.
    pub(crate) fn start<G: Guard<RouteTable>>(
        listener: TcpListener,
        table: Arc<G>,
        threads: usize,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopping) = watch::channel(false);
        let accepting = runtime.spawn(accept(listener, table, stopping));
        Ok(Self { runtime, addr, stop, accepting })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Takes no more connections, lets requests under way finish, and ends.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        // Only a panic in the accept loop makes an error, and it has been printed.
        let _ = self.runtime.block_on(self.accepting);
    }
}

async fn accept<G: Guard<RouteTable>>(
    listener: tokio::net::TcpListener,
    table: Arc<G>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&table), stopping.clone()));
                }
                // The client is gone already, or there are no file descriptors
                // left; waiting a little lets other connections give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is still open after this is dropped with the set.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

/// Serves one connection until either side closes it.
async fn converse<G: Guard<RouteTable>>(
    stream: TcpStream,
    table: Arc<G>,
    mut stopping: watch::Receiver<bool>,
) {
    // Without this a small answer may wait for the client's delayed ACK.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let response = answer(&*table, &request);
        async { Ok::<_, Infallible>(response) }
    });
    // The timer puts hyper's limit of 30 s on the arrival of a request's head.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A connection that fails takes nothing but itself down.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn answer<G: Guard<RouteTable>>(table: &G, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !path.starts_with('/') || path.split('/').any(is_dot_segment) {
        return reply(StatusCode::BAD_REQUEST, "the path cannot be routed\n".into());
    }
    let Some(host) = host_of(request) else {
        return reply(StatusCode::BAD_REQUEST, "one valid host is needed\n".into());
    };
    // The only time the table is held: the rest works on what was copied out.
    let (generation, target) = table.with(|table| {
        let route = table.lookup(&host, path);
        (table.generation(), route.map(|route| Arc::clone(&route.target)))
    });
    let mut response = match target {
        Some(target) => forward(&target, request.uri()),
        None => reply(StatusCode::NOT_FOUND, format!("no route for {host}{path}\n")),
    };
    response.headers_mut().insert(X_GENERATION, generation.into());
    response
}

/// Answers in place of the upstream.
fn forward(target: &Target, uri: &Uri) -> Response<Full<Bytes>> {
    let sent = uri.path_and_query().map_or("/", |whole| whole.as_str());
    let seen = &sent[target.strip..];
    let slash = if seen.starts_with('/') { "" } else { "/" };
    let (upstream, seen) = (target.upstream.to_string(), format!("{slash}{seen}"));
    let mut response = reply(StatusCode::OK, format!("{upstream} serves {seen}\n"));
    let mut header = |name, value: String| {
        // Hosts and paths have been checked when they were parsed, so all fit.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    header(X_UPSTREAM, upstream);
    header(X_UPSTREAM_PATH, seen);
    if let Some(timeout) = target.timeout {
        header(X_UPSTREAM_TIMEOUT, format!("{}ms", timeout.as_millis()));
    }
    response
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The host that a request is for. Two Host headers are how requests get
/// smuggled past a gateway, so that is `None`. An absolute URI overrides the
/// header (RFC 9112, 3.2.2). Only HTTP/1.0 may do without a host, and means the
/// default one.
fn host_of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let mut headers = request.headers().get_all(HOST).iter();
    match (request.uri().authority(), headers.next(), headers.next()) {
        (_, _, Some(_)) => None,
        (Some(authority), ..) => normalize_host(authority.host()),
        (None, Some(header), None) => normalize_host(header.to_str().ok()?),
        (None, None, None) => (request.version() == Version::HTTP_10).then_some("*".into()),
    }
}

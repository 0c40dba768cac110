//! The server.

use crate::metrics::{self, ROUTES, Request as Counted};
use crate::page;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;

/// Where the metrics are. Scrapes are not counted.
pub(crate) const METRICS: &str = "/metrics";

/// Takes connections until the runtime ends.
pub(crate) async fn accept(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // There are no file descriptors left; others may give some back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without this a small answer may wait for the client's delayed ACK.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A connection that fails takes nothing but itself down.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if path == METRICS {
        return Ok(reply(StatusCode::OK, page::CONTENT_TYPE, metrics::page()));
    }
    let counted = Counted::begin(path);
    let (status, body) = work(path, request.uri().query()).await;
    counted.end(status);
    Ok(reply(status, "text/plain; charset=utf-8", body))
}

/// What the server is there for. `?down` has a part of it fail.
async fn work(path: &str, query: Option<&str>) -> (StatusCode, String) {
    match ROUTES[metrics::route(path)] {
        "/" => (StatusCode::OK, "welcome\n".into()),
        "/search" => {
            let text = query.unwrap_or_default();
            let found = (0..20_000_u64).filter(|n| n.wrapping_mul(0x9e37_79b9) & 0xff == 7).count();
            (StatusCode::OK, format!("{found} results for {text:?}\n"))
        }
        "/checkout" if query == Some("down") => {
            (StatusCode::SERVICE_UNAVAILABLE, "the bank is away\n".into())
        }
        "/checkout" => {
            tokio::time::sleep(Duration::from_millis(1)).await;
            (StatusCode::OK, "paid\n".into())
        }
        _ => (StatusCode::NOT_FOUND, "there is no such page\n".into()),
    }
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

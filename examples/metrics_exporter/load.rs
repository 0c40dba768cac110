//! Clients, which keep books of the answers they get.

use crate::{metrics, serve};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How often each route answered what.
pub(crate) type Answers = BTreeMap<(usize, StatusCode), u64>;

/// A connection that is kept.
struct Client(SendRequest<Empty<Bytes>>);

/// Status, type and text.
type Answer = (StatusCode, String, String);

impl Client {
    async fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Client(sender))
    }

    async fn get(&mut self, uri: &str) -> io::Result<Answer> {
        let request = Request::get(uri).header(HOST, "localhost").body(Empty::new());
        self.0.ready().await.map_err(broken)?;
        let response = self.0.send_request(request.map_err(broken)?).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok((head.status, kind, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

/// Has so many clients send requests while there are to be `more`, by their number.
pub(crate) async fn run(
    addr: SocketAddr,
    clients: usize,
    more: impl Fn(u64) -> bool + Copy + Send + 'static,
) -> io::Result<Answers> {
    let client = move |seed: usize| async move {
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let mut client = Client::connect(addr).await?;
        let mut answers = Answers::new();
        for n in 0.. {
            if !more(n) {
                break;
            }
            let uri = match random.u32(..100) {
                0..70 => "/".to_owned(),
                70..90 => format!("/search?q={}", random.alphanumeric()),
                90..96 => "/checkout".to_owned(),
                96..98 => "/checkout?down".to_owned(),
                _ => format!("/{}", random.u16(..)),
            };
            let (status, ..) = client.get(&uri).await?;
            let route = metrics::route(uri.split('?').next().unwrap_or_default());
            *answers.entry((route, status)).or_default() += 1;
        }
        io::Result::Ok(answers)
    };
    let mut running: JoinSet<_> = (0..clients).map(client).collect();
    let mut all = Answers::new();
    while let Some(answers) = running.join_next().await {
        for (what, times) in answers.map_err(broken)?? {
            *all.entry(what).or_default() += times;
        }
    }
    Ok(all)
}

/// Fetches the metrics.
pub(crate) async fn scrape(addr: SocketAddr) -> io::Result<String> {
    let (status, kind, page) = Client::connect(addr).await?.get(serve::METRICS).await?;
    if status != StatusCode::OK || kind != crate::page::CONTENT_TYPE {
        return Err(broken(format!("the metrics are answered with {status}, {kind:?}")));
    }
    Ok(page)
}

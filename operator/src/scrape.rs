//! Asks one server for its metrics page.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exposition::ServerReport;
use crate::names::ports;

/// A server in the same cluster answers at once or is in trouble.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Time for the whole answer, connecting included.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Far more than a server's page; bounds what a wrong one can make the operator hold.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Asks the server at `ip`.
///
/// # Errors
/// In words: it could not be reached, or what it answered is not the page of a server.
pub async fn scrape(ip: &str) -> Result<ServerReport, String> {
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip:?} is not an address"))?;
    let port = u16::try_from(ports::METRICS).expect("ports fit");
    let page = timeout(ANSWER_MAX, get(SocketAddr::new(ip, port), "/metrics"))
        .await
        .map_err(|_| format!("no answer within {} s", ANSWER_MAX.as_secs()))??;
    ServerReport::parse(&page)
}

/// Gets a page by HTTP.
///
/// # Errors
/// In words.
pub async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let stream = timeout(CONNECT_MAX, TcpStream::connect(address))
        .await
        .map_err(|_| format!("no connection within {} s", CONNECT_MAX.as_secs()))?
        .map_err(|error| format!("no connection: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP: {error}"))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .expect("the request is well-formed");
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("{path} answered {status}"));
        }
        let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("{path} is not UTF-8"))
    };
    // The connection is driven here rather than in a task, so that giving up closes it.
    tokio::pin!(exchange);
    tokio::select! {
        page = &mut exchange => page,
        _ = connection => exchange.await,
    }
}

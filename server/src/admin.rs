//! The pages for people and machines: `/metrics`, `/livez`, `/readyz` and `/status`.
//!
//! They are served by the runtime of the core itself. A core that hangs therefore answers nothing at all, which a
//! prober takes for what it is; `/livez` also fails when the core loop alone has stopped.

pub mod four_letter;

use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::metrics;
use crate::process_stats::ProcessStats;
use crate::status::{Role, ServerStatus, Serving, build};

/// Questions that may wait for the core at a time; more probers than that are told to come back.
const QUESTIONS_MAX: usize = 64;

/// How to ask for a status from a handler, which may not hold what belongs to the core's thread.
#[derive(Clone)]
struct Asker {
    questions: mpsc::Sender<oneshot::Sender<ServerStatus>>,
    liveness_timeout: Duration,
}

impl Asker {
    async fn status(&self) -> Result<ServerStatus, Response> {
        let (answer, status) = oneshot::channel();
        let unavailable = || (StatusCode::SERVICE_UNAVAILABLE, "stopping or too busy\n");
        self.questions.try_send(answer).map_err(|_| unavailable().into_response())?;
        status.await.map_err(|_| unavailable().into_response())
    }
}

/// Serves the pages until the task is dropped. `status` is called for every page, on this thread.
///
/// Runs on a `LocalSet`.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    liveness_timeout: Duration,
    status: impl Fn() -> ServerStatus + 'static,
) -> io::Result<()> {
    let (questions, mut asked) = mpsc::channel::<oneshot::Sender<ServerStatus>>(QUESTIONS_MAX);
    tokio::task::spawn_local(async move {
        while let Some(answer) = asked.recv().await {
            // Who asked may have gone meanwhile.
            let _ = answer.send(status());
        }
    });
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status_page))
        .with_state(Asker { questions, liveness_timeout });
    axum::serve(listener, router).await
}

async fn metrics_page(State(asker): State<Asker>) -> Result<Response, Response> {
    let status = asker.status().await?;
    let page = metrics::page(&status, &ProcessStats::read());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

async fn livez(State(asker): State<Asker>) -> Result<Response, Response> {
    Ok(live(&asker.status().await?, asker.liveness_timeout).into_response())
}

async fn readyz(State(asker): State<Asker>) -> Result<Response, Response> {
    Ok(ready(&asker.status().await?).into_response())
}

async fn status_page(State(asker): State<Asker>) -> Result<Response, Response> {
    let status = asker.status().await?;
    let text = format!("{:#}\n", describe(&status));
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Whether the core loop makes progress.
fn live(status: &ServerStatus, timeout: Duration) -> (StatusCode, String) {
    if status.heartbeat_age <= timeout {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let age = status.heartbeat_age.as_secs_f64();
    (StatusCode::SERVICE_UNAVAILABLE, format!("the core loop has not gone round for {age:.1} s\n"))
}

/// Whether clients are served, with a known leader.
fn ready(status: &ServerStatus) -> (StatusCode, String) {
    match &status.serving {
        Serving::Yes => (StatusCode::OK, format!("ok: {}\n", status.role.name())),
        Serving::No(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not serving: {why}\n")),
    }
}

/// The status as JSON, for people and scripts. Numbers that may exceed 2^53 are text.
fn describe(status: &ServerStatus) -> Value {
    let zxid = |zxid: zab::Zxid| format!("{:#x}", zxid.0);
    let serving = match &status.serving {
        Serving::Yes => json!({ "serving": true }),
        Serving::No(why) => json!({ "serving": false, "why_not": why }),
    };
    let voter = |id: &zab::ServerId| {
        json!({
            "id": id.0,
            "synced": metrics::voter_is_synced(status, *id),
            "lag_transactions": metrics::voter_lag(status, *id),
        })
    };
    let voters = match status.role {
        Role::Leader => status.voters.iter().map(voter).collect(),
        _ => status.voters.iter().map(|id| json!({ "id": id.0 })).collect::<Vec<_>>(),
    };
    json!({
        "version": build::VERSION,
        "revision": build::REVISION,
        "server_id": status.server.0,
        "role": status.role,
        "phase": format!("{:?}", status.phase).to_lowercase(),
        "leader_id": status.leader.map(|leader| leader.0),
        "clients": serving,
        "current_epoch": status.epochs.current.0,
        "accepted_epoch": status.epochs.accepted.0,
        "last_committed": zxid(status.last_committed),
        "last_durable": zxid(status.last_durable),
        "last_logged": zxid(status.last_logged),
        "config_version": format!("{:x}", status.config_version),
        "voters": voters,
        "elections": status.elections,
        "election_ms": status.election_ms,
        "uptime_ms": u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
        "recovery_progress": status.recovery_progress,
        "znodes": status.tree.znodes,
        "sessions": status.tree.sessions,
        "connections": status.traffic.connections,
        "outstanding_requests": status.traffic.outstanding,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::LocalSet;

    use super::*;
    use crate::status::tests::{leader, looking};

    #[test]
    fn a_server_is_ready_only_while_it_serves() {
        assert_eq!(ready(&leader()), (StatusCode::OK, "ok: leader\n".to_owned()));
        let (code, body) = ready(&looking());
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "not serving: no leader is known, an election is on\n");
    }

    #[test]
    fn a_server_lives_while_its_core_loop_goes_round() {
        let mut status = looking();
        assert_eq!(live(&status, Duration::from_secs(10)).0, StatusCode::OK);
        status.heartbeat_age = Duration::from_millis(10_100);
        let (code, body) = live(&status, Duration::from_secs(10));
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "the core loop has not gone round for 10.1 s\n");
    }

    /// The answer to a GET, head and body.
    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: zab\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_pages_show_the_status_of_the_moment() {
        LocalSet::new()
            .run_until(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let status = Rc::new(RefCell::new(looking()));
                let shown = Rc::clone(&status);
                let timeout = Duration::from_secs(1);
                let server = tokio::task::spawn_local(serve(listener, timeout, move || {
                    shown.borrow().clone()
                }));
                assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
                *status.borrow_mut() = leader();
                assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
                assert!(get(address, "/livez").await.ends_with("\r\n\r\nok\n"));
                let metrics = get(address, "/metrics").await;
                assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
                assert!(metrics.contains("\nzab_role{role=\"leader\"} 1\n"));
                let json = get(address, "/status").await;
                let json: Value =
                    serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
                assert_eq!(
                    json["voters"][1],
                    json!({"id": 2, "synced": false, "lag_transactions": 121})
                );
                assert_eq!(json["last_committed"], "0x200000077");
                assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404 "));
                server.abort();
            })
            .await;
    }
}

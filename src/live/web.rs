//! HTTPS through the running server itself: its certificate, its own answers, preflights, and WebSockets to what it may reach.
//!
//! relayd has no WebSocket of its own, so each upstream is asked for one: 101 is best, and any other answer of the upstream
//! proves the path just as well. An answer of relayd itself, in its place, is a failure.

mod judge;
mod websocket;

pub(super) use judge::{
    Asked as Outcome, certificate_row, health_row, preflight_row, websocket_row,
};

use super::certificate::{Refused, Tls};
use super::http::{Answer, HttpError, USER_AGENT, Want, ask};
use super::report::{Part, Row, Verdict};
use super::server::Server;
use super::turn::Stream;
use super::upstreams::{Target, targets};
use super::{AT_ONCE, Setup, each, own};
use crate::sys::clock;
use crate::tls::{ALPN_HTTP11, public_roots};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Empty;
use judge::NoStream;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// An origin that no page has, for a preflight where every origin is allowed.
const ANY_ORIGIN: &str = "https://relayd-check.invalid";

/// A listener for HTTP, as it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub address: SocketAddr,
    pub tls: bool,
}

/// What is known; the WebSockets are judged when it is known which upstreams this command reaches by itself.
#[derive(Default)]
pub(super) struct Checked {
    rows: Vec<Row>,
    sockets: Vec<Socket>,
}

/// What became of one WebSocket.
struct Socket {
    target: Target,
    outcome: Outcome,
    took: Duration,
}

impl Checked {
    /// With the rows of the upstreams, if they were tried.
    pub(super) fn rows(self, upstreams: &[Row]) -> Vec<Row> {
        let sockets = self.sockets.iter().map(|socket| {
            let name = socket.target.authority.to_string();
            let works = |row: &Row| matches!(row.result, Verdict::Ok | Verdict::Warn);
            let is_reached = upstreams.iter().any(|row| row.what == name && works(row));
            websocket_row(&socket.target, &socket.outcome, is_reached).took(socket.took)
        });
        let sockets: Vec<Row> = sockets.collect();
        self.rows.into_iter().chain(sockets).collect()
    }
}

type Test<T> = Pin<Box<dyn Future<Output = Option<T>>>>;

pub(super) async fn check(setup: &Rc<Setup>, server: &Rc<Server>) -> Checked {
    let only = |rows: Vec<Row>| Checked {
        rows,
        sockets: Vec::new(),
    };
    let untried = |why: &str| only(vec![Row::untried(Part::Proxy, "HTTPS", why)]);
    if server.is_absent() {
        return untried("the server does not run");
    }
    let (doors, mut shut) = doors(server);
    let (Some(first), Some(tls)) = (doors.first().copied(), Tls::new(public_roots())) else {
        return match shut.is_empty() {
            true => untried("no TLS or TCP listener with a port that can be known"),
            false => only(shut),
        };
    };
    let mut rows = certificate(setup, &tls, &doors).await;
    rows.append(&mut shut);
    let mut tests: Vec<Test<Row>> = Vec::new();
    for door in doors {
        let test = health(Rc::clone(setup), tls.clone(), door);
        tests.push(Box::pin(test));
    }
    let config = &setup.loaded.config;
    let targets = targets(&config.proxy, &config.vendors).tried;
    if let Some(target) = targets.first() {
        let test = preflight(Rc::clone(setup), tls.clone(), first, target.path());
        tests.push(Box::pin(test));
    }
    // Before the many, which may use up what one address may ask in a second.
    rows.extend(each(tests, AT_ONCE).await.into_iter().flatten());
    let socket = |target| websocket(Rc::clone(setup), tls.clone(), first, target);
    let sockets = each(targets.into_iter().map(socket).collect(), AT_ONCE).await;
    Checked {
        rows,
        sockets: sockets.into_iter().flatten().collect(),
    }
}

/// TLS where there is any; behind a load balancer that ends TLS, the plain port is the door. And rows for those that cannot be
/// reached from this machine.
fn doors(server: &Server) -> (Vec<Door>, Vec<Row>) {
    let listeners = server.listeners();
    let tls = !listeners.tls.is_empty();
    let list = if tls { &listeners.tls } else { &listeners.tcp };
    let (mut doors, mut shut) = (Vec::new(), Vec::new());
    for address in list {
        match own::way(*address) {
            Ok(address) => doors.push(Door { address, tls }),
            Err(why) => {
                let what = format!("{}, {address}", scheme(tls));
                shut.push(Row::untried(Part::Proxy, what, why));
            }
        }
    }
    (doors, shut)
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The first TLS listener's: there is one certificate for all.
async fn certificate(setup: &Setup, tls: &Tls, doors: &[Door]) -> Vec<Row> {
    let Some(door) = doors.iter().find(|door| door.tls) else {
        return Vec::new();
    };
    let config = &setup.loaded.config;
    let step = setup.asked.step;
    let shown = async {
        let stream = own::open(door.address, &config.listen, step).await.ok()?;
        let shaken = tls.shake(
            stream,
            &config.domain,
            &[ALPN_HTTP11],
            Refused::GoesOn,
            step,
        );
        shaken.await.certificate
    };
    let shown = setup.unless_stopped(shown).await.flatten();
    let row = |it| certificate_row(&config.domain, &it, config.acme.is_some());
    shown.map(row).into_iter().collect()
}

async fn open(setup: &Setup, tls: &Tls, door: Door) -> Result<Box<dyn Stream>, NoStream> {
    let config = &setup.loaded.config;
    let step = setup.asked.step;
    let stream = own::open(door.address, &config.listen, step)
        .await
        .map_err(NoStream::Connect)?;
    if !door.tls {
        return Ok(Box::new(stream));
    }
    let shaken = tls
        .shake(
            stream,
            &config.domain,
            &[ALPN_HTTP11],
            Refused::GoesOn,
            step,
        )
        .await;
    Ok(Box::new(shaken.stream.map_err(NoStream::Tls)?))
}

/// As clients write it.
fn authority(setup: &Setup, door: Door) -> String {
    let domain = &setup.loaded.config.domain;
    match (door.tls, door.address.port()) {
        (true, 443) | (false, 80) => domain.clone(),
        (_, port) => format!("{domain}:{port}"),
    }
}

async fn health(setup: Rc<Setup>, tls: Tls, door: Door) -> Option<Row> {
    let begun = clock::now().instant();
    let request = Request::get("/healthcheck");
    let asked = request_by(&setup, &tls, door, request).await?;
    let took = clock::now().instant().duration_since(begun);
    Some(health_row(door, &asked).took(took))
}

async fn preflight(setup: Rc<Setup>, tls: Tls, door: Door, path: String) -> Option<Row> {
    let origins = &setup.loaded.config.proxy.cors_origins;
    let origin = match origins.first().map(String::as_str) {
        None => {
            return Some(Row::untried(
                Part::Proxy,
                "CORS preflight",
                "proxy.cors_origins allows no page",
            ));
        }
        Some("*") => ANY_ORIGIN,
        Some(origin) => origin,
    };
    let begun = clock::now().instant();
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header(header::ORIGIN, origin)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,content-type",
        );
    let asked = request_by(&setup, &tls, door, request).await?;
    let took = clock::now().instant().duration_since(begun);
    Some(preflight_row(origin, &asked).took(took))
}

/// `None`: stopped.
async fn request_by(
    setup: &Setup,
    tls: &Tls,
    door: Door,
    request: http::request::Builder,
) -> Option<Result<Answer, NoStream>> {
    let request = request
        .header(header::HOST, authority(setup, door))
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::<Bytes>::new());
    let asked = async {
        let stream = open(setup, tls, door).await?;
        let request = request.map_err(|_| NoStream::Http(HttpError::NotHttp))?;
        ask(stream, request, Want::Body, setup.asked.step)
            .await
            .map_err(NoStream::Http)
    };
    setup.unless_stopped(asked).await
}

async fn websocket(setup: Rc<Setup>, tls: Tls, door: Door, target: Target) -> Option<Socket> {
    let scheme = if door.tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{}{}", authority(&setup, door), target.path());
    let begun = clock::now().instant();
    let asked = async {
        match open(&setup, &tls, door).await {
            Ok(stream) => websocket::ask(stream, &url, setup.asked.step).await,
            Err(error) => Outcome::NoStream(error),
        }
    };
    let outcome = setup.unless_stopped(asked).await?;
    let took = clock::now().instant().duration_since(begun);
    Some(Socket {
        target,
        outcome,
        took,
    })
}

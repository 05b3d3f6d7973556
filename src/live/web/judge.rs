//! What is said about HTTPS and WebSockets through the server, from the answers alone. Pure.

use super::{Door, scheme};
use crate::live::certificate::{Certificate, DAYS_MIN, Fault, HandshakeError};
use crate::live::http::{Answer, HttpError};
use crate::live::report::{Part, Row};
use crate::live::upstreams::{Target, Way};
use http::header;
use serde_json::Value;
use std::io;

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::live) enum NoStream {
    Connect(io::Error),
    Tls(HandshakeError),
    Http(HttpError),
}

impl NoStream {
    fn detail(&self) -> String {
        match self {
            Self::Connect(error) => format!("not reached: {error}"),
            Self::Tls(error) => error.full(),
            Self::Http(error) => error.to_string(),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Connect(_) => {
                "Nobody serves there. Is this the file of the running server (then reload it), and has another program the port (`ss -tlnp`)?"
            }
            Self::Tls(_) => {
                "The TLS listener does not shake hands: look at the server's log and at its certificate, and whether another program has the port (`ss -tlnp`)."
            }
            Self::Http(_) => {
                "TLS works and HTTP is not answered: look at the server's log. A network in listen.proxy_protocol_from has to send a PROXY header, any other must not."
            }
        }
    }
}

/// What became of a WebSocket handshake.
#[derive(Debug)]
pub(in crate::live) enum Asked {
    /// 101; whether a ping came back.
    Opened {
        pong: bool,
    },
    /// Another status, and as much of the body as came with the head.
    Answered {
        status: u16,
        body: Vec<u8>,
    },
    /// Neither a refusal nor a WebSocket.
    Odd(String),
    NoStream(NoStream),
}

pub(in crate::live) fn certificate_row(domain: &str, it: &Certificate, acme: bool) -> Row {
    let what = format!("certificate of {domain}");
    let summary = it.summary();
    let fail = |detail: String, advice: &str| Row::fail(Part::Proxy, &what, detail, advice);
    let warn = |detail: String, advice: &str| Row::warn(Part::Proxy, &what, detail, advice);
    match it.own_fault.as_ref().or(it.fault.as_ref()) {
        Some(Fault::Expired) => fail(
            format!("{summary}: it has expired"),
            "Every client refuses it: renew it (relayd takes up changed files by itself).",
        ),
        Some(Fault::NotYetValid) => fail(
            format!("{summary}: it is not valid yet"),
            "This machine's clock is behind (`timedatectl set-ntp true`), or the certificate was made by one that is ahead.",
        ),
        Some(Fault::WrongName) => fail(
            format!("{summary}: it is for {}, not for {domain}", it.names()),
            "Every client refuses it: get one for server.domain, or correct server.domain.",
        ),
        Some(Fault::UnknownIssuer) if it.self_signed && acme => fail(
            format!("{summary}: the stand-in until one is obtained"),
            "No certificate has been obtained yet, and clients refuse the stand-in: the log says why (`cannot obtain a certificate`, with step and reason). Port 443 has to be reachable from outside for it.",
        ),
        Some(Fault::UnknownIssuer) if it.self_signed => warn(
            format!("{summary}: browsers will refuse it"),
            "Good for a first try only: browsers ask before they open a page with it and take no turns: with it. Name a certificate of a public authority in [tls], or let relayd get one ([tls.acme]).",
        ),
        Some(Fault::UnknownIssuer) => warn(
            format!("{summary}: no public authority is behind it"),
            "Only devices that were told to trust its issuer accept it. If it is a public one, the chain is incomplete: name the file with the intermediate certificate (`fullchain.pem`).",
        ),
        Some(Fault::Other(said)) => fail(
            format!("{summary}: {said}"),
            "Clients refuse it: get another one.",
        ),
        None if it.days_left < DAYS_MIN => warn(
            summary,
            "It ends soon: renew it. With [tls.acme] relayd would have done so; its log says why not.",
        ),
        None => Row::ok(Part::Proxy, what, summary),
    }
}

pub(in crate::live) fn health_row(door: Door, asked: &Result<Answer, NoStream>) -> Row {
    let what = format!("{}, {}", scheme(door.tls), door.address);
    match asked {
        Ok(answer) if answer.status == 200 && answer.body.starts_with(b"ok") => {
            Row::ok(Part::Proxy, what, "/healthcheck is answered 200")
        }
        Ok(answer) if is_limited(&answer.body) => Row::untried(Part::Proxy, what, LIMITED),
        Ok(answer) => Row::fail(
            Part::Proxy,
            what,
            format!("/healthcheck is answered {}", answer.status),
            "This is not relayd's answer: which program has the port (`ss -tlnp`)?",
        ),
        Err(error) => Row::fail(Part::Proxy, what, error.detail(), error.advice()),
    }
}

pub(in crate::live) fn preflight_row(origin: &str, asked: &Result<Answer, NoStream>) -> Row {
    const WHAT: &str = "CORS preflight";
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => return Row::fail(Part::Proxy, WHAT, error.detail(), error.advice()),
    };
    if is_limited(&answer.body) {
        return Row::untried(Part::Proxy, WHAT, LIMITED);
    }
    let allowed = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let is_allowed = allowed.is_some_and(|it| it == origin || it == "*");
    match (answer.status, is_allowed) {
        (200 | 204, true) => Row::ok(
            Part::Proxy,
            WHAT,
            format!("pages of {origin} may ask: status {}", answer.status),
        ),
        (status, _) => Row::fail(
            Part::Proxy,
            WHAT,
            format!("pages of {origin} may not ask: status {status}"),
            "The running server has other proxy.cors_origins or another allow-list than this file: reload it.",
        ),
    }
}

/// `is_reached`: this command has reached the upstream by itself.
pub(in crate::live) fn websocket_row(target: &Target, asked: &Asked, is_reached: bool) -> Row {
    let what = match &target.way {
        Way::Prefix(prefix) => format!("WebSocket {prefix} to {}", target.authority),
        Way::Host | Way::Agora | Way::Trtc => format!("WebSocket to {}", target.authority),
    };
    match asked {
        Asked::Opened { pong: true } => Row::ok(Part::Proxy, what, "101, and a ping came back"),
        Asked::Opened { pong: false } => {
            Row::ok(Part::Proxy, what, "101; a ping was not answered at once")
        }
        Asked::Answered { status, body } => match own_error(body) {
            Some(_) if is_limited(body) => Row::untried(Part::Proxy, what, LIMITED),
            Some((label, sentence)) => Row::fail(
                Part::Proxy,
                what,
                format!("relayd answers {status} {label}: {sentence}"),
                own_error_advice(&label),
            ),
            // An upstream behind a load balancer may answer this by itself.
            None if matches!(status, 502..=504) && !is_reached => Row::fail(
                Part::Proxy,
                what,
                format!("status {status}, of the upstream or of relayd"),
                NOT_REACHED,
            ),
            None => Row::ok(
                Part::Proxy,
                what,
                format!(
                    "the upstream answers {status}: the path works, and it wants no WebSocket there"
                ),
            ),
        },
        Asked::Odd(said) => Row::warn(
            Part::Proxy,
            what,
            format!("the upstream's answer is no WebSocket's: {said}"),
            "The path works, but what answers does not keep to RFC 6455: is it the right upstream?",
        ),
        Asked::NoStream(NoStream::Http(HttpError::TimedOut)) => {
            Row::fail(Part::Proxy, what, "no answer in time", NOT_REACHED)
        }
        Asked::NoStream(error) => Row::fail(Part::Proxy, what, error.detail(), error.advice()),
    }
}

const NOT_REACHED: &str = "The running server does not reach it; the row of this upstream above says what is wrong. If that one is ok, the server lives under other conditions than this command: its user's, its container's or its unit's DNS and firewall.";

/// The limit that the configuration wants; this test asks many at once.
const LIMITED: &str = "proxy.limits.requests_per_second_per_address stands in the way of this test";

fn is_limited(body: &[u8]) -> bool {
    own_error(body).is_some_and(|(label, _)| label == "too_many_requests")
}

/// relayd's own errors have this body.
fn own_error(body: &[u8]) -> Option<(String, String)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| body.get(key)?.as_str().map(str::to_owned);
    Some((text("error")?, text("message")?))
}

fn own_error_advice(label: &str) -> &'static str {
    match label {
        "host_not_allowed" | "no_route" | "origin_not_allowed" => {
            "The running server does not allow what this file allows: reload it."
        }
        "too_many_tunnels" | "upstream_busy" => {
            "A limit of [proxy.limits] is reached: wait, or raise it."
        }
        "draining" => "It is stopping: start it again.",
        _ => NOT_REACHED,
    }
}

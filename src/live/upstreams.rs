//! Every allowed upstream, reached as the proxy reaches it: name, addresses that the rules permit, TCP, TLS, HTTP.

mod judge;
mod targets;

pub(super) use judge::{Ended, Facts, Names, row};
pub(super) use targets::{Target, Targets, Way, targets};

use super::certificate::{Refused, Tls, protocol};
use super::http::{self, USER_AGENT, Want, ask};
use super::report::{Part, Row};
use super::{AT_ONCE, Setup, each};
use crate::ip_rules::IpRule;
use crate::proxy::{connect, dialling_order};
use crate::sys::clock;
use crate::tls::roots;
use bytes::Bytes;
use http_body_util::Empty;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::time::timeout;

/// What relayd offers to upstreams.
const ALPN: &[&[u8]] = &[b"http/1.1"];

#[derive(Default)]
pub(super) struct Checked {
    pub rows: Vec<Row>,
    /// Upstreams' clocks minus this machine's, in seconds.
    pub skews: Vec<i64>,
}

pub(super) async fn check(setup: &Rc<Setup>) -> Checked {
    let config = &setup.loaded.config;
    let Targets { tried, untried } = targets(&config.proxy, &config.vendors);
    let tls = match roots(config.proxy.ca_file.as_deref()) {
        Ok(roots) => Tls::new(roots),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            let detail = format!("{error}{}", cause.unwrap_or_default());
            let advice = "relayd does not start with it: name a PEM file with certificates in proxy.ca_file.";
            return Checked {
                rows: vec![Row::fail(Part::Upstreams, "proxy.ca_file", detail, advice)],
                skews: Vec::new(),
            };
        }
    };
    let Some(tls) = tls else {
        return Checked::default();
    };
    let test = |target: Target| {
        let (setup, tls) = (Rc::clone(setup), tls.clone());
        async move {
            let facts = setup.unless_stopped(reach(&setup, &tls, &target)).await;
            facts.map(|facts| (target, facts))
        }
    };
    let found = each(tried.into_iter().map(test).collect(), AT_ONCE).await;
    let mut checked = Checked::default();
    for (target, facts) in found.into_iter().flatten() {
        checked.skews.extend(facts.skew_s());
        checked.rows.push(row(&target.authority, &facts));
    }
    let untried = untried
        .into_iter()
        .map(|(what, why)| Row::untried(Part::Upstreams, what, why));
    checked.rows.extend(untried);
    if checked.rows.is_empty() {
        checked.rows.push(Row::untried(
            Part::Upstreams,
            "upstreams",
            "none are allowed: relayd relays media alone",
        ));
    }
    checked
}

async fn reach(setup: &Setup, tls: &Tls, target: &Target) -> Facts {
    let begun = clock::now().instant();
    let (names, ended) = reach_names(setup, tls, target).await;
    Facts {
        names,
        ended,
        took: clock::now().instant().duration_since(begun),
    }
}

async fn reach_names(setup: &Setup, tls: &Tls, target: &Target) -> (Names, Ended) {
    let authority = &target.authority;
    let names = resolve(setup, &authority.host, authority.port).await;
    let addresses = match &names {
        Names::Override(address) => vec![*address],
        Names::Found { permitted, .. } if !permitted.is_empty() => {
            dialling_order(permitted.clone(), authority.port)
        }
        Names::Found { .. } => return (names, Ended::Denied),
        Names::Unknown(_) | Names::Silent => return (names, Ended::Unresolved),
    };
    let ended = reach_addresses(setup, tls, target, &addresses).await;
    (names, ended)
}

/// By the same rules, in the same order as the proxy: the operator's word first.
async fn resolve(setup: &Setup, host: &str, port: u16) -> Names {
    let settings = &setup.loaded.config.proxy;
    if let Some(address) = settings.resolve.get(&(host.to_owned(), port)) {
        return Names::Override(*address);
    }
    let found: Vec<IpAddr> = match timeout(setup.asked.step, setup.resolver.resolve(host)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Names::Unknown(error.to_string()),
        Err(_) => return Names::Silent,
    };
    if found.is_empty() {
        return Names::Unknown("it has no address".to_owned());
    }
    let judged: Vec<(IpAddr, IpRule)> = found
        .iter()
        .map(|ip| (*ip, settings.addresses.judge(*ip)))
        .collect();
    Names::Found {
        permitted: judged
            .iter()
            .filter(|(_, rule)| rule.permits())
            .map(|(ip, _)| *ip)
            .collect(),
        denied: judged
            .into_iter()
            .filter(|(_, rule)| !rule.permits())
            .collect(),
    }
}

async fn reach_addresses(
    setup: &Setup,
    tls: &Tls,
    target: &Target,
    addresses: &[SocketAddr],
) -> Ended {
    let step = setup.asked.step;
    let begun = clock::now().instant();
    let socket = match timeout(step, connect(addresses)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Ended::NotConnected(error),
        Err(_) => return Ended::ConnectTimeout,
    };
    let connected = clock::now().instant().duration_since(begun);
    let address = socket.peer_addr().ok();
    let shaken = tls
        .shake(socket, &target.authority.host, ALPN, Refused::Ends, step)
        .await;
    let certificate = shaken.certificate;
    let stream = match shaken.stream {
        Ok(stream) => stream,
        Err(error) => return Ended::NoTls { error, certificate },
    };
    let protocol = protocol(&stream);
    let request = match request(&target.authority.to_string()) {
        Ok(request) => request,
        Err(_) => return Ended::NoHttp(http::HttpError::NotHttp),
    };
    match ask(stream, request, Want::Head, step).await {
        Ok(answer) => Ended::Answered {
            address,
            connected,
            protocol,
            certificate,
            status: answer.status,
            skew_s: http::date(&answer.headers).map(skew),
        },
        Err(error) => Ended::NoHttp(error),
    }
}

/// Seconds that the other clock is ahead.
fn skew(date: i64) -> i64 {
    let own = i64::try_from(clock::now().unix_s()).unwrap_or(i64::MAX);
    date.saturating_sub(own)
}

/// A HEAD changes nothing, and every server answers it somehow.
fn request(authority: &str) -> Result<::http::Request<Empty<Bytes>>, ::http::Error> {
    ::http::Request::head("/")
        .header(::http::header::HOST, authority)
        .header(::http::header::USER_AGENT, USER_AGENT)
        .header(::http::header::ACCEPT, "*/*")
        .body(Empty::new())
}

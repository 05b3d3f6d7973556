//! What is said about an upstream, from the facts alone. Pure.

use crate::ip_rules::IpRule;
use crate::live::certificate::{Certificate, DAYS_MIN, Fault, HandshakeError};
use crate::live::http::HttpError;
use crate::live::report::{Part, Row};
use crate::proxy::allowlist::Authority;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What the name led to.
#[derive(Debug)]
pub(in crate::live) enum Names {
    /// `proxy.resolve`: the operator's word, not judged.
    Override(SocketAddr),
    Found {
        permitted: Vec<IpAddr>,
        denied: Vec<(IpAddr, IpRule)>,
    },
    /// What the resolver said.
    Unknown(String),
    Silent,
}

/// How far it went.
#[derive(Debug)]
pub(in crate::live) enum Ended {
    Unresolved,
    Denied,
    NotConnected(io::Error),
    ConnectTimeout,
    NoTls {
        error: HandshakeError,
        certificate: Option<Certificate>,
    },
    NoHttp(HttpError),
    Answered {
        address: Option<SocketAddr>,
        connected: Duration,
        protocol: String,
        certificate: Option<Certificate>,
        status: u16,
        /// Its clock minus this machine's, in seconds; `None`: it told no date.
        skew_s: Option<i64>,
    },
}

#[derive(Debug)]
pub(in crate::live) struct Facts {
    pub names: Names,
    pub ended: Ended,
    /// All of it.
    pub took: Duration,
}

impl Facts {
    pub(in crate::live) fn skew_s(&self) -> Option<i64> {
        match &self.ended {
            Ended::Answered { skew_s, .. } => *skew_s,
            _ => None,
        }
    }
}

const FIREWALL: &str = "The firewall between this machine and the internet seems to drop it: allow TCP to this port outwards.";

pub(in crate::live) fn row(authority: &Authority, facts: &Facts) -> Row {
    let what = authority.to_string();
    let fail = |detail: String, advice: String| Row::fail(Part::Upstreams, &what, detail, advice);
    let row = match &facts.ended {
        Ended::Unresolved => unresolved(&what, &authority.host, &facts.names),
        Ended::Denied => denied(&what, &facts.names),
        Ended::NotConnected(error) => fail(
            format!("{}; not connected: {error}", names(&facts.names)),
            not_connected(error, &facts.names).to_owned(),
        ),
        Ended::ConnectTimeout => fail(
            format!("{}; no TCP connection in time", names(&facts.names)),
            FIREWALL.to_owned(),
        ),
        Ended::NoTls { error, certificate } => {
            let (detail, advice) = no_tls(error, certificate.as_ref());
            fail(format!("{}; {detail}", names(&facts.names)), advice)
        }
        Ended::NoHttp(error) => fail(
            format!("{}, TLS; {error}", names(&facts.names)),
            "TLS works, HTTP does not: is this host meant to be an HTTPS server, and is the port right? A proxy in between may end what it does not like.".to_owned(),
        ),
        Ended::Answered {
            address,
            connected,
            protocol,
            certificate,
            status,
            ..
        } => {
            // An override says it already.
            let at = match (&facts.names, address) {
                (Names::Found { .. }, Some(address)) => format!(" at {address}"),
                _ => String::new(),
            };
            let detail = format!(
                "{}{at}; TCP in {:.0} ms; {protocol}; {}; status {status}",
                names(&facts.names),
                connected.as_secs_f64() * 1e3,
                certificate.as_ref().map_or_else(String::new, Certificate::summary),
            );
            match certificate.as_ref().filter(|it| it.days_left < DAYS_MIN) {
                Some(_) => Row::warn(
                    Part::Upstreams,
                    &what,
                    detail,
                    "Its certificate ends soon: whoever runs this host has to renew it.",
                ),
                None => Row::ok(Part::Upstreams, &what, detail),
            }
        }
    };
    row.took(facts.took)
}

fn unresolved(what: &str, host: &str, names: &Names) -> Row {
    let (detail, advice) = match names {
        Names::Silent => (
            "the resolver does not answer in time".to_owned(),
            "No DNS server answers this machine: look at /etc/resolv.conf, and allow UDP and TCP 53 to the servers named there.".to_owned(),
        ),
        Names::Unknown(said) if said.contains("Temporary failure") => (
            said.clone(),
            "No DNS server answers this machine: look at /etc/resolv.conf, and allow UDP and TCP 53 to the servers named there.".to_owned(),
        ),
        Names::Unknown(_) | Names::Found { .. } | Names::Override(_) => (
            "the name does not exist for this machine's resolver".to_owned(),
            format!(
                "Is {host} spelled right? If it is known to another DNS server only, let this machine ask that one, or give its address: proxy.resolve = {{ \"{host}\" = \"ADDRESS:443\" }}."
            ),
        ),
    };
    Row::fail(Part::Upstreams, what, detail, advice)
}

fn denied(what: &str, names: &Names) -> Row {
    let shown = match names {
        Names::Found { denied, .. } => denied.first(),
        Names::Override(_) | Names::Unknown(_) | Names::Silent => None,
    };
    let detail = match shown {
        Some((ip, rule)) => format!("{}; {ip} is {rule}", self::names(names)),
        None => self::names(names),
    };
    Row::fail(
        Part::Upstreams,
        what,
        detail,
        "DNS gives addresses that relayd does not connect to, so that no page gets into your network through it. If this host is meant to be inside, write its address into proxy.resolve, or open its network in proxy.addresses.allow; if not, your resolver does not tell the truth about it.",
    )
}

fn not_connected(error: &io::Error, names: &Names) -> &'static str {
    match (error.kind(), names) {
        (io::ErrorKind::ConnectionRefused, Names::Override(_)) => {
            "Nobody listens at the address that proxy.resolve gives: correct it, or start what should be there."
        }
        (io::ErrorKind::ConnectionRefused, _) => {
            "The host, or a firewall on the way, refuses the connection: is the port right, and may this machine go out to it?"
        }
        (io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable, _) => {
            "This machine has no route there: look at its default route and its firewall."
        }
        _ => FIREWALL,
    }
}

fn no_tls(error: &HandshakeError, certificate: Option<&Certificate>) -> (String, String) {
    let fault = certificate.and_then(|it| Some((it, it.fault.as_ref()?)));
    let Some((certificate, fault)) = fault else {
        return (
            error.full(),
            "The connection is there and TLS is not: a firewall that looks into connections may end those to this name (let it pass the name unchanged), or the port is not HTTPS.".to_owned(),
        );
    };
    let summary = certificate.summary();
    match fault {
        Fault::WrongName => (
            format!(
                "{summary}: it is for {}, not for this name",
                certificate.names()
            ),
            "Another server answers in its place: does DNS, or proxy.resolve, lead to the right address? A captive portal or a filter shows itself like this, too.".to_owned(),
        ),
        Fault::Expired => (
            format!("{summary}: it has expired"),
            "If this machine's clock is right (`timedatectl`), whoever runs this host has to renew its certificate.".to_owned(),
        ),
        Fault::NotYetValid => (
            format!("{summary}: it is not valid yet"),
            "This machine's clock is behind (`timedatectl set-ntp true`), or the host's certificate was made by one that is ahead.".to_owned(),
        ),
        Fault::UnknownIssuer => (
            format!(
                "certificate issued by {}, which is unknown here",
                certificate.issuer
            ),
            "Its issuer is no public authority: a corporate proxy that inspects TLS, or a private one. Exempt this host from the inspection, or name the issuer's certificate (PEM) in proxy.ca_file.".to_owned(),
        ),
        Fault::Other(said) => (
            format!("{summary}: {said}"),
            "Its certificate cannot be used; whoever runs this host has to replace it.".to_owned(),
        ),
    }
}

/// `2 addresses`, `2 of 3 addresses permitted`.
fn names(names: &Names) -> String {
    match names {
        Names::Override(address) => format!("proxy.resolve: {address}"),
        Names::Found { permitted, denied } => {
            let total = permitted.len() + denied.len();
            let plural = if total == 1 { "address" } else { "addresses" };
            match denied.len() {
                0 => format!("{total} {plural}"),
                _ => format!("{} of {total} {plural} permitted", permitted.len()),
            }
        }
        Names::Unknown(said) => said.clone(),
        Names::Silent => "the resolver is silent".to_owned(),
    }
}

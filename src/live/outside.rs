//! How the relay addresses look from outside: STUN Binding to servers that the operator named.
//!
//! Asked from a port of the relayed range, where one is free, because a NAT may treat those otherwise than the others.

use super::report::{Part, Row};
use super::server::Server;
use super::turn::{Conversation, Login, Session, Trouble, Wire};
use super::{AT_ONCE, Setup, each};
use crate::addr::Family;
use crate::check::relay_addresses;
use crate::entropy::Entropy;
use crate::ip_rules::IpRules;
use crate::secret::Secret;
use crate::sys::clock;
use crate::sys::rng::SystemRng;
use crate::turn::UserKey;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::str::FromStr;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// RFC 8489 §18.6.
const STUN_PORT: u16 = 3478;
/// Ports of the relayed range that are tried before any other will do.
const PORTS_TRIED: usize = 8;

/// `HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    host: String,
    port: u16,
}

impl FromStr for StunServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a STUN server is a name or an address, with a port or without: stun.example.com:3478, 192.0.2.1, [2001:db8::1]:3478".to_owned()
        };
        if let Ok(ip) = text.parse::<IpAddr>() {
            let host = ip.to_string();
            return Ok(Self {
                host,
                port: STUN_PORT,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().ok().filter(|port| *port > 0))
            }
            Some(_) | None => (text, Some(STUN_PORT)),
        };
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let is_good = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok() || is_name(host),
        };
        let port = port.filter(|_| is_good).ok_or_else(wrong)?;
        let host = bare.unwrap_or(host).to_owned();
        Ok(Self { host, port })
    }
}

fn is_name(host: &str) -> bool {
    crate::proxy::allowlist::is_host_name(host)
}

impl std::fmt::Display for StunServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What is known about one relay address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub own: SocketAddr,
    /// As clients are told it.
    pub told: IpAddr,
    pub seen: SocketAddr,
}

pub(super) async fn check(setup: &Rc<Setup>, server: &Rc<Server>) -> Vec<Row> {
    let config = &setup.loaded.config;
    let servers = match setup.asked.stun.is_empty() {
        false => setup.asked.stun.clone(),
        true => {
            let configured = config.external_ip_stun.iter();
            configured.filter_map(|text| text.parse().ok()).collect()
        }
    };
    if servers.is_empty() {
        return vec![Row::untried(
            Part::Stun,
            "relayed addresses",
            "no STUN server is named: --stun HOST:PORT",
        )];
    }
    // "auto": what the server found out at its start is what it tells.
    let mut external = config.turn.external_ips.clone();
    if external.plain.is_empty() {
        external.plain.clone_from(&server.external_ips);
    }
    let owned: Vec<(IpAddr, IpAddr)> = relay_addresses(config)
        .into_iter()
        .map(|relay| (relay.own, external.external(relay.own)))
        .collect();
    let mut tests = Vec::new();
    for server in servers {
        for (own, told) in owned.clone() {
            tests.push(one(Rc::clone(setup), server.clone(), own, told));
        }
    }
    let rows: Vec<Row> = each(tests, AT_ONCE).await.into_iter().flatten().collect();
    match rows.is_empty() {
        false => rows,
        true => vec![Row::untried(
            Part::Stun,
            "relayed addresses",
            "no STUN server has an address of a relay address's family",
        )],
    }
}

/// `None`: stopped, or of different families.
async fn one(setup: Rc<Setup>, server: StunServer, own: IpAddr, told: IpAddr) -> Option<Row> {
    let what = format!("{own} by {server}");
    let begun = clock::now().instant();
    let asked = setup
        .unless_stopped(ask(&setup, &server, own, told))
        .await?;
    let took = clock::now().instant().duration_since(begun);
    let row = match asked {
        Ok(None) => return None,
        Ok(Some(view)) => row(what, &view),
        Err(Failure::Name(said)) => Row::fail(
            Part::Stun,
            what,
            format!("the STUN server's name: {said}"),
            "Is it spelled right, and does DNS work on this machine?",
        ),
        Err(Failure::Socket(error)) => Row::fail(
            Part::Stun,
            what,
            format!("cannot send from {own}: {error}"),
            "Is it an address of this machine (turn.relay_ip, listen.udp), with a route to the internet?",
        ),
        Err(Failure::Silent) => Row::fail(
            Part::Stun,
            what,
            "the STUN server does not answer",
            "UDP does not come out, or not back: allow UDP from turn.relay_ports to anywhere, and its answers. Or is it no STUN server?",
        ),
    };
    Some(row.took(took))
}

enum Failure {
    Name(String),
    Socket(io::Error),
    Silent,
}

async fn ask(
    setup: &Setup,
    server: &StunServer,
    own: IpAddr,
    told: IpAddr,
) -> Result<Option<View>, Failure> {
    let step = setup.asked.step;
    let addresses = match server.host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => match timeout(step, setup.resolver.resolve(&server.host)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Failure::Name(error.to_string())),
            Err(_) => return Err(Failure::Name("the resolver does not answer".to_owned())),
        },
    };
    let mut of_family = addresses
        .into_iter()
        .filter(|ip| Family::of(*ip) == Family::of(own));
    let Some(ip) = of_family.next() else {
        return Ok(None);
    };
    let socket = bind(own, setup.loaded.config.io.relay_ports)
        .await
        .map_err(Failure::Socket)?;
    let remote = SocketAddr::new(ip, server.port);
    socket.connect(remote).await.map_err(Failure::Socket)?;
    let own = socket.local_addr().map_err(Failure::Socket)?;
    // A Binding needs no user.
    let nobody = Login::of_user("", &UserKey::Password(Secret::new("")));
    let mut talk = Conversation::new(Wire::Udp(socket), Session::new(nobody), step);
    match talk.bind().await {
        Ok(seen) => Ok(Some(View { own, told, seen })),
        Err(Trouble::Connect(error)) => Err(Failure::Socket(error)),
        Err(_) => Err(Failure::Silent),
    }
}

async fn bind(own: IpAddr, (low, high): (u16, u16)) -> io::Result<UdpSocket> {
    for _ in 0..PORTS_TRIED {
        let mut bytes = [0; 2];
        SystemRng.fill(&mut bytes);
        let size = u32::from(high - low) + 1;
        let offset = u32::from(u16::from_be_bytes(bytes)) % size;
        let port = low.saturating_add(u16::try_from(offset).unwrap_or(0));
        if let Ok(socket) = UdpSocket::bind((own, port)).await {
            return Ok(socket);
        }
    }
    UdpSocket::bind((own, 0)).await
}

/// What a view means. Pure.
pub(super) fn row(what: String, view: &View) -> Row {
    let View { own, told, seen } = *view;
    let seen_ip = seen.ip().to_canonical();
    let from = format!("seen from outside as {seen}");
    if seen_ip != told {
        let is_configured = told != own.ip();
        let is_public = IpRules::default().judge(told).permits();
        return match (is_configured, is_public) {
            (true, _) => Row::warn(
                Part::Stun,
                what,
                format!("{from}, clients are told {told}"),
                format!(
                    "server.external_ip says {told}, the STUN server sees {seen_ip}: correct it, unless this machine has several ways out and clients come by the other one."
                ),
            ),
            (false, false) => Row::fail(
                Part::Stun,
                what,
                format!("{from}, clients are told {told}, which they cannot reach"),
                format!(
                    "Add external_ip = [\"{}\"] to [server].",
                    pair(seen_ip, own.ip())
                ),
            ),
            (false, true) => Row::warn(
                Part::Stun,
                what,
                format!("{from}, clients are told {told}"),
                format!(
                    "This machine's packets leave by another address than the one that clients are told; if peers cannot reach {told}, add external_ip = [\"{}\"] to [server].",
                    pair(seen_ip, own.ip())
                ),
            ),
        };
    }
    if seen.port() != own.port() {
        return Row::warn(
            Part::Stun,
            what,
            format!("{from}, for port {}", own.port()),
            "A NAT changes ports: clients are told the relayed port of this machine, and peers that send to it first do not get through. Media that relayd's client begins does. Use a one-to-one NAT, or forward turn.relay_ports (UDP) unchanged.",
        );
    }
    let detail = match told == own.ip() {
        true => format!("{from}: no NAT"),
        false => format!("{from}: as server.external_ip says"),
    };
    Row::ok(Part::Stun, what, detail)
}

fn pair(public: IpAddr, own: IpAddr) -> String {
    format!("{public}/{own}")
}

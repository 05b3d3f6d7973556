//! Joins the credentials endpoint to the proxy: neither knows the other.

use crate::admin::Addresses;
use crate::config::Config;
use crate::credentials::{self, BODY_BYTES_MAX, Head, Ports, Server, Service, Settings};
use crate::proxy::{self, BodyFault, ConnectionInfo, Endpoint, Then};
use crate::sys::clock;
use http::request;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The service as the proxy asks it.
pub struct Hook(pub Arc<Service>);

impl Endpoint for Hook {
    fn serves(&self, path: &str) -> bool {
        self.0.serves(path)
    }

    fn begin(&self, parts: &request::Parts, connection: &ConnectionInfo) -> proxy::Step {
        let head = Head {
            parts,
            client: connection.client.ip(),
            tls: connection.tls,
            now: clock::now(),
        };
        match self.0.begin(&head) {
            credentials::Step::Answer(response) => proxy::Step::Answer(response),
            credentials::Step::Body(pending) => {
                let then: Then = Box::new(|body| pending.finish(body.map_err(fault)));
                proxy::Step::Body {
                    bytes_max: BODY_BYTES_MAX,
                    then,
                }
            }
        }
    }
}

fn fault(fault: BodyFault) -> credentials::BodyFault {
    match fault {
        BodyFault::TooLarge => credentials::BodyFault::TooLarge,
        BodyFault::TimedOut => credentials::BodyFault::TimedOut,
        BodyFault::Broken => credentials::BodyFault::Broken,
    }
}

/// What the endpoint serves with this configuration; `None`: it is off. Ports are those that were bound.
pub fn settings(config: &Config, addresses: &Addresses) -> Option<(Settings, Server)> {
    let secret = config.turn.auth_secrets.first()?.clone();
    let server = Server {
        domain: config.domain.clone(),
        ipv4: ipv4(config),
        realm: config.turn.realm.clone(),
        secret,
        ports: Ports::of(&addresses.udp, &addresses.tcp, &addresses.tls),
        prefixes: config.proxy.prefixes.clone(),
    };
    let settings = config.credentials.clone();
    settings.is_on().then_some((settings, server))
}

/// The address by which clients reach this server, as far as it can be told.
fn ipv4(config: &Config) -> Option<Ipv4Addr> {
    if let Ok(ip) = config.domain.parse() {
        return Some(ip);
    }
    let turn = &config.turn;
    let own = turn.relay_addresses.fixed.iter();
    let told = own
        .chain(&turn.relay_addresses.fallback)
        .map(|ip| turn.external_ips.external(*ip));
    let plain = turn.external_ips.plain.iter().copied();
    told.chain(plain).find_map(|ip| match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    })
}

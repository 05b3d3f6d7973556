//! The outcome of a check as text for a terminal.

use super::{Authority, Certificate, Endpoint, Outcome, Plan, Relay, seconds};
use crate::config::report;
use std::fmt::{self, Formatter};

/// Hosts that are listed before the rest is counted.
const HOSTS_SHOWN_MAX: usize = 40;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write!(f, "{problem}\n\n")?;
        }
        write!(f, "{}: {}", self.source, report::tally(&self.problems))?;
        if let Some(plan) = &self.plan {
            write!(f, "\n\n{plan}")?;
        }
        if !self.peers.is_empty() {
            f.write_str("\n\npeers")?;
        }
        for peer in &self.peers {
            write!(f, "\n  {}: {}", peer.peer, peer.rule)?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "listeners of {}", self.domain)?;
        for listener in &self.listeners {
            let address = listener.address.to_string();
            let (transport, serves) = (listener.transport, listener.serves);
            writeln!(f, "  {transport}  {address:<22} {serves}")?;
        }
        item(f, "PROXY header required from", &self.proxy_protocol_from)?;
        match &self.certificate {
            Some(certificate) => self.certificate(f, certificate)?,
            None => writeln!(f, "certificate\n  none: no TLS")?,
        }
        if let Some(authority) = &self.acme {
            authority.fmt(f)?;
        }
        self.turn(f)?;
        self.proxy(f)?;
        writeln!(f, "server")?;
        match self.admin {
            Some(addr) => writeln!(f, "  health and metrics: http://{addr}/metrics")?,
            None => writeln!(f, "  health and metrics: off")?,
        }
        if let Some(tracing) = &self.tracing {
            let percent = tracing.sample_ratio * 100.0;
            write!(f, "  spans: {percent} % to {}", tracing.endpoint)?;
            writeln!(
                f,
                "{}",
                if tracing.propagate {
                    "; upstreams get traceparent"
                } else {
                    ""
                }
            )?;
        }
        writeln!(f, "  media workers: {}", self.workers)?;
        write!(f, "  on SIGTERM calls may go on for {}", self.drain_timeout)
    }
}

impl Plan {
    fn certificate(&self, f: &mut Formatter<'_>, certificate: &Certificate) -> fmt::Result {
        writeln!(f, "certificate")?;
        match &certificate.file {
            Some(file) => writeln!(f, "  {file}")?,
            None if self.acme.is_some() => writeln!(
                f,
                "  none yet: a self-signed stand-in, which clients refuse, until it is obtained"
            )?,
            None => writeln!(f, "  self-signed, made at start")?,
        }
        item(f, "names", &certificate.names)?;
        let (expires, days) = (&certificate.expires, certificate.days_left);
        writeln!(f, "  expires: {expires}, in {days} days")
    }

    fn turn(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "relayed addresses")?;
        self.relay(f, &self.relay)?;
        writeln!(f, "credentials")?;
        let credentials = &self.credentials;
        writeln!(
            f,
            "  realm \"{}\", users: {}, secrets for time-limited credentials: {}",
            credentials.realm, credentials.users, credentials.secrets
        )?;
        if let Some(endpoint) = &self.endpoint {
            self.endpoint(f, endpoint)?;
        }
        writeln!(f, "peers of clients")?;
        writeln!(f, "  public addresses, and clients of this server")?;
        item(f, "also allowed", &self.peers.allow)?;
        item(f, "denied", &self.peers.deny)?;
        writeln!(f, "limits")?;
        if self.limits.is_empty() {
            writeln!(f, "  none")?;
        }
        for (name, limit) in &self.limits {
            writeln!(f, "  {name}: {limit}")?;
        }
        Ok(())
    }

    fn endpoint(&self, f: &mut Formatter<'_>, endpoint: &Endpoint) -> fmt::Result {
        let keys = match endpoint.jwt_algorithms.as_slice() {
            [] => String::new(),
            algorithms => format!(", JWT keys: {}", algorithms.join(" ")),
        };
        writeln!(
            f,
            "  POST https://{}{}: bearer tokens: {}{keys}",
            self.domain, endpoint.path, endpoint.tokens
        )?;
        let (ttl, low, high) = (
            seconds(endpoint.ttl_s),
            seconds(endpoint.ttl_min_s),
            seconds(endpoint.ttl_max_s),
        );
        write!(f, "    good for {ttl}, {low} to {high} on request")?;
        match endpoint.requests_per_s_per_address {
            0 => writeln!(f),
            per_s => writeln!(f, "; {per_s}/s for each client address"),
        }
    }

    fn relay(&self, f: &mut Formatter<'_>, relay: &Relay) -> fmt::Result {
        for address in &relay.addresses {
            write!(f, "  {}", address.own)?;
            if address.external != address.own {
                write!(f, ", told to clients as {}", address.external)?;
            }
            if address.if_reached {
                f.write_str(" (clients that reach this address)")?;
            }
            writeln!(f)?;
        }
        if relay.addresses.is_empty() {
            writeln!(f, "  the address that a client reaches")?;
        }
        item(f, "external address asked at start of", &relay.ask)?;
        let ((low, high), allocations) = (relay.ports, &relay.allocations);
        writeln!(f, "  UDP ports {low}-{high}: open them in the firewall")?;
        write!(f, "  allocations at once: {}", allocations.max)?;
        write!(f, " (ports: {}", allocations.by_ports)?;
        if let (Some(allowed), Some(files)) = (allocations.by_open_files, allocations.open_files) {
            write!(f, ", open-files limit {files}: {allowed}")?;
        }
        if let Some(setting) = allocations.by_setting {
            write!(f, ", allocations_total: {setting}")?;
        }
        writeln!(f, ")")?;
        let (default, max) = (
            seconds(relay.lifetime_default_s),
            seconds(relay.lifetime_max_s),
        );
        writeln!(f, "  lifetime: {default}, up to {max} on request")
    }

    fn proxy(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        writeln!(f, "proxy")?;
        let named = [&proxy.hosts, &proxy.agora_hosts, &proxy.trtc_signal_hosts];
        if named.iter().all(|hosts| hosts.is_empty()) && proxy.routes.is_empty() {
            writeln!(f, "  off: neither hosts nor routes")?;
        }
        item(f, "vendors", &proxy.vendors)?;
        hosts(f, "allowed hosts", &proxy.hosts)?;
        hosts(f, "hosts in the query of Agora's paths", &proxy.agora_hosts)?;
        let unified = "hosts in the signalDomain of TRTC's unified proxy";
        hosts(f, unified, &proxy.trtc_signal_hosts)?;
        hosts(f, "hosts that are denied", &proxy.denied_hosts)?;
        if !proxy.routes.is_empty() {
            writeln!(f, "  routes:")?;
        }
        for (prefix, upstream) in &proxy.routes {
            writeln!(f, "    {prefix} to {upstream}")?;
        }
        item(f, "all of it also under", &proxy.prefixes)?;
        item(f, "origins", &proxy.cors_origins)?;
        item(f, "forwarded headers trusted from", &proxy.trusted_proxies)?;
        item(f, "own names", &proxy.public_names)?;
        for (name, addr) in &proxy.resolve {
            writeln!(f, "  {name} is taken to be at {addr}")?;
        }
        item(f, "upstreams also allowed at", &proxy.addresses.allow)?;
        item(f, "upstreams denied at", &proxy.addresses.deny)?;
        if proxy.test_page {
            writeln!(f, "  the test page is at /")?;
        }
        Ok(())
    }
}

/// A line for each host; none for an empty list.
fn hosts(f: &mut Formatter<'_>, name: &str, hosts: &[String]) -> fmt::Result {
    if !hosts.is_empty() {
        writeln!(f, "  {name}:")?;
    }
    for host in hosts.iter().take(HOSTS_SHOWN_MAX) {
        writeln!(f, "    {host}")?;
    }
    match hosts.len().checked_sub(HOSTS_SHOWN_MAX) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "    and {more} more"),
    }
}

/// A line with a list; none for an empty list.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "certificates asked for at {}", self.directory)?;
        item(f, "for", &self.names)?;
        item(f, "contact", &self.contact)?;
        if let Some(profile) = &self.profile {
            writeln!(f, "  profile: {profile}")?;
        }
        if self.external_account {
            writeln!(f, "  bound to an external account")?;
        }
        match self.validated_on.is_empty() {
            true => writeln!(
                f,
                "  validated on port 443 (TLS-ALPN-01): no listener here is on it"
            )?,
            false => {
                let listeners: Vec<String> =
                    self.validated_on.iter().map(ToString::to_string).collect();
                item(f, "validated on (TLS-ALPN-01)", &listeners)?;
            }
        }
        writeln!(f, "  kept in: {}", self.folder)
    }
}

fn item(f: &mut Formatter<'_>, name: &str, values: &[String]) -> fmt::Result {
    if values.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {name}: {}", values.join(", "))
}

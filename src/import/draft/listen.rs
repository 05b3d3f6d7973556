//! Listeners, certificate, relayed addresses and ports.

use super::{Draft, Table, Value, lines, problem};
use crate::config::Problem;
use crate::import::facts::At;
use crate::import::{Fate, Options};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;
const RELAY_PORTS: (u16, u16) = (49_152, 65_535);
/// Where coturn looks for a certificate that the file does not name.
const CERT: &str = "turn_server_cert.pem";
const PKEY: &str = "turn_server_pkey.pem";

/// An address to listen on, and the lines that say so.
#[derive(Clone, Debug)]
struct Listener {
    addr: SocketAddr,
    from: Vec<usize>,
}

impl Draft {
    /// Returns the ports of UDP listeners.
    pub(super) fn listeners(&mut self) -> Vec<u16> {
        let facts = &self.facts;
        let on = |flag: &Option<At<bool>>| flag.as_ref().is_some_and(|at| at.value);
        let (no_udp, no_tcp, no_tls) = (&facts.no_udp, &facts.no_tcp, &facts.no_tls);
        let mut plain = self.on_every_ip(&facts.listening_port, PORT);
        plain.extend(facts.aux.iter().map(|at| Listener {
            addr: at.value,
            from: vec![at.from],
        }));
        let proxied = match &facts.proxy_port {
            Some(at) => self.on_every_ip(&facts.proxy_port, at.value),
            None => Vec::new(),
        };
        let udp = if on(no_udp) {
            Vec::new()
        } else {
            plain.clone()
        };
        let mut tcp = if on(no_tcp) { Vec::new() } else { plain };
        tcp.extend(proxied);
        let has_tls = !on(no_tls) && (facts.cert.is_some() || facts.pkey.is_some());
        let mut tls = Vec::new();
        if has_tls {
            tls = self.on_every_ip(&facts.tls_port, TLS_PORT);
        }
        let flags =
            [no_udp, no_tcp, no_tls].map(|flag| flag.iter().map(|at| at.from).collect::<Vec<_>>());
        let [no_udp, no_tcp, no_tls] = flags;

        let udp = self.distinct(udp);
        let tcp = self.distinct(tcp);
        let taken = |listener: &Listener| {
            tcp.iter()
                .any(|other| covers(other.addr, listener.addr) || covers(listener.addr, other.addr))
        };
        let (shared, tls): (Vec<Listener>, Vec<Listener>) = tls.into_iter().partition(taken);
        let tls = self.distinct(tls);
        if !shared.is_empty() {
            let from = shared.iter().flat_map(|listener| listener.from.clone());
            let remark = "the port is one of `listen.tcp`, where relayd takes TLS too";
            self.facts.tell(from, Fate::Remarked, remark);
        }
        let ports = udp.iter().map(|listener| listener.addr.port()).collect();
        self.add_listeners("udp", udp, no_udp);
        self.add_listeners("tcp", tcp, no_tcp);
        self.add_listeners("tls", tls, no_tls);
        self.about_listeners(has_tls);
        ports
    }

    fn about_listeners(&mut self, has_tls: bool) {
        if let Some(at) = self.facts.proxy_port.clone() {
            let remark = "name the load balancer in `listen.proxy_protocol_from`: relayd takes the PROXY header from the networks in that list, and from nobody else; coturn takes it from everybody";
            self.facts.tell([at.from], Fate::Remarked, remark);
        }
        let Some(at) = self.facts.tls_port.clone() else {
            return;
        };
        let remark = if has_tls {
            "relayd takes TLS alone on this port; coturn takes plain TCP and UDP there too"
        } else {
            "there is no TLS listener without a certificate"
        };
        self.facts.tell([at.from], Fate::Remarked, remark);
    }

    fn on_every_ip(&self, port: &Option<At<u16>>, default: u16) -> Vec<Listener> {
        let number = port.as_ref().map_or(default, |at| at.value);
        let own: Vec<usize> = port.iter().map(|at| at.from).collect();
        let ips = &self.facts.listening_ips;
        if ips.is_empty() {
            let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            let listener = |ip| Listener {
                addr: SocketAddr::new(ip, number),
                from: own.clone(),
            };
            return all.map(listener).to_vec();
        }
        let listener = |ip: &At<IpAddr>| Listener {
            addr: SocketAddr::new(ip.value, number),
            from: own.iter().copied().chain([ip.from]).collect(),
        };
        ips.iter().map(listener).collect()
    }

    /// Without those that another one covers: relayd binds each address once.
    fn distinct(&mut self, listeners: Vec<Listener>) -> Vec<Listener> {
        let mut kept: Vec<Listener> = Vec::new();
        for listener in listeners {
            let covered = kept.iter().any(|other| covers(other.addr, listener.addr));
            if covered {
                self.about_covered(&listener);
                continue;
            }
            let (out, left) = kept
                .into_iter()
                .partition(|other| covers(listener.addr, other.addr));
            kept = left;
            let out: Vec<Listener> = out;
            out.iter().for_each(|listener| self.about_covered(listener));
            kept.push(listener);
        }
        kept
    }

    fn about_covered(&mut self, listener: &Listener) {
        if let Some(last) = listener.from.last() {
            let remark = "another line listens on every address of this port, or on this one";
            self.facts.tell([*last], Fate::Remarked, remark);
        }
    }

    fn add_listeners(&mut self, key: &str, listeners: Vec<Listener>, off: Vec<usize>) {
        let mut from = off;
        for listener in &listeners {
            from.extend(&listener.from);
        }
        from.sort_unstable();
        from.dedup();
        let list = listeners.iter().map(|listener| listener.addr.to_string());
        self.add(Table::Listen, key, Value::List(list.collect()), from);
    }

    pub(super) fn certificate(&mut self, options: &Options) {
        let (cert, pkey) = (self.facts.cert.clone(), self.facts.pkey.clone());
        let from = cert.iter().chain(&pkey).map(|at| at.from);
        let from: Vec<usize> = from.collect();
        if self.facts.no_tls.as_ref().is_some_and(|at| at.value) {
            let remark = "`no-tls` turns TLS off";
            self.facts.tell(from, Fate::NotRead, remark);
            return;
        }
        if from.is_empty() {
            self.remark("No certificate is named, so TLS is off: for TURN over TLS and for the proxy set cert and key in [tls], and tls = [\"0.0.0.0:443\", \"[::]:443\"] in [listen].");
            return;
        }
        if cert.is_none() || pkey.is_none() {
            let remark = format!(
                "the other of cert and pkey is not named: it is taken as coturn's default, {CERT} or {PKEY} beside the file"
            );
            self.facts.tell(from, Fate::Remarked, &remark);
        }
        for (key, at, default) in [("cert", cert, CERT), ("key", pkey, PKEY)] {
            let path = at.as_ref().map_or(default, |at| at.value.as_str());
            let path = options.base_dir.join(path).to_string_lossy().into_owned();
            let from = at.iter().map(|at| at.from).collect();
            self.add(Table::Tls, key, Value::Text(path), from);
        }
    }

    /// Returns what is wrong with the range, if it is none.
    pub(super) fn relay_ports(&mut self, listeners: &[u16]) -> Option<Problem> {
        self.relay_ips();
        let (min, max) = (self.facts.min_port.clone(), self.facts.max_port.clone());
        let from: Vec<usize> = min.iter().chain(&max).map(|at| at.from).collect();
        let low = min.map_or(RELAY_PORTS.0, |at| at.value);
        let high = max.map_or(RELAY_PORTS.1, |at| at.value);
        if let Some(last) = from.last().filter(|_| low > high) {
            let what = format!("ends the relayed ports before they begin: {low} to {high}");
            let label = "min-port is 49152 unless it is set, max-port 65535";
            return Some(problem(
                &self.facts,
                *last,
                &what,
                label,
                "set both, the smaller one first",
            ));
        }
        let (start, end) = longest_without(low, high, listeners);
        if (start, end) != (low, high) {
            let remark = format!(
                "{low} to {high} holds the port of a UDP listener, which relayd refuses: {start} to {end} are left"
            );
            if from.is_empty() {
                self.remark(&format!("turn.relay_ports: {remark}."));
            }
            self.facts.tell(from.clone(), Fate::Remarked, &remark);
        } else if from.is_empty() {
            return None;
        }
        let ports = Value::Text(format!("{start}-{end}"));
        self.add(Table::Turn, "relay_ports", ports, from);
        None
    }

    /// relayd relays from one address of each family.
    fn relay_ips(&mut self) {
        let mut kept: Vec<At<IpAddr>> = Vec::new();
        for at in self.facts.relay_ips.clone() {
            let same = |other: &&At<IpAddr>| other.value.is_ipv4() == at.value.is_ipv4();
            if at.value.is_unspecified() || at.value.is_multicast() {
                let remark = "relayd relays from the address that the client reached, which is what this comes to";
                self.facts.tell([at.from], Fate::BuiltIn, remark);
            } else if kept.iter().any(|other| same(&other)) {
                let remark = "relayd relays from one address of each family, the first";
                self.facts.tell([at.from], Fate::NoCounterpart, remark);
            } else {
                kept.push(at);
            }
        }
        if !kept.is_empty() {
            let list = kept.iter().map(|at| at.value.to_string()).collect();
            self.add(Table::Turn, "relay_ip", Value::List(list), lines(&kept));
        }
    }
}

/// True if `a` takes what arrives at `b`. IPv6 wildcards serve IPv6 only.
fn covers(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip, other) = (a.ip(), b.ip());
    a.port() == b.port()
        && (ip == other || (ip.is_unspecified() && ip.is_ipv4() == other.is_ipv4()))
}

/// The longest part of the range that holds none of the ports; the range itself if every part is empty.
fn longest_without(low: u16, high: u16, ports: &[u16]) -> (u16, u16) {
    let mut ports: Vec<u16> = ports.to_vec();
    ports.retain(|port| (low..=high).contains(port));
    ports.sort_unstable();
    let mut best: Option<(u16, u16)> = None;
    let mut start = Some(low);
    let ends = ports
        .iter()
        .map(|port| (port.checked_sub(1), port.checked_add(1)));
    for (end, next) in ends.chain([(Some(high), None)]) {
        if let (Some(from), Some(to)) = (start, end)
            && from <= to
            && best.is_none_or(|(a, b)| b - a < to - from)
        {
            best = Some((from, to));
        }
        start = next;
    }
    best.unwrap_or((low, high))
}

#[cfg(test)]
mod tests {
    use super::longest_without;

    #[test]
    fn the_longest_part_without_listeners_is_relayed() {
        for (low, high, ports, left) in [
            (49_152, 65_535, &[3478][..], (49_152, 65_535)),
            (1024, 65_535, &[3478], (3479, 65_535)),
            (1024, 4000, &[3478, 3478, 5349], (1024, 3477)),
            (1, 65_535, &[1, 65_535], (2, 65_534)),
            (3478, 3478, &[3478], (3478, 3478)),
            (10, 20, &[10, 12, 20], (13, 19)),
        ] {
            assert_eq!(longest_without(low, high, ports), left, "{low}-{high}");
        }
    }
}

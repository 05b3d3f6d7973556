//! Which peers may be reached: by address when a permission or channel is made, and by port for each packet.
//!
//! What the address decides is kept as a [`Standing`] in the permission, so that a packet costs no list search.
//! First comes what is the server's own: a live relayed address is always allowed, in its external form too,
//! since two clients of one relay are an everyday call. Then the operator's deny, the operator's allow, the
//! built-in list; any other port of a relay address is denied unless the operator's allow covers it.
//! relayd's own listeners are denied even under an allow: a network that is opened for its hosts is not
//! meant to open the relay to itself.

use crate::addr::{PeerAddr, plain};
use crate::ip_rules::{IpRule, canonical};
use crate::turn::live::LiveRelays;
use crate::turn::settings::Settings;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known about a peer's address, whatever the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rules allow the address.
    allowed: bool,
    /// Relays are bound to it, so a port may be live.
    own_relay: bool,
    /// A listener is bound to it, so a port may be a listener's.
    listening: bool,
}

impl Standing {
    /// Whether a permission for the address may be made.
    pub fn permits_some_port(self) -> bool {
        self.allowed || self.own_relay
    }

    pub fn is_own_relay(self) -> bool {
        self.own_relay
    }
}

/// The settings' rules, and this server's own addresses.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: Arc<Settings>,
    live: Arc<LiveRelays>,
}

impl Policy {
    pub fn new(settings: Arc<Settings>, live: Arc<LiveRelays>) -> Self {
        Self { settings, live }
    }

    /// Judges an address in its internal form.
    pub fn judge(&self, ip: IpAddr) -> Standing {
        let inner = canonical(ip);
        let own_relay = self.live.is_relay_ip(inner);
        let rule = self.rule(ip);
        Standing {
            allowed: match rule {
                IpRule::OperatorAllow(_) => true,
                IpRule::OperatorDeny(_) | IpRule::SpecialUse(_) => false,
                IpRule::Public => !self.is_own(inner),
            },
            // A relay can be reached by its plain address only.
            own_relay: own_relay && inner == ip,
            listening: self.is_listening(inner),
        }
    }

    /// Whether packets may go to and come from `peer`, whose address has this standing.
    pub fn permits(&self, standing: Standing, peer: PeerAddr) -> bool {
        if peer.port() == 0 {
            return false;
        }
        if standing.own_relay && self.live.is_live(peer.socket_addr()) {
            return true;
        }
        standing.allowed && !(standing.listening && self.is_listener(peer))
    }

    /// The form in which relay sockets see a peer that the client named: an own external address becomes the
    /// relay address behind it. Where several are behind it, the one on which the port is live.
    pub fn internal(&self, peer: PeerAddr) -> PeerAddr {
        let ips = &self.settings.external_ips;
        if ips.pairs.is_empty() && ips.plain.is_empty() || self.live.is_relay_ip(peer.ip()) {
            return peer;
        }
        let behind = |ip: &IpAddr| ips.external(*ip) == peer.ip();
        let with_port = |ip: IpAddr| PeerAddr::new(SocketAddr::new(ip, peer.port()));
        let live = |peer: &PeerAddr| self.live.is_live(peer.socket_addr());
        let relays = || self.live.ips().filter(behind).map(with_port);
        let paired = || {
            let pair = ips.pairs.iter().find(|(public, _)| *public == peer.ip());
            pair.map(|(_, private)| with_port(*private))
        };
        relays()
            .find(live)
            .or_else(|| relays().next())
            .or_else(paired)
            .unwrap_or(peer)
    }

    /// The form in which a client is told a peer: an own relay address in its external form.
    pub fn external(&self, peer: PeerAddr, standing: Standing) -> SocketAddr {
        if !standing.own_relay {
            return peer.socket_addr();
        }
        let ip = self.settings.external_ips.external(peer.ip());
        SocketAddr::new(ip, peer.port())
    }

    /// The operator's rules speak of an own address in either form; the stricter verdict counts.
    fn rule(&self, ip: IpAddr) -> IpRule {
        let rule = self.settings.peers.judge(ip);
        let external = self.settings.external_ips.external(ip);
        if external == ip || !self.is_own(canonical(ip)) {
            return rule;
        }
        let outside = self.settings.peers.judge(external);
        match (rule, outside) {
            (IpRule::OperatorDeny(_), _) => rule,
            (_, IpRule::OperatorDeny(_) | IpRule::OperatorAllow(_)) => outside,
            (
                IpRule::OperatorAllow(_) | IpRule::SpecialUse(_) | IpRule::Public,
                IpRule::SpecialUse(_) | IpRule::Public,
            ) => rule,
        }
    }

    fn is_listening(&self, ip: IpAddr) -> bool {
        let listeners = &self.settings.listeners;
        let specific = listeners.iter().any(|addr| plain(*addr).ip() == ip);
        let wildcard = listeners.iter().any(|addr| addr.ip().is_unspecified());
        specific || wildcard && self.is_own(ip)
    }

    /// `peer`'s address is known to have listeners; a wildcard one is on every own address.
    fn is_listener(&self, peer: PeerAddr) -> bool {
        let ip = canonical(peer.ip());
        self.settings.listeners.iter().any(|addr| {
            addr.port() == peer.port() && (addr.ip().is_unspecified() || plain(*addr).ip() == ip)
        })
    }

    /// An address of this machine, as far as the settings and the relays tell.
    fn is_own(&self, ip: IpAddr) -> bool {
        let settings = &self.settings;
        let addresses = &settings.relay_addresses;
        let externals = &settings.external_ips;
        ip.is_loopback()
            || ip.is_unspecified()
            || addresses.fixed.contains(&ip)
            || addresses.fallback.contains(&ip)
            || externals.plain.contains(&ip)
            || externals
                .pairs
                .iter()
                .any(|pair| pair.0 == ip || pair.1 == ip)
            || settings
                .listeners
                .iter()
                .any(|addr| plain(*addr).ip() == ip)
            || self.live.is_relay_ip(ip)
    }
}

impl std::fmt::Debug for LiveRelays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ips()).finish()
    }
}

/// The verdict on `peer` and the rule that made it, for `relayd check --peer`. No relay is live there.
pub fn explain(settings: &Settings, peer: SocketAddr) -> (bool, String) {
    let policy = Policy::new(Arc::new(settings.clone()), Arc::new(LiveRelays::default()));
    let peer = policy.internal(PeerAddr::new(peer));
    let standing = policy.judge(peer.ip());
    if peer.port() == 0 {
        return (false, "denied: no peer has port 0".to_owned());
    }
    let rule = policy.rule(peer.ip());
    if standing.listening && policy.is_listener(peer) && rule.permits() {
        return (false, "denied: a listener of this server".to_owned());
    }
    if !policy.is_own(canonical(peer.ip())) {
        return (rule.permits(), rule.to_string());
    }
    match rule {
        IpRule::OperatorAllow(_) => (true, rule.to_string()),
        IpRule::OperatorDeny(_) | IpRule::SpecialUse(_) | IpRule::Public => {
            let text = "denied: an own address; a live relayed address of this server is allowed";
            (false, text.to_owned())
        }
    }
}

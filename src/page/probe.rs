//! What the page asks for through the proxy: for each vendor a target that answers without an account (VENDORS.md).
//!
//! A probe proves the way there and back, not the vendor's service: it carries no token and changes nothing.

use serde_json::{Value, json};

/// How a probe is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    Fetch,
    WebSocket,
}

/// What a fetch must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any answer of the host, also an error: it was reached. relayd's own errors do not count.
    Answer,
    /// Status 200 and this text.
    Text(&'static str),
}

/// One request of the page through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As a person reads it.
    pub vendor: &'static str,
    pub title: &'static str,
    pub kind: ProbeKind,
    /// Path and query on relayd itself.
    pub path: &'static str,
    pub expect: Expect,
}

impl Probe {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "vendor": self.vendor,
            "title": self.title,
            "kind": match self.kind {
                ProbeKind::Fetch => "fetch",
                ProbeKind::WebSocket => "websocket",
            },
            "path": self.path,
            "expect_text": match self.expect {
                Expect::Answer => None,
                Expect::Text(text) => Some(text),
            },
        })
    }
}

/// Azure's SDK makes the first two itself before every call; Agora's and watchRTC's hosts answer a bare GET, TRTC's with an error of its own.
const KNOWN: [Probe; 5] = [
    Probe {
        vendor: "Azure",
        title: "signalling host",
        kind: ProbeKind::Fetch,
        path: "/go.trouter.communication.microsoft.com/?check=1",
        expect: Expect::Text("Trouter"),
    },
    Probe {
        vendor: "Azure",
        title: "signalling WebSocket",
        kind: ProbeKind::WebSocket,
        path: "/go.trouter.communication.microsoft.com/v4/c",
        expect: Expect::Answer,
    },
    Probe {
        vendor: "Agora",
        title: "server choice",
        kind: ProbeKind::Fetch,
        path: "/ap/?url=webrtc2-ap-web-1.agora.io/",
        expect: Expect::Answer,
    },
    Probe {
        vendor: "TRTC",
        title: "log host",
        kind: ProbeKind::Fetch,
        path: "/logger/",
        expect: Expect::Answer,
    },
    Probe {
        vendor: "watchRTC",
        title: "health check",
        kind: ProbeKind::Fetch,
        path: "/websocket/healthcheck",
        expect: Expect::Answer,
    },
];

/// The known probes that this configuration lets through: by `routes(target)`.
pub fn probes(routes: impl Fn(&str) -> bool) -> Vec<Probe> {
    let mut probes = KNOWN.to_vec();
    probes.retain(|probe| routes(probe.path));
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::Router;
    use crate::proxy::{Settings, vendors};

    fn of(vendor: &str) -> Vec<&'static str> {
        let preset = vendors::preset(vendor).expect("a preset");
        let settings = Settings {
            allow: vendors::rules(preset.hosts),
            agora_hosts: vendors::rules(preset.agora_hosts),
            routes: preset.routes(),
            ..Settings::default()
        };
        let router = Router::new(&settings).expect("good settings");
        let probes = probes(|target| router.route("relay.example.com", target).is_ok());
        probes.iter().map(|probe| probe.vendor).collect()
    }

    #[test]
    fn only_what_the_configuration_lets_through_is_probed() {
        assert_eq!(of("azure"), ["Azure", "Azure"]);
        assert_eq!(of("agora"), ["Agora"]);
        assert_eq!(of("trtc"), ["TRTC"]);
        assert_eq!(of("watchrtc"), ["watchRTC"]);
        assert!(of("daily").is_empty());
    }
}

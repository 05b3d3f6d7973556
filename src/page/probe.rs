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

/// What must be configured for a probe to make sense.
enum Needs {
    Host(&'static str),
    Prefix(&'static str),
}

/// Azure's SDK makes the first two itself before every call; Agora's and watchRTC's hosts answer a bare GET, TRTC's with an error of its own.
const KNOWN: [(Needs, Probe); 5] = [
    (
        Needs::Host("go.trouter.communication.microsoft.com"),
        Probe {
            vendor: "Azure",
            title: "signalling host",
            kind: ProbeKind::Fetch,
            path: "/go.trouter.communication.microsoft.com/?check=1",
            expect: Expect::Text("Trouter"),
        },
    ),
    (
        Needs::Host("go.trouter.communication.microsoft.com"),
        Probe {
            vendor: "Azure",
            title: "signalling WebSocket",
            kind: ProbeKind::WebSocket,
            path: "/go.trouter.communication.microsoft.com/v4/c",
            expect: Expect::Answer,
        },
    ),
    (
        Needs::Host("webrtc2-ap-web-1.agora.io"),
        Probe {
            vendor: "Agora",
            title: "server choice",
            kind: ProbeKind::Fetch,
            path: "/webrtc2-ap-web-1.agora.io/",
            expect: Expect::Answer,
        },
    ),
    (
        Needs::Prefix("/logger/"),
        Probe {
            vendor: "TRTC",
            title: "log host",
            kind: ProbeKind::Fetch,
            path: "/logger/",
            expect: Expect::Answer,
        },
    ),
    (
        Needs::Prefix("/websocket/"),
        Probe {
            vendor: "watchRTC",
            title: "health check",
            kind: ProbeKind::Fetch,
            path: "/websocket/healthcheck",
            expect: Expect::Answer,
        },
    ),
];

/// The known probes that this configuration lets through: by `allows(host, port)` and `routes(prefix)`.
pub fn probes(allows: impl Fn(&str, u16) -> bool, routes: impl Fn(&str) -> bool) -> Vec<Probe> {
    KNOWN
        .into_iter()
        .filter(|(needs, _)| match needs {
            Needs::Host(host) => allows(host, 443),
            Needs::Prefix(prefix) => routes(prefix),
        })
        .map(|(_, probe)| probe)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_configuration_lets_through_is_probed() {
        let azure = probes(
            |host, port| host.ends_with(".communication.microsoft.com") && port == 443,
            |_| false,
        );
        assert_eq!(
            azure.iter().map(|probe| probe.vendor).collect::<Vec<_>>(),
            ["Azure", "Azure"]
        );
        let prefixes = probes(|_, _| false, |prefix| prefix == "/websocket/");
        assert_eq!(
            prefixes
                .iter()
                .map(|probe| probe.vendor)
                .collect::<Vec<_>>(),
            ["watchRTC"]
        );
        assert!(probes(|_, _| false, |_| false).is_empty());
    }

    #[test]
    fn every_target_is_a_path_on_relayd_that_names_what_it_needs() {
        for (needs, probe) in KNOWN {
            let (Needs::Host(named) | Needs::Prefix(named)) = needs;
            assert!(probe.path.starts_with('/'), "{}", probe.path);
            assert!(probe.path.contains(named), "{}", probe.path);
        }
    }
}

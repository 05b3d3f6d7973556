//! A credential as each SDK takes it, with this server's own name and ports.
//!
//! Every answer has `username`, `credential`, `ttl`, `expires`, `realm` and `iceServers`; a vendor adds or replaces what its SDK wants under the
//! SDK's own name (VENDORS.md §2–§6). Known limits: Azure makes a server of each URL, calls TLS a transport, and needs a name
//! for it; its native SDKs take one IPv4 server over UDP with a realm. TRTC 4.x puts `turn:` before whatever it is given.

use super::Server;
use serde_json::{Value, json};
use std::net::IpAddr;

/// SDKs whose shape is known, as a request names them. watchRTC has no TURN of its own.
pub const VENDORS: [&str; 9] = [
    "azure",
    "azure-native",
    "agora",
    "agora-3",
    "trtc",
    "trtc-4",
    "vonage",
    "daily",
    "livekit",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    /// Azure Communication Services Calling for the web.
    Azure,
    /// The same for iOS, Android and Windows.
    AzureNative,
    /// Agora Web SDK 4.x.
    Agora,
    /// Agora Web SDK 3.x.
    Agora3,
    /// TRTC Web SDK 5.x.
    Trtc,
    /// TRTC Web SDK 4.x.
    Trtc4,
    Vonage,
    Daily,
    Livekit,
}

impl Vendor {
    const ALL: [Self; 9] = [
        Self::Azure,
        Self::AzureNative,
        Self::Agora,
        Self::Agora3,
        Self::Trtc,
        Self::Trtc4,
        Self::Vonage,
        Self::Daily,
        Self::Livekit,
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.label() == name)
    }

    pub(super) fn label(self) -> &'static str {
        let index = Self::ALL.iter().position(|vendor| *vendor == self);
        index
            .and_then(|index| VENDORS.get(index))
            .copied()
            .unwrap_or_default()
    }
}

/// A credential that was just made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made<'a> {
    pub username: &'a str,
    pub credential: &'a str,
    pub ttl_s: u64,
    /// Seconds since 1970.
    pub expires_s: u64,
}

/// The body of the answer; `None`: the server has nothing that this SDK can use.
pub(super) fn answer(server: &Server, made: Made<'_>, vendor: Option<Vendor>) -> Option<Value> {
    let urls = Urls::new(server);
    let rtc = json!([urls.server(&urls.plain(), made)]);
    let (key, value) = match vendor {
        None => ("iceServers", rtc.clone()),
        Some(Vendor::Azure) => ("iceServers", urls.each(&urls.azure(), "urls", made)),
        Some(Vendor::AzureNative) => ("iceServers", azure_native(server, made)?),
        Some(Vendor::Agora) => ("turnServer", urls.agora_4(server, made)),
        Some(Vendor::Agora3) => ("turnServer", urls.agora_3(server, made)?),
        Some(Vendor::Trtc) => ("turnServer", urls.each(&urls.plain(), "url", made)),
        Some(Vendor::Trtc4) => ("turnServer", urls.each(&urls.bare(), "url", made)),
        Some(Vendor::Vonage) => (
            "iceConfig",
            json!({ "includeServers": "custom", "transportPolicy": "relay", "customServers": rtc }),
        ),
        Some(Vendor::Daily) => (
            "iceConfig",
            json!({ "iceServers": rtc, "placement": "replace", "iceTransportPolicy": "relay" }),
        ),
        Some(Vendor::Livekit) => (
            "rtcConfig",
            json!({ "iceServers": rtc, "iceTransportPolicy": "relay" }),
        ),
    };
    if urls.plain().is_empty() || value.as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    let mut body = json!({
        "username": made.username,
        "credential": made.credential,
        "ttl": made.ttl_s,
        "expires": made.expires_s,
        "realm": server.realm,
        "iceServers": rtc,
    });
    body[key] = value;
    if vendor == Some(Vendor::Agora) {
        // For AgoraRTC.setParameter: in its default mode 4.x ignores ports, and a list of URLs is never relay only.
        body["parameters"] = json!({ "NEW_TURN_MODE": 0 });
    }
    Some(body)
}

/// One server by address over UDP: more, or a name, these SDKs do not take.
fn azure_native(server: &Server, made: Made<'_>) -> Option<Value> {
    Some(json!([{
        "urls": [server.ipv4?.to_string()],
        "udpPort": server.ports.udp?,
        "realm": server.realm,
        "username": made.username,
        "password": made.credential,
    }]))
}

/// The server's URLs in the spellings that there are.
struct Urls {
    /// In brackets if it is IPv6.
    host: String,
    is_name: bool,
    udp: Option<u16>,
    tcp: Option<u16>,
    tls: Option<u16>,
}

impl Urls {
    fn new(server: &Server) -> Self {
        let ip = server.domain.parse::<IpAddr>();
        Self {
            host: match ip {
                Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
                Ok(IpAddr::V4(_)) | Err(_) => server.domain.clone(),
            },
            is_name: ip.is_err(),
            udp: server.ports.udp,
            tcp: server.ports.tcp,
            tls: server.ports.tls,
        }
    }

    /// RFC 7065.
    fn plain(&self) -> Vec<String> {
        self.list([
            ("turn:", self.udp, "udp"),
            ("turn:", self.tcp, "tcp"),
            ("turns:", self.tls, "tcp"),
        ])
    }

    fn azure(&self) -> Vec<String> {
        let tls = self.tls.filter(|_| self.is_name);
        self.list([
            ("turn:", self.udp, "udp"),
            ("turn:", self.tcp, "tcp"),
            ("turn:", tls, "tls"),
        ])
    }

    /// Without a scheme, so without TLS.
    fn bare(&self) -> Vec<String> {
        self.list([("", self.udp, "udp"), ("", self.tcp, "tcp"), ("", None, "")])
    }

    fn list(&self, ways: [(&str, Option<u16>, &str); 3]) -> Vec<String> {
        let host = &self.host;
        let url = |(scheme, port, transport): (&str, Option<u16>, &str)| {
            Some(format!("{scheme}{host}:{}?transport={transport}", port?))
        };
        ways.into_iter().filter_map(url).collect()
    }

    /// One server with all URLs.
    fn server(&self, urls: &[String], made: Made<'_>) -> Value {
        json!({ "urls": urls, "username": made.username, "credential": made.credential })
    }

    /// A server for each URL: in a list under `urls`, alone under `url`.
    fn each(&self, urls: &[String], key: &str, made: Made<'_>) -> Value {
        let server = |url: &String| {
            let urls = if key == "urls" {
                json!([url])
            } else {
                json!(url)
            };
            json!({ key: urls, "username": made.username, "credential": made.credential })
        };
        urls.iter().map(server).collect()
    }

    /// For `NEW_TURN_MODE` 0: a server for UDP and TCP, and one for TLS, which needs a name.
    fn agora_4(&self, server: &Server, made: Made<'_>) -> Value {
        let with = |ports: &[(&str, Value)]| {
            let mut one = json!({
                "turnServerURL": server.domain,
                "username": made.username,
                "password": made.credential,
                "forceturn": true,
            });
            for (key, value) in ports {
                one[*key] = value.clone();
            }
            one
        };
        let plain: Vec<(&str, Value)> = [("udpport", self.udp), ("tcpport", self.tcp)]
            .into_iter()
            .filter_map(|(key, port)| Some((key, json!(port?))))
            .collect();
        let mut servers = Vec::new();
        if !plain.is_empty() {
            servers.push(with(&plain));
        }
        if let Some(port) = self.tls.filter(|_| self.is_name) {
            servers.push(with(&[("tcpport", json!(port)), ("security", json!(true))]));
        }
        Value::Array(servers)
    }

    fn agora_3(&self, server: &Server, made: Made<'_>) -> Option<Value> {
        let (udp, tcp) = (self.udp.or(self.tcp)?, self.tcp.or(self.udp)?);
        Some(json!({
            "turnServerURL": server.domain,
            "udpport": udp.to_string(),
            "tcpport": tcp.to_string(),
            "username": made.username,
            "password": made.credential,
            "forceturn": true,
        }))
    }
}

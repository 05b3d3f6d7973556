//! Client code for this very configuration: what to write into each vendor's SDK.
//!
//! Pure: `Facts` in, text out; `facts` takes them from a configuration. Every option that is printed stands in the SDK's own
//! type definitions or in its vendor's documentation, and what an SDK makes of an option was read in its code or seen in
//! its requests. The docs hold the same text, and a test compares them. Absent: input, output, the choice of what to show.

mod agora;
mod azure;
mod code;
mod facts;
mod trtc;
mod watchrtc;
mod web;

pub use facts::{Chosen, NoLogin};

use crate::secret::Secret;
use serde_json::{Value, json};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What stands for a user that is not known.
pub const PLACEHOLDER_USER: &str = "YOUR_TURN_USER";
/// What stands for a password that is not known.
pub const PLACEHOLDER_PASSWORD: &str = "YOUR_TURN_PASSWORD";
/// The port that URLs leave out.
const HTTPS_PORT: u16 = 443;

/// All that the text is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The name or address that clients use; an IPv6 address without brackets.
    pub host: String,
    /// This server's IPv4 address as clients see it, for SDKs that take no name.
    pub ipv4: Option<Ipv4Addr>,
    /// Ports of the UDP listeners, in the order of the configuration.
    pub udp: Vec<u16>,
    pub tcp: Vec<u16>,
    pub tls: Vec<u16>,
    pub realm: String,
    pub login: Login,
    /// One of `proxy.prefixes`, such as `/azure`; empty: none.
    pub prefix: String,
    /// `proxy.vendors`.
    pub vendors: Vec<String>,
}

/// A TURN user as it is printed.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret,
    /// What to know about it: when it ends, or why it is a placeholder.
    pub note: Option<String>,
}

impl Login {
    pub fn placeholder(note: Option<String>) -> Self {
        Self {
            username: PLACEHOLDER_USER.to_owned(),
            password: Secret::new(PLACEHOLDER_PASSWORD),
            note,
        }
    }
}

/// Whose SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Webrtc,
    Azure,
    Agora,
    Trtc,
    Watchrtc,
    Vonage,
    Daily,
    Livekit,
}

/// One SDK of a vendor.
#[derive(Clone, Copy, Debug)]
pub struct Flavour {
    pub name: &'static str,
    pub title: &'static str,
    pub language: Language,
    write: fn(&Facts) -> Written,
}

/// What the code is written in; comments begin with `//` in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    JavaScript,
    Swift,
    Java,
    CSharp,
}

impl Language {
    /// As Markdown names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::JavaScript => "js",
            Self::Swift => "swift",
            Self::Java => "java",
            Self::CSharp => "csharp",
        }
    }
}

/// What a flavour makes of the facts.
struct Written {
    code: String,
    /// Limits of the SDK that no configuration changes.
    limits: Vec<String>,
    /// What will not work with this configuration, with the fix.
    problems: Vec<String>,
}

/// Code for one SDK, and what to know about it.
#[derive(Clone, Debug)]
pub struct Snippet {
    pub vendor: Vendor,
    pub flavour: &'static str,
    pub title: String,
    pub language: Language,
    pub code: String,
    pub limits: Vec<String>,
    pub problems: Vec<String>,
    /// About the credential.
    pub note: Option<String>,
}

const fn js(name: &'static str, title: &'static str, write: fn(&Facts) -> Written) -> Flavour {
    Flavour {
        name,
        title,
        language: Language::JavaScript,
        write,
    }
}

impl Vendor {
    pub const ALL: [Self; 8] = [
        Self::Webrtc,
        Self::Azure,
        Self::Agora,
        Self::Trtc,
        Self::Watchrtc,
        Self::Vonage,
        Self::Daily,
        Self::Livekit,
    ];

    /// As the command line and `proxy.vendors` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webrtc => "webrtc",
            Self::Azure => "azure",
            Self::Agora => "agora",
            Self::Trtc => "trtc",
            Self::Watchrtc => "watchrtc",
            Self::Vonage => "vonage",
            Self::Daily => "daily",
            Self::Livekit => "livekit",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.name() == name)
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Webrtc => "Any WebRTC application",
            Self::Azure => "Azure Communication Services Calling",
            Self::Agora => "Agora",
            Self::Trtc => "Tencent TRTC",
            Self::Watchrtc => "watchRTC",
            Self::Vonage => "Vonage Video (OpenTok)",
            Self::Daily => "Daily",
            Self::Livekit => "LiveKit Cloud",
        }
    }

    /// The presets of `proxy.vendors` that open its hosts; none for what needs no proxy.
    fn presets(self) -> &'static [&'static str] {
        match self {
            Self::Webrtc => &[],
            Self::Azure => &["azure"],
            Self::Agora => &["agora"],
            Self::Trtc => &["trtc", "trtc-international"],
            Self::Watchrtc => &["watchrtc"],
            Self::Vonage => &["vonage"],
            Self::Daily => &["daily"],
            Self::Livekit => &["livekit"],
        }
    }

    /// Its SDKs, the web's latest first.
    pub fn flavours(self) -> &'static [Flavour] {
        const WEBRTC: &[Flavour] = &[js("web", "JavaScript", web::webrtc)];
        const AZURE: &[Flavour] = &[
            js("web", "Web", azure::web),
            Flavour {
                name: "ios",
                title: "iOS",
                language: Language::Swift,
                write: azure::ios,
            },
            Flavour {
                name: "android",
                title: "Android",
                language: Language::Java,
                write: azure::android,
            },
            Flavour {
                name: "windows",
                title: "Windows",
                language: Language::CSharp,
                write: azure::windows,
            },
        ];
        const AGORA: &[Flavour] = &[
            js("web-4", "Web SDK 4.x", agora::web_4),
            js("web-3", "Web SDK 3.x", agora::web_3),
        ];
        const TRTC: &[Flavour] = &[
            js("v5", "Web SDK 5.x", trtc::v5),
            js("v4", "Web SDK 4.x", trtc::v4),
        ];
        const WATCHRTC: &[Flavour] = &[js("web", "Web SDK", watchrtc::web)];
        const VONAGE: &[Flavour] = &[js("web", "OpenTok.js", web::vonage)];
        const DAILY: &[Flavour] = &[js("web", "daily-js", web::daily)];
        const LIVEKIT: &[Flavour] = &[js("web", "livekit-client", web::livekit)];
        match self {
            Self::Webrtc => WEBRTC,
            Self::Azure => AZURE,
            Self::Agora => AGORA,
            Self::Trtc => TRTC,
            Self::Watchrtc => WATCHRTC,
            Self::Vonage => VONAGE,
            Self::Daily => DAILY,
            Self::Livekit => LIVEKIT,
        }
    }
}

impl Flavour {
    pub fn snippet(&self, vendor: Vendor, facts: &Facts) -> Snippet {
        let Written {
            code,
            limits,
            problems,
        } = (self.write)(facts);
        let mut all = general_problems(vendor, facts);
        all.extend(problems);
        let shows_login = vendor != Vendor::Watchrtc;
        Snippet {
            vendor,
            flavour: self.name,
            title: format!("{}: {}", vendor.title(), self.title),
            language: self.language,
            code,
            limits,
            problems: all,
            note: facts.login.note.clone().filter(|_| shows_login),
        }
    }
}

/// The first flavour of each of these vendors.
pub fn overview(facts: &Facts, vendors: &[Vendor]) -> Vec<Snippet> {
    let first = |vendor: &Vendor| {
        let flavour = vendor.flavours().first()?;
        Some(flavour.snippet(*vendor, facts))
    };
    vendors.iter().filter_map(first).collect()
}

/// Every flavour of every vendor that this configuration lets through, and plain WebRTC.
pub fn everything(facts: &Facts) -> Vec<Snippet> {
    let enabled = |vendor: &Vendor| vendor.presets().is_empty() || facts.enables(*vendor);
    Vendor::ALL
        .into_iter()
        .filter(enabled)
        .flat_map(|vendor| {
            let flavours = vendor.flavours().iter();
            flavours.map(move |flavour| flavour.snippet(vendor, facts))
        })
        .collect()
}

/// What concerns every SDK of a vendor.
fn general_problems(vendor: Vendor, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(preset) = vendor.presets().first() {
        if !facts.enables(vendor) {
            problems.push(format!(
                "proxy.vendors does not have \"{preset}\", so the proxy refuses its hosts: add it there (or name the hosts in proxy.allow)"
            ));
        }
        if facts.tls.is_empty() {
            problems.push(
                "nothing listens on TLS, so there is no proxy: set tls in [listen] and a certificate in [tls]"
                    .to_owned(),
            );
        }
    } else if facts.udp.is_empty() && facts.tcp.is_empty() && facts.tls.is_empty() {
        problems.push("there is no listener: set udp, tcp and tls in [listen]".to_owned());
    }
    problems
}

/// What stands for a proxy that is not there.
const YOUR_HOST: &str = "YOUR_RELAYD";

impl Facts {
    fn enables(&self, vendor: Vendor) -> bool {
        let presets = vendor.presets();
        self.vendors
            .iter()
            .any(|name| presets.contains(&name.as_str()))
    }

    fn url_host(&self) -> String {
        url_host(&self.host)
    }

    fn host_is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    fn udp_port(&self) -> Option<u16> {
        preferred(&self.udp, 3478)
    }

    fn tcp_port(&self) -> Option<u16> {
        preferred(&self.tcp, 3478)
    }

    fn tls_port(&self) -> Option<u16> {
        preferred(&self.tls, HTTPS_PORT)
    }

    /// `host`, with the port of the proxy unless it is 443.
    fn authority(&self) -> String {
        match self.tls_port() {
            Some(HTTPS_PORT) => self.url_host(),
            Some(port) => format!("{}:{port}", self.url_host()),
            None => YOUR_HOST.to_owned(),
        }
    }

    /// Authority and path prefix.
    fn base(&self) -> String {
        format!("{}{}", self.authority(), self.prefix)
    }

    /// TURN URLs as RFC 7065 and browsers have them.
    fn turn_urls(&self) -> Vec<String> {
        let host = self.url_host();
        let url = |scheme: &str, port: Option<u16>, transport: &str| {
            port.map(|port| format!("{scheme}:{host}:{port}?transport={transport}"))
        };
        [
            url("turn", self.udp_port(), "udp"),
            url("turn", self.tcp_port(), "tcp"),
            url("turns", self.tls_port(), "tcp"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A name or address as it stands in a URL.
pub fn url_host(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    }
}

/// The vendors' customary port if it is there, else the first.
fn preferred(ports: &[u16], customary: u16) -> Option<u16> {
    let found = ports.iter().find(|port| **port == customary);
    found.or(ports.first()).copied()
}

impl Snippet {
    pub fn to_json(&self) -> Value {
        json!({
            "vendor": self.vendor.name(),
            "flavour": self.flavour,
            "title": self.title,
            "language": self.language.label(),
            "code": self.code,
            "problems": self.problems,
            "limits": self.limits,
            "note": self.note,
        })
    }
}

/// Code to paste: all that is not code is a comment.
impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "// {}", self.title)?;
        for problem in &self.problems {
            comment(f, " PROBLEM:", problem)?;
        }
        if let Some(note) = &self.note {
            comment(f, "", note)?;
        }
        writeln!(f, "{}", self.code)?;
        for limit in &self.limits {
            comment(f, " Note:", limit)?;
        }
        Ok(())
    }
}

/// Characters of a comment line.
const COMMENT_CHARS: usize = 110;

fn comment(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    let mut line = format!("//{mark}");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COMMENT_CHARS {
            writeln!(f, "{line}")?;
            line = "//  ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests;

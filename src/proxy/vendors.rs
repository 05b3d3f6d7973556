//! Vendor presets: the hosts and routes that each vendor's SDK asks for through a proxy, as data.
//!
//! A preset is what `[proxy].vendors` names. Sources: the vendors' network documentation and requests recorded from
//! their SDKs. Suffix rules stay as narrow as the vendor's own naming allows. `catalogue` shows a preset as text and as
//! the configuration that means the same.

use super::{HostRule, PrefixRoute};
use std::ops::RangeInclusive;

/// What one vendor needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    /// What its customers set in their application, and what to know about it.
    pub note: &'static str,
    /// Where the vendor says so.
    pub documentation: &'static str,
    /// When hosts and routes were last compared with what the vendor documents and its SDK asks for.
    pub checked: &'static str,
    /// Asked for as `/<host>/<path>`.
    pub hosts: &'static [Hosts],
    /// Prefix and upstream.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Named in the query of Agora's paths.
    pub agora_hosts: &'static [Hosts],
    /// Named as `signalDomain` to TRTC's unified proxy.
    pub trtc_signal_hosts: &'static [Hosts],
    /// Names below the suffixes that every customer's SDK asks for, all on port 443: what `relayd check --live` can try.
    pub examples: &'static [&'static str],
}

/// Names that share their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    pub ports: &'static [RangeInclusive<u16>],
    pub names: &'static [&'static str],
}

const HTTPS: &[RangeInclusive<u16>] = &[443..=443];

const fn https(names: &'static [&'static str]) -> Hosts {
    Hosts {
        ports: HTTPS,
        names,
    }
}

/// The names that `[proxy].vendors` accepts.
pub const NAMES: [&str; 8] = [
    "azure",
    "agora",
    "trtc",
    "trtc-international",
    "watchrtc",
    "vonage",
    "daily",
    "livekit",
];

/// What a preset does not say.
const NOTHING: Preset = Preset {
    name: "",
    note: "",
    documentation: "",
    checked: "",
    hosts: &[],
    fixed: &[],
    agora_hosts: &[],
    trtc_signal_hosts: &[],
    examples: &[],
};

const TRTC: Preset = Preset {
    documentation: "https://web.sdk.qcloud.com/trtc/webrtc/v5/doc/en/tutorial-34-advanced-proxy.html",
    checked: "2026-11-20",
    hosts: &[https(&["yun.tim.qq.com"]), TRTC_HOSTS],
    trtc_signal_hosts: &[TRTC_HOSTS],
    ..NOTHING
};

const TRTC_HOSTS: Hosts = https(&[
    "*.rtc.qcloud.com",
    "*.rtc.qq.com",
    "*.rtc.tencentcloud.com",
    "*.cloud-rtc.com",
    "*.cloud-rtc.net",
    "*.my-imcloud.com",
    "*.rtc-web.com",
    "*.rtc-web.io",
]);

const PRESETS: [Preset; 8] = [
    Preset {
        name: "azure",
        note: "Azure Communication Services Calling: networkConfiguration.proxy.url. Not for Teams identities.",
        documentation: "https://learn.microsoft.com/azure/communication-services/tutorials/proxy-calling-support-tutorial",
        checked: "2026-11-20",
        hosts: &[https(&[
            "*.skype.com",
            "*.communication.microsoft.com",
            "*.communication.azure.com",
            "*.events.data.microsoft.com",
            "teams.microsoft.com",
            "*.teams.microsoft.com",
            "*.teams.microsoft.us",
            "*.svc.cloud.microsoft",
            "res.public.onecdn.static.microsoft",
        ])],
        examples: &[
            "go.trouter.communication.microsoft.com",
            "edge.skype.com",
            "api.flightproxy.skype.com",
            "ic3.events.data.microsoft.com",
        ],
        ..NOTHING
    },
    Preset {
        name: "agora",
        note: "Agora Web SDK: AgoraRTC.setProxyServer(HOST). Its TURN is HOST:3478 over UDP and TCP and HOST:443 over TLS, whatever ports it is told; HOST is to be a name.",
        documentation: "https://github.com/AgoraIO/Tools/blob/master/Proxy/proxy-for-webrtc/README.md",
        checked: "2026-11-20",
        agora_hosts: &[Hosts {
            ports: &[
                443..=443,
                4700..=5000,
                5668..=5669,
                6080..=6080,
                6443..=6443,
                8667..=8667,
                9667..=9667,
            ],
            names: &[
                "*.agora.io",
                "*.sd-rtn.com",
                "*.rtnsvc.com",
                "*.rtesvc.com",
                "*.agoraio.cn",
            ],
        }],
        examples: &["webrtc2-ap-web-1.agora.io", "webrtc2-2.ap.sd-rtn.com"],
        ..NOTHING
    },
    Preset {
        name: "trtc",
        note: "Tencent RTC, sdkAppId from 1400000000 on: unifiedProxy HOST; or websocketProxy wss://HOST/ws/, loggerProxy https://HOST/logger/, scheduleProxy HOST/schedule. A smaller sdkAppId beside them: logger-international, schedule-international.",
        fixed: &[
            ("/ws/", "https://signaling.rtc.qq.com/"),
            ("/logger/", "https://yun.tim.qq.com/"),
            ("/schedule/", "https://schedule.cloud-rtc.com/"),
            ("/logger-international/", "https://apisgp.my-imcloud.com/"),
            ("/schedule-international/", "https://schedule.rtc-web.com/"),
            ("/api/v1/", "https://schedule.cloud-rtc.com/api/v1/"),
            (
                "/v5/AVQualityReportSvc/",
                "https://yun.tim.qq.com/v5/AVQualityReportSvc/",
            ),
        ],
        ..TRTC
    },
    Preset {
        name: "trtc-international",
        note: "Tencent RTC, sdkAppId below 1400000000: the same options as trtc; logs and schedule go to the international service.",
        fixed: &[
            ("/ws/", "https://signaling.rtc.qq.com/"),
            ("/logger/", "https://apisgp.my-imcloud.com/"),
            ("/schedule/", "https://schedule.rtc-web.com/"),
            ("/api/v1/", "https://schedule.rtc-web.com/api/v1/"),
            (
                "/v5/AVQualityReportSvc/",
                "https://apisgp.my-imcloud.com/v5/AVQualityReportSvc/",
            ),
        ],
        ..TRTC
    },
    Preset {
        name: "watchrtc",
        note: "testRTC watchRTC: proxyUrl wss://HOST/websocket; its staging service: wss://HOST/websocket-staging.",
        documentation: "https://testrtc.com/docs/setting-up-a-proxy-for-watchrtc-traffic/",
        checked: "2026-11-20",
        hosts: &[https(&[
            "watchrtc-server.cyara.com",
            "watchrtc.spearline.dev",
            "watchrtc.testrtc.com",
            "watchrtc-staging2.testrtc.com",
        ])],
        fixed: &[
            ("/websocket/", "https://watchrtc-server.cyara.com/"),
            ("/websocket-staging/", "https://watchrtc.spearline.dev/"),
        ],
        ..NOTHING
    },
    Preset {
        name: "vonage",
        note: "Vonage Video (OpenTok): OT.setProxyUrl(url). The account's IP proxy add-on must be on.",
        documentation: "https://developer.vonage.com/en/video/guides/configurable-turn-servers",
        checked: "2026-11-20",
        hosts: &[https(&["*.opentok.com", "*.tokbox.com", "*.vonage.com"])],
        examples: &["config.opentok.com", "hlg.tokbox.com"],
        ..NOTHING
    },
    Preset {
        name: "daily",
        note: "Daily: dailyConfig.proxyUrl or setProxyUrl(). The account's proxy feature must be on.",
        documentation: "https://docs.daily.co/guides/privacy-and-security/corporate-firewalls-nats-allowed-ip-list",
        checked: "2026-11-20",
        hosts: &[https(&["*.daily.co", "prod-ks.pluot.blue"])],
        ..NOTHING
    },
    Preset {
        name: "livekit",
        note: "LiveKit Cloud: room.connect('wss://HOST/<project>.livekit.cloud').",
        documentation: "https://docs.livekit.io/home/cloud/firewall/",
        checked: "2026-11-20",
        hosts: &[https(&["*.livekit.cloud"])],
        ..NOTHING
    },
];

/// Finds a preset by the name that the configuration uses.
pub fn preset(name: &str) -> Option<&'static Preset> {
    static TABLE: [Preset; 8] = PRESETS;
    TABLE.iter().find(|preset| preset.name == name)
}

/// One rule for each name and range of ports.
pub fn rules(hosts: &[Hosts]) -> Vec<HostRule> {
    let pairs = hosts.iter().flat_map(|hosts| {
        let with_ports = |name| hosts.ports.iter().map(move |ports| (name, ports.clone()));
        hosts.names.iter().flat_map(with_ports)
    });
    pairs
        .map(|(name, ports)| {
            let suffix = name.strip_prefix("*.");
            HostRule {
                name: suffix.unwrap_or(name).to_owned(),
                subdomains: suffix.is_some(),
                ports,
            }
        })
        .collect()
}

impl Preset {
    pub fn routes(&self) -> Vec<PrefixRoute> {
        self.fixed
            .iter()
            .map(|(prefix, upstream)| PrefixRoute {
                prefix: (*prefix).to_owned(),
                upstream: (*upstream).to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "vendors_tests.rs"]
mod tests;

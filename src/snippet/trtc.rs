//! Tencent TRTC Web SDKs: `trtc-sdk-v5` (`EnterRoomConfig.proxy`) and `trtc-js-sdk` 4.x.
//!
//! Paths are those of the `trtc` presets. 5.17.1 leaves a TURN URL alone that begins with `turn:` or `turns:`; 4.15.22 always
//! puts `turn:` in front.

use super::code::js;
use super::{Facts, Written};

pub fn v5(facts: &Facts) -> Written {
    let host = facts.url_host();
    let unified = js(&facts.base());
    let url = |before: &str, port: Option<u16>, after: &str| {
        port.map(|port| format!("{before}{host}:{port}{after}"))
    };
    let urls = [
        url("", facts.udp_port(), ""),
        url("turn:", facts.tcp_port(), "?transport=tcp"),
        url("turns:", facts.tls_port(), "?transport=tcp"),
    ];
    Written {
        code: format!(
            "\
const trtc = TRTC.create();
await trtc.enterRoom({{
  sdkAppId, userId, userSig, roomId, // your own
  proxy: {{
{proxies}    turnServer: [
{servers}    ],
    iceTransportPolicy: \"relay\",
  }},
}});",
            proxies = proxies(facts, 4),
            servers = servers(facts, urls, 6),
        ),
        limits: vec![
            "URLs with turn: or turns: in front were read in 5.17.1; Tencent documents \"host:port\", which is UDP.".to_owned(),
            format!("unifiedProxy: {unified} can stand in place of the three proxies; it is in the SDK's types, not in Tencent's documentation."),
            "sdkAppId below 1400000000: \"trtc-international\" in proxy.vendors, else \"trtc\".".to_owned(),
        ],
        problems: Vec::new(),
    }
}

pub fn v4(facts: &Facts) -> Written {
    let host = facts.url_host();
    let unified = js(&facts.base());
    let url = |port: Option<u16>, after: &str| port.map(|port| format!("{host}:{port}{after}"));
    let urls = [
        url(facts.udp_port(), ""),
        url(facts.tcp_port(), "?transport=tcp"),
    ];
    Written {
        code: format!(
            "\
const client = TRTC.createClient({{
  mode: \"rtc\", sdkAppId, userId, userSig, // your own
  iceTransportPolicy: \"relay\",
}});

// Before join:
client.setProxyServer({{
{proxies}}});
client.setTurnServer([
{servers}]);",
            proxies = proxies(facts, 2),
            servers = servers(facts, urls, 2),
        ),
        limits: vec![
            "the SDK puts turn: in front of every URL, so there is no TURN over TLS (4.15.22)."
                .to_owned(),
            "iceTransportPolicy is read by 4.15.22 but is missing in its type definitions."
                .to_owned(),
            format!(
                "unifiedProxy: {unified} can stand in place of the three proxies (from 4.15.8 on); it is in the SDK's types, not in Tencent's documentation."
            ),
            "sdkAppId below 1400000000: \"trtc-international\" in proxy.vendors, else \"trtc\"."
                .to_owned(),
        ],
        problems: Vec::new(),
    }
}

fn proxies(facts: &Facts, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let base = facts.base();
    format!(
        "{pad}websocketProxy: {},\n{pad}loggerProxy: {},\n{pad}scheduleProxy: {},\n",
        js(&format!("wss://{base}/ws/")),
        js(&format!("https://{base}/logger/")),
        js(&format!("{base}/schedule")),
    )
}

fn servers<const N: usize>(facts: &Facts, urls: [Option<String>; N], indent: usize) -> String {
    let pad = " ".repeat(indent);
    let line = |url: String| {
        format!(
            "{pad}{{ url: {}, username: {}, credential: {} }},\n",
            js(&url),
            js(&facts.login.username),
            js(facts.login.password.expose()),
        )
    };
    urls.into_iter().flatten().map(line).collect()
}

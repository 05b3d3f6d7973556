//! Plain WebRTC, and the SDKs that take a list of ICE servers as browsers do: Vonage, Daily, LiveKit.

use super::code::{ice_servers, js};
use super::{Facts, Written};

pub fn webrtc(facts: &Facts) -> Written {
    Written {
        code: format!(
            "\
const connection = new RTCPeerConnection({{
  iceServers: {},
  iceTransportPolicy: \"relay\",
}});",
            ice_servers(facts, &facts.turn_urls(), 2),
        ),
        limits: vec!["without iceTransportPolicy, direct paths are tried too.".to_owned()],
        problems: Vec::new(),
    }
}

/// `OT.setProxyUrl` and `IceConfig` of @opentok/client.
pub fn vonage(facts: &Facts) -> Written {
    Written {
        code: format!(
            "\
OT.setProxyUrl({proxy});
const session = OT.initSession(applicationId, sessionId, {{
  iceConfig: {{
    includeServers: \"custom\",
    transportPolicy: \"relay\",
    customServers: {servers},
  }},
}});",
            proxy = js(&format!("https://{}", facts.base())),
            servers = ice_servers(facts, &facts.turn_urls(), 4),
        ),
        limits: vec![
            "IP proxy and configurable TURN are add-ons: Vonage must have switched them on for your account."
                .to_owned(),
        ],
        problems: Vec::new(),
    }
}

/// `DailyAdvancedConfig` of @daily-co/daily-js.
pub fn daily(facts: &Facts) -> Written {
    Written {
        code: format!(
            "\
const call = Daily.createCallObject({{
  dailyConfig: {{
    proxyUrl: {proxy},
    iceConfig: {{
      iceServers: {servers},
      placement: \"replace\",
      iceTransportPolicy: \"relay\",
    }},
  }},
}});",
            proxy = js(&format!("https://{}", facts.base())),
            servers = ice_servers(facts, &facts.turn_urls(), 6),
        ),
        limits: vec![
            "proxyUrl and iceConfig are Daily's add-on Advanced Firewall Control: it must be on for your account."
                .to_owned(),
            "a time-limited credential is renewed with call.setIceConfig(…).".to_owned(),
        ],
        problems: Vec::new(),
    }
}

/// `RoomConnectOptions` of livekit-client.
pub fn livekit(facts: &Facts) -> Written {
    Written {
        code: format!(
            "\
const room = new Room();
await room.connect({url}, token, {{
  rtcConfig: {{
    iceServers: {servers},
    iceTransportPolicy: \"relay\",
  }},
}});",
            url = js(&format!(
                "wss://{}/YOUR_PROJECT.livekit.cloud",
                facts.base()
            )),
            servers = ice_servers(facts, &facts.turn_urls(), 4),
        ),
        limits: vec!["iceServers given here replace those that LiveKit's server sends.".to_owned()],
        problems: Vec::new(),
    }
}

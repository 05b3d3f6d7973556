//! watchRTC: `proxyUrl` of @testrtc/watchrtc-sdk. It watches the calls of others, so it takes no TURN server.

use super::code::js;
use super::{Facts, Written};

pub fn web(facts: &Facts) -> Written {
    Written {
        code: format!(
            "\
import watchRTC from \"@testrtc/watchrtc-sdk\";

// Before any other WebRTC code:
watchRTC.init({{
  rtcApiKey: \"YOUR_API_KEY\",
  rtcRoomId: \"room\",
  rtcPeerId: \"peer\",
  proxyUrl: {},
}});",
            js(&format!("wss://{}/websocket", facts.base())),
        ),
        limits: vec![
            "proxyUrl is a wss: URL without a slash at its end; the SDK makes its https: URLs from it."
                .to_owned(),
        ],
        problems: Vec::new(),
    }
}

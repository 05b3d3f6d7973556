//! What relayd prints when it runs without a file: where to look, and what to paste into which client.
//!
//! Pure. The vendors' options are those of their documentation and of requests recorded from their SDKs.

use crate::config::Config;
use crate::entropy::Entropy;
use std::fmt;
use std::net::IpAddr;

/// Characters of a generated password: no two look alike, none needs quoting.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 32 characters to the power of 20 are 100 bits.
const PASSWORD_CHARS: usize = 20;

/// A password for the user of this run.
pub fn password(entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; PASSWORD_CHARS];
    entropy.fill(&mut bytes);
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
    bytes.iter().map(letter).collect()
}

/// What to do when a port of the first try is taken.
pub const PORT_HELP: &str = "choose other ports with --turn-port, --tls-port and --admin-port, or write a file: relayd default-config";

/// The facts that the text is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// An address of this machine that other machines may reach; in brackets if it is IPv6.
    pub host: String,
    /// Its other addresses, and names.
    pub other_hosts: Vec<String>,
    pub turn_port: u16,
    pub tls_port: u16,
    pub user: String,
    pub password: String,
}

impl Banner {
    /// Ports are those of the configuration: pass the one with the bound listeners.
    pub fn new(config: &Config, user: &str, password: &str) -> Self {
        let own = &config.turn.relay_addresses.fallback;
        let mut hosts: Vec<IpAddr> = own.iter().copied().filter(|ip| !ip.is_loopback()).collect();
        hosts.sort_by_key(IpAddr::is_ipv6);
        let mut hosts: Vec<String> = hosts.into_iter().map(bracketed).collect();
        hosts.push("localhost".to_owned());
        let host = hosts.remove(0);
        let first_port = |addresses: &[std::net::SocketAddr]| addresses.first().map(|a| a.port());
        Self {
            host,
            other_hosts: hosts,
            turn_port: first_port(&config.io.udp).unwrap_or(0),
            tls_port: first_port(&config.listen.tls).unwrap_or(0),
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            turn_port,
            tls_port,
            user,
            password,
            ..
        } = self;
        write!(
            f,
            "\
relayd is serving: a first try, with a certificate and a user made for this run. Nothing is saved.

  test page   https://{host}:{tls_port}/   (accept the certificate once; the page makes a call through this server)
  TURN        turn:{host}:{turn_port} over UDP and TCP, turns:{host}:{tls_port} over TLS
  proxy       https://{host}:{tls_port}
  user        {user}
  password    {password}
"
        )?;
        if !self.other_hosts.is_empty() {
            writeln!(f, "  also at     {}", self.other_hosts.join(", "))?;
        }
        write!(
            f,
            "
Browsers use TURN over TLS and the proxy from other pages only with a certificate that they trust: until there is
one, try with Chromium's --ignore-certificate-errors.

Any WebRTC page
  new RTCPeerConnection({{
    iceServers: [{{
      urls: [
        \"turn:{host}:{turn_port}?transport=udp\",
        \"turn:{host}:{turn_port}?transport=tcp\",
        \"turns:{host}:{tls_port}?transport=tcp\",
      ],
      username: \"{user}\",
      credential: \"{password}\",
    }}],
    iceTransportPolicy: \"relay\",
  }})

Azure Communication Services Calling (TURN over TLS needs a host name, so it is left out here)
  new CallClient({{
    networkConfiguration: {{
      proxy: {{ url: \"https://{host}:{tls_port}\" }},
      turn: {{
        iceServers: [{{
          urls: [\"turn:{host}:{turn_port}?transport=udp\", \"turn:{host}:{turn_port}?transport=tcp\"],
          username: \"{user}\",
          credential: \"{password}\",
        }}],
      }},
    }},
  }})

Agora Web SDK 4.x, before join (given a host and ports instead of URLs, it uses 3478 and 443 whatever the ports)
  client.setProxyServer(\"{host}:{tls_port}\")
  client.setTurnServer([{{
    urls: [\"turn:{host}:{turn_port}?transport=udp\", \"turn:{host}:{turn_port}?transport=tcp\"],
    username: \"{user}\",
    credential: \"{password}\",
  }}])
  AgoraRTC.setParameter(\"NEW_FORCE_TURN\", true)

Tencent TRTC Web SDK 5.x
  trtc.enterRoom({{
    // sdkAppId, userId, userSig, roomId
    proxy: {{
      websocketProxy: \"wss://{host}:{tls_port}/ws/\",
      loggerProxy: \"https://{host}:{tls_port}/logger/\",
      scheduleProxy: \"{host}:{tls_port}/schedule\",
      turnServer: [{{ url: \"{host}:{turn_port}\", username: \"{user}\", credential: \"{password}\" }}],
      iceTransportPolicy: \"relay\",
    }},
  }})

watchRTC
  watchRTC.init({{ rtcApiKey: \"YOUR KEY\", proxyUrl: \"wss://{host}:{tls_port}/websocket\" }})

For production: relayd default-config > relay.toml, set certificate and users, relayd --config relay.toml"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FIRST_TRY_USER, FirstTryPorts, Machine, first_try};

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(37);
            }
        }
    }

    fn banner(addresses: &[&str]) -> Banner {
        let machine = Machine {
            addresses: addresses
                .iter()
                .map(|ip| ip.parse().expect("an address"))
                .collect(),
            cpus: 1,
            ..Machine::default()
        };
        let loaded = first_try("pass-word", FirstTryPorts::default(), &machine)
            .unwrap_or_else(|report| panic!("{report}"));
        Banner::new(&loaded.config, FIRST_TRY_USER, "pass-word")
    }

    #[test]
    fn the_text_names_page_servers_and_credential_for_every_client() {
        let text = banner(&["127.0.0.1", "fd00::7", "10.0.0.4"]).to_string();
        for part in [
            "https://10.0.0.4:8443/ ",
            "also at     [fd00::7], localhost",
            "\"turn:10.0.0.4:3478?transport=udp\"",
            "\"turn:10.0.0.4:3478?transport=tcp\"",
            "\"turns:10.0.0.4:8443?transport=tcp\"",
            "proxy: { url: \"https://10.0.0.4:8443\" }",
            "client.setProxyServer(\"10.0.0.4:8443\")",
            "websocketProxy: \"wss://10.0.0.4:8443/ws/\"",
            "loggerProxy: \"https://10.0.0.4:8443/logger/\"",
            "url: \"10.0.0.4:3478\"",
            "proxyUrl: \"wss://10.0.0.4:8443/websocket\"",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let credentials = text.matches("credential: \"pass-word\"").count();
        let names = text.matches("username: \"demo\"").count();
        assert_eq!((credentials, names), (4, 4));
    }

    #[test]
    fn a_machine_without_other_addresses_is_called_localhost_and_ipv6_is_in_brackets() {
        assert_eq!(banner(&["127.0.0.1", "::1"]).host, "localhost");
        assert_eq!(banner(&["::1", "fd00::7"]).host, "[fd00::7]");
    }

    #[test]
    fn a_password_has_a_hundred_bits_and_no_letter_that_looks_like_another() {
        let made = password(&mut Counting(0));
        assert_eq!(made.len(), PASSWORD_CHARS);
        assert!(!made.contains(['l', 'o', '0', '1']));
        assert_ne!(made, password(&mut Counting(1)));
        let distinct: std::collections::HashSet<&u8> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), ALPHABET.len());
    }
}

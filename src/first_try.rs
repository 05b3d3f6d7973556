//! What relayd prints when it runs without a file: where to look, and what to paste into which client.
//!
//! Pure. The client code is that of `snippet`.

use crate::config::Config;
use crate::entropy::Entropy;
use crate::snippet::{self, Facts, Login, Vendor};
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

/// Whose client code is printed at start; `relayd snippet` has the others.
const SHOWN: [Vendor; 5] = [
    Vendor::Webrtc,
    Vendor::Azure,
    Vendor::Agora,
    Vendor::Trtc,
    Vendor::Watchrtc,
];

/// The facts that the text is made of.
#[derive(Clone, Debug)]
pub struct Banner {
    /// Its host: an address of this machine that other machines may reach.
    facts: Facts,
    /// Its other addresses, and names, as URLs have them.
    other_hosts: Vec<String>,
    /// SHA-256 over the public key of the self-signed certificate, in base64.
    key_sha256: Option<String>,
}

impl Banner {
    /// Ports are those of the configuration: pass the one with the bound listeners.
    pub fn new(config: &Config, login: Login, key_sha256: Option<String>) -> Self {
        Self {
            facts: facts(config, login),
            other_hosts: hosts(config).split_off(1),
            key_sha256,
        }
    }
}

/// What client code is made of without a file: there is no domain, so an address is the host.
pub fn facts(config: &Config, login: Login) -> Facts {
    let mut facts = Facts::of_config(config, login);
    facts.host = hosts(config).remove(0);
    facts
}

/// This machine's addresses, the one to use first, and localhost last: there is always one.
fn hosts(config: &Config) -> Vec<String> {
    let own = &config.turn.relay_addresses.fallback;
    let mut hosts: Vec<IpAddr> = own.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    hosts.sort_by_key(IpAddr::is_ipv6);
    let mut hosts: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
    hosts.push("localhost".to_owned());
    hosts
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            facts, other_hosts, ..
        } = self;
        let host = snippet::url_host(&facts.host);
        let turn_port = facts.udp.first().copied().unwrap_or(0);
        let tls_port = facts.tls.first().copied().unwrap_or(0);
        let Login {
            username, password, ..
        } = &facts.login;
        let password = password.expose();
        write!(
            f,
            "\
relayd is serving: a first try, with a certificate and a user made for this run. Nothing is saved.

  test page   https://localhost:{tls_port}/ on this machine, https://{host}:{tls_port}/ from others
              (accept the certificate once; the page makes a call through this server)
  TURN        turn:{host}:{turn_port} over UDP and TCP, turns:{host}:{tls_port} over TLS
  proxy       https://{host}:{tls_port}
  user        {username}
  password    {password}
"
        )?;
        if !other_hosts.is_empty() {
            let others: Vec<String> = other_hosts.iter().map(|h| snippet::url_host(h)).collect();
            writeln!(f, "  also at     {}", others.join(", "))?;
        }
        write!(
            f,
            "
Browsers use TURN over TLS, and the proxy from other pages, only with a certificate that they trust. Firefox takes this
one after its warning, by a name: https://localhost:{tls_port}/ and not by an address. Chromium never does; for a try, start it so:
"
        )?;
        match &self.key_sha256 {
            Some(hash) => writeln!(
                f,
                "  chromium --user-data-dir=/tmp/relayd-try --ignore-certificate-errors-spki-list={hash} https://localhost:{tls_port}/"
            )?,
            None => writeln!(f, "  the command is on the test page")?,
        }
        for snippet in snippet::overview(facts, &SHOWN) {
            write!(f, "\n{snippet}")?;
        }
        write!(
            f,
            "
Other SDKs (iOS, Android, Windows, Vonage, Daily, LiveKit): on the test page, and by relayd snippet --list
For production: relayd default-config > relay.toml, set certificate and users, relayd --config relay.toml"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FirstTryPorts, Machine, first_try};
    use crate::snippet::Chosen;

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
        let login = Login::of_config(&loaded.config, &Chosen::default(), 0).expect("one user");
        Banner::new(&loaded.config, login, Some("HASH".to_owned()))
    }

    #[test]
    fn the_text_names_page_servers_and_credential_for_every_client() {
        let text = banner(&["127.0.0.1", "fd00::7", "10.0.0.4"]).to_string();
        for part in [
            "https://localhost:8443/ on this machine, https://10.0.0.4:8443/ from others",
            "also at     [fd00::7], localhost",
            "--ignore-certificate-errors-spki-list=HASH https://localhost:8443/",
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
        assert!(!text.contains("YOUR_TURN"), "{text}");
        assert!(text.contains("user        demo\n  password    pass-word\n"));
        let codes = text.matches("credential: \"pass-word\"").count();
        assert!(codes >= 4, "{codes}");
    }

    #[test]
    fn a_machine_without_other_addresses_is_called_localhost_and_ipv6_is_in_brackets() {
        let local = banner(&["127.0.0.1", "::1"]).to_string();
        assert!(
            local.contains("\"turn:localhost:3478?transport=udp\""),
            "{local}"
        );
        let v6 = banner(&["::1", "fd00::7"]).to_string();
        assert!(v6.contains("\"turn:[fd00::7]:3478?transport=udp\""), "{v6}");
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

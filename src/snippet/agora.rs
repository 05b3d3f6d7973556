//! Agora Web SDKs: `agora-rtc-sdk-ng` 4.x and `agora-rtc-sdk` 3.x.
//!
//! 4.24.8 has three ways to take TURN servers. `NEW_TURN_MODE` 4, its default: 3478 and 443, and the ports of the call are
//! ignored; `NEW_FORCE_TURN` makes it relay only. `NEW_TURN_MODE` 0: ports, `security` and `forceturn` count. A list with
//! `urls`: taken as it is, but nothing makes it relay only. So the first where the ports fit, else the second.

use super::code::js;
use super::{Facts, HTTPS_PORT, Written};

/// What the SDK has built in.
const TURN_PORT: u16 = 3478;

pub fn web_4(facts: &Facts) -> Written {
    let missing = missing_ports(facts);
    let (turn, about_ports) = if missing.is_empty() && !facts.host_is_address() {
        (built_in_ports(facts), "4.24.8 ignores udpport, tcpport, security and forceturn: it uses 3478 over UDP and TCP and 443 over TLS, and NEW_FORCE_TURN keeps all media on TURN.".to_owned())
    } else {
        let missing = if missing.is_empty() {
            String::new()
        } else {
            format!(" Here nothing listens on {}.", missing.join(", "))
        };
        (
            own_ports(facts),
            format!(
                "without NEW_TURN_MODE 0, 4.24.8 ignores ports, security and forceturn and uses 3478 over UDP and TCP and 443 over TLS.{missing}"
            ),
        )
    };
    let problem = facts.host_is_address().then(|| {
        "TURN over TLS is left out: the SDK makes a name below edge.agora.io of an address; give this server a name (server.domain)"
            .to_owned()
    });
    Written {
        code: format!(
            "\
const client = AgoraRTC.createClient({{ mode: \"rtc\", codec: \"vp8\" }});

// Before join:
client.setProxyServer({proxy});
{turn}",
            proxy = js(&facts.authority()),
        ),
        limits: vec![
            about_ports,
            "setParameter is not documented by Agora: try it again when the SDK's version changes."
                .to_owned(),
            "the SDK knows no path prefix; startProxyServer (Agora's cloud proxy) excludes both settings."
                .to_owned(),
        ],
        problems: problem.into_iter().collect(),
    }
}

/// Which of the ports that 4.x has built in nothing listens on.
fn missing_ports(facts: &Facts) -> Vec<&'static str> {
    [
        ("3478 over UDP", facts.udp.contains(&TURN_PORT)),
        ("3478 over TCP", facts.tcp.contains(&TURN_PORT)),
        ("443 over TLS", facts.tls.contains(&HTTPS_PORT)),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect()
}

fn built_in_ports(facts: &Facts) -> String {
    format!(
        "\
client.setTurnServer({{
  turnServerURL: {host},
  udpport: {TURN_PORT},
  tcpport: {TURN_PORT},
  username: {username},
  password: {password},
  forceturn: true,
}});
AgoraRTC.setParameter(\"NEW_FORCE_TURN\", true);",
        host = js(&facts.host),
        username = js(&facts.login.username),
        password = js(facts.login.password.expose()),
    )
}

/// A server for UDP and TCP, and one for TLS.
fn own_ports(facts: &Facts) -> String {
    let login = format!(
        "username: {}, password: {}",
        js(&facts.login.username),
        js(facts.login.password.expose())
    );
    let server = |host: &str, ports: &[String]| {
        let ports = ports.join(", ");
        format!("  {{ turnServerURL: {host}, {ports}, forceturn: true, {login} }},\n")
    };
    let plain = [("udpport", facts.udp_port()), ("tcpport", facts.tcp_port())];
    let plain: Vec<String> = plain
        .into_iter()
        .filter_map(|(name, port)| Some(format!("{name}: {}", port?)))
        .collect();
    let mut servers = String::new();
    if !plain.is_empty() {
        servers.push_str(&server(&js(&facts.url_host()), &plain));
    }
    if let Some(port) = facts.tls_port().filter(|_| !facts.host_is_address()) {
        let tls = [format!("tcpport: {port}"), "security: true".to_owned()];
        servers.push_str(&server(&js(&facts.host), &tls));
    }
    format!(
        "\
AgoraRTC.setParameter(\"NEW_TURN_MODE\", 0);
client.setTurnServer([
{servers}]);"
    )
}

pub fn web_3(facts: &Facts) -> Written {
    let missing = facts.udp.is_empty().then(|| {
        "nothing listens on UDP, and the SDK wants a UDP port: set udp in [listen]".to_owned()
    });
    let tcp = facts.tcp_port();
    let tcp = tcp.map_or_else(String::new, |port| format!("\n  tcpport: \"{port}\","));
    Written {
        code: format!(
            "\
const client = AgoraRTC.createClient({{ mode: \"rtc\", codec: \"vp8\" }});

// Before join:
client.setProxyServer({proxy});
client.setTurnServer([{{
  turnServerURL: {host},
  udpport: \"{udp}\",{tcp}
  username: {username},
  password: {password},
  forceturn: true,
}}]);",
            proxy = js(&facts.authority()),
            host = js(&facts.url_host()),
            udp = facts.udp_port().unwrap_or(TURN_PORT),
            username = js(&facts.login.username),
            password = js(facts.login.password.expose()),
        ),
        limits: vec![
            "ports are strings, and are used as they are; 3.6.11 has no TURN over TLS for servers of one's own."
                .to_owned(),
            "the SDK knows no path prefix; startProxyServer (Agora's cloud proxy) excludes both settings."
                .to_owned(),
        ],
        problems: missing.into_iter().collect(),
    }
}

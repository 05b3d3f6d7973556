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
    let mut problems = problems(facts);
    let fits = facts.udp.contains(&TURN_PORT)
        && facts.tcp.contains(&TURN_PORT)
        && facts.tls.contains(&HTTPS_PORT)
        && !facts.host_is_address();
    let login = format!(
        "username: {}, password: {}",
        js(&facts.login.username),
        js(facts.login.password.expose())
    );
    let host = js(&facts.host);
    let (turn, limits) = if fits {
        let turn = format!(
            "\
client.setTurnServer({{ turnServerURL: {host}, udpport: {TURN_PORT}, tcpport: {TURN_PORT}, forceturn: true, {login} }});
AgoraRTC.setParameter(\"NEW_FORCE_TURN\", true);"
        );
        let limit = "4.24.8 ignores udpport, tcpport, security and forceturn: it uses 3478 over UDP and TCP and 443 over TLS, and NEW_FORCE_TURN keeps all media on TURN. For other ports: setParameter(\"NEW_TURN_MODE\", 0) in its place, then these fields count.";
        (turn, vec![limit.to_owned()])
    } else {
        let plain = [("udpport", facts.udp_port()), ("tcpport", facts.tcp_port())];
        let ports: Vec<String> = plain
            .into_iter()
            .filter_map(|(name, port)| Some(format!("{name}: {}, ", port?)))
            .collect();
        let ports = ports.concat();
        let tls = facts.tls_port().filter(|_| !facts.host_is_address());
        let tls = tls.map(|port| {
            format!("\n  {{ turnServerURL: {host}, tcpport: {port}, security: true, forceturn: true, {login} }},")
        });
        if facts.host_is_address() {
            problems.push(
                "TURN over TLS is left out: the SDK makes a name below edge.agora.io of an address; give the server a name (server.domain)"
                    .to_owned(),
            );
        }
        let turn = format!(
            "\
AgoraRTC.setParameter(\"NEW_TURN_MODE\", 0);
client.setTurnServer([
  {{ turnServerURL: {host}, {ports}forceturn: true, {login} }},{}
]);",
            tls.unwrap_or_default()
        );
        let limit = "without NEW_TURN_MODE 0, 4.24.8 ignores ports, security and forceturn and uses 3478 over UDP and TCP and 443 over TLS; listen there and the documented single setTurnServer works.";
        (turn, vec![limit.to_owned()])
    };
    let mut limits = limits;
    limits.push(
        "setParameter is not documented by Agora; check it when the SDK's version changes."
            .to_owned(),
    );
    limits.push(
        "the SDK knows no path prefix. Do not combine with startProxyServer (Agora's cloud proxy)."
            .to_owned(),
    );
    Written {
        code: format!(
            "\
const client = AgoraRTC.createClient({{ mode: \"rtc\", codec: \"vp8\" }});

// Before join:
client.setProxyServer({proxy});
{turn}",
            proxy = js(&facts.authority()),
        ),
        limits,
        problems,
    }
}

pub fn web_3(facts: &Facts) -> Written {
    let mut problems = problems(facts);
    let Some(udp) = facts.udp_port() else {
        problems.push(
            "nothing listens on UDP, and the SDK wants a UDP port: set udp in [listen]".to_owned(),
        );
        return web_3_with(facts, TURN_PORT, problems);
    };
    web_3_with(facts, udp, problems)
}

fn web_3_with(facts: &Facts, udp: u16, problems: Vec<String>) -> Written {
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
            username = js(&facts.login.username),
            password = js(facts.login.password.expose()),
        ),
        limits: vec![
            "ports are strings here and count as they are; 3.x has no TURN over TLS of one's own."
                .to_owned(),
            "the SDK knows no path prefix.".to_owned(),
        ],
        problems,
    }
}

fn problems(facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    if facts.host_is_address() {
        problems.push(
            "server.domain is an address, and Agora asks for a name: set it to this server's name in DNS"
                .to_owned(),
        );
    }
    let missing: Vec<&str> = [
        ("3478 over UDP", facts.udp.contains(&TURN_PORT)),
        ("3478 over TCP", facts.tcp.contains(&TURN_PORT)),
        ("443 over TLS", facts.tls.contains(&HTTPS_PORT)),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect();
    if !missing.is_empty() {
        problems.push(format!(
            "nothing listens on {}, the ports that Agora's SDKs have built in: add them in [listen], or map them to relayd's",
            missing.join(", ")
        ));
    }
    problems
}

use super::*;
use crate::config::{Surroundings, parse};
use std::path::Path;

const FULL: &str = r#"
[server]
domain = "relay.example.com"
external_ip = "203.0.113.7/10.0.0.4"
workers = 2
[listen]
udp = ["0.0.0.0:3478"]
tcp = ["10.0.0.4:3478"]
tls = ["0.0.0.0:443", "[::]:443"]
proxy_protocol_from = "10.0.0.9"
[tls]
self_signed = true
[turn]
users = { alice = "s3cret-one", bob = "s3cret-two" }
auth_secret = "s3cret-three"
relay_ports = "50000-50999"
peers = { deny = "9.9.9.9" }
limits = { allocations_per_user = 10, bytes_per_second_per_user = "1MiB" }
[proxy]
vendors = "agora"
allow = "api.example.com"
resolve = { "api.example.com" = "127.0.0.1:9443" }
[[proxy.route]]
prefix = "/ws"
upstream = "https://ws.example.com"
"#;

#[test]
fn the_plan_tells_what_the_server_would_do_and_no_secret() {
    let outcome = Outcome {
        source: "relay.toml".to_owned(),
        ok: true,
        problems: Vec::new(),
        plan: Some(plan(FULL)),
        peers: vec![judge_peer(
            &config(FULL).turn,
            "10.0.0.1".parse().expect("a peer"),
        )],
    };
    let expected = "relay.toml: no problems

listeners of relay.example.com
  udp  0.0.0.0:3478           TURN
  tcp  10.0.0.4:3478          TURN and HTTP, and both over TLS
  tls  0.0.0.0:443            TURN, HTTPS and WSS
  tls  [::]:443               TURN, HTTPS and WSS
  PROXY header required from: 10.0.0.9/32
certificate
  self-signed, made at start
  names: relay.example.com, localhost
  expires: 2023-12-13, in 29 days
relayed addresses
  10.0.0.4, told to clients as 203.0.113.7 (clients that reach this address)
  2001:4860::1 (clients that reach this address)
  UDP ports 50000-50999: open them in the firewall
  allocations at once: 496 (ports: 2000, open-files limit 1008: 496)
  lifetime: 10m, up to 1h on request
credentials
  realm \"relay.example.com\", users: 2, secrets for time-limited credentials: 1
peers of clients
  public addresses, and clients of this server
  denied: 9.9.9.9/32
limits
  allocations per user: 10
  bytes per user: 1MiB/s
  unauthenticated answers per address: 100/s
proxy
  vendors: agora
  allowed hosts:
    api.example.com
  hosts in the query of Agora's paths:
    *.agora.io:443,4700-5000,5668-5669,6080,6443,8667,9667
    *.sd-rtn.com:443,4700-5000,5668-5669,6080,6443,8667,9667
    *.rtnsvc.com:443,4700-5000,5668-5669,6080,6443,8667,9667
    *.rtesvc.com:443,4700-5000,5668-5669,6080,6443,8667,9667
    *.agoraio.cn:443,4700-5000,5668-5669,6080,6443,8667,9667
  routes:
    /ws/ to https://ws.example.com/
  origins: *
  own names: relay.example.com, relay.example.com:3478
  api.example.com:443 is taken to be at 127.0.0.1:9443
server
  health and metrics: http://127.0.0.1:9641/metrics
  media workers: 2
  on SIGTERM calls may go on for 1m

peers
  10.0.0.1: denied by the built-in special-use list (10.0.0.0/8)";
    assert_eq!(outcome.to_string(), expected, "{outcome}");
    let json = serde_json::to_string(&outcome).expect("plain data");
    assert!(!json.contains("s3cret"), "{json}");
}

#[test]
fn the_credentials_endpoint_is_told_with_its_keys_and_bounds() {
    assert_eq!(plan(FULL).endpoint, None);
    let text = format!(
        "{FULL}[credentials]\ntokens = [\"s3cret-token-of-one\", \"s3cret-token-of-two\"]\njwt_hs256 = \"s3cret-key-of-32-bytes-or-some-more\"\n"
    );
    let shown = plan(&text).to_string();
    let expected =
        "  realm \"relay.example.com\", users: 2, secrets for time-limited credentials: 1
  POST https://relay.example.com/credentials: bearer tokens: 2, JWT keys: HS256
    good for 8h, 1m to 1d on request; 10/s for each client address
peers of clients";
    assert!(shown.contains(expected), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_fixed_relay_address_is_used_for_all_clients_of_its_family() {
    let text = FULL.replace(
        "relay_ports",
        "relay_ip = [\"10.0.0.4\", \"10.0.0.5\"]\nrelay_ports",
    );
    let relay = plan(&text).relay;
    let own: Vec<IpAddr> = relay.addresses.iter().map(|address| address.own).collect();
    assert_eq!(own, ["10.0.0.4".parse::<IpAddr>().expect("an address")]);
    assert!(!relay.addresses[0].if_reached);
    assert_eq!(relay.allocations.by_ports, 1000);
}

#[test]
fn the_smallest_bound_decides_how_many_allocations_there_can_be() {
    let text = FULL.replace("allocations_per_user = 10", "allocations_total = 7");
    let allocations = plan(&text).relay.allocations;
    assert_eq!((allocations.max, allocations.by_setting), (7, Some(7)));
}

#[test]
fn peers_are_judged_with_and_without_a_port() {
    let settings = config(FULL).turn;
    for (peer, allowed) in [
        ("8.8.8.8", true),
        ("8.8.8.8:53", true),
        ("9.9.9.9:53", false),
        ("127.0.0.1", false),
        ("[::1]:80", false),
        ("[::ffff:10.0.0.1]", false),
        ("8.8.8.8:0", false),
        ("10.0.0.4:3478", false),
    ] {
        let verdict = judge_peer(&settings, peer.parse().expect(peer));
        assert_eq!(verdict.allowed, allowed, "{verdict:?}");
    }
    for text in ["", "example.com", "1.2.3", "1.2.3.4:99999"] {
        assert!(text.parse::<Peer>().is_err(), "{text}");
    }
}

fn config(text: &str) -> Config {
    let machine = machine();
    let around = Surroundings {
        base_dir: Path::new(""),
        env: &|_| None,
        machine: &machine,
    };
    parse(text, "relay.toml", &around)
        .unwrap_or_else(|report| panic!("{report}"))
        .config
}

fn plan(text: &str) -> Plan {
    let inspection = Inspection {
        names: vec!["relay.example.com".to_owned(), "localhost".to_owned()],
        not_before: 0,
        not_after: 1_700_000_000 + 29 * 86_400,
        chain_length: 1,
        warnings: Vec::new(),
    };
    Plan::new(&config(text), &machine(), Some(&inspection))
}

fn machine() -> Machine {
    Machine {
        hostname: None,
        addresses: ["10.0.0.4", "2001:4860::1", "127.0.0.1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec(),
        cpus: 4,
        rmem_max: None,
        open_files_max: Some(1008),
        unix_s: 1_700_000_000,
    }
}

#[test]
fn where_spans_go_is_told_where_they_are_on() {
    let with = |lines: &str| plan(&format!("{FULL}[tracing]\n{lines}\n")).to_string();
    assert!(!with("").contains("spans"));
    let on = "endpoint = \"http://127.0.0.1:4318\"\nsample_ratio = 0.1";
    assert!(
        with(on).contains("\n  spans: 10 % to http://127.0.0.1:4318\n"),
        "{}",
        with(on)
    );
    let telling = format!("{on}\npropagate = true");
    assert!(
        with(&telling).contains("4318; upstreams get traceparent\n"),
        "{}",
        with(&telling)
    );
}

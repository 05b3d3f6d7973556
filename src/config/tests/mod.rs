//! Whole files: golden reports, the reference and the examples against the defaults, settings in their places.

mod acme;
mod admin;
mod changes;
mod credentials;
mod refusals;
mod secrets;

use super::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The least that a file needs, beside certificate files.
const MINIMAL: &str = "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[turn]\nusers = { alice = \"a long password\" }\n";
/// The same without certificate files.
const SELF_SIGNED: &str =
    "[tls]\nself_signed = true\n[turn]\nusers = { alice = \"a long password\" }\n";

#[test]
fn twenty_mistakes_are_reported_at_once_each_with_its_place_and_fix() {
    let report = parse_text(include_str!("../testdata/mistakes.toml")).expect_err("mistakes");
    let expected = include_str!("../testdata/mistakes.txt");
    assert_eq!(report.to_string(), expected.trim_end(), "{report}");
}

#[test]
fn several_syntax_errors_are_reported_at_once_and_no_secret_beside_them() {
    let report = parse_text(include_str!("../testdata/syntax.toml")).expect_err("not TOML");
    let expected = include_str!("../testdata/syntax.txt");
    assert_eq!(report.to_string(), expected.trim_end(), "{report}");
}

/// `config/relay.toml` is the reference: what it says is the default is the default.
#[test]
fn the_reference_equals_the_defaults() {
    let dir = certificate_dir();
    let reference = uncommented(
        REFERENCE,
        &[
            "cert = \"fullchain.pem\"",
            "key = \"privkey.pem\"",
            "users = ",
        ],
    );
    let reference = parse_in(&dir, &reference).unwrap_or_else(|report| panic!("{report}"));
    let minimal = MINIMAL
        .replace("cert.pem", "fullchain.pem")
        .replace("key.pem", "privkey.pem");
    let minimal = parse_in(&dir, &minimal).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        format!("{:#?}", reference.config),
        format!("{:#?}", minimal.config)
    );
}

#[test]
fn the_reference_as_it_stands_asks_for_a_certificate_and_a_user_and_nothing_else() {
    let report = parse_text(REFERENCE).expect_err("a certificate and a user are needed");
    let errors: Vec<&str> = report
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(
        errors,
        [
            "`listen.tls` has listeners, but there is no certificate",
            "`turn` has neither users nor a secret, so nobody can relay",
        ]
    );
}

#[test]
fn every_known_key_is_in_the_reference_and_every_example_line_of_it_is_valid() {
    let machine = machine();
    let around = Surroundings {
        base_dir: Path::new(""),
        env: &|_| None,
        machine: &machine,
    };
    let document = DeTable::parse("").expect("an empty document");
    let reader = Reader::default();
    let _ = Parts::read(&Table::root(&reader, document.get_ref()), &around);

    let mut table = String::new();
    let mut in_reference = Vec::new();
    for line in REFERENCE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(list) = line.strip_prefix("[[") {
            table = list.replace("]]", "[]");
        } else if let Some(header) = line.strip_prefix('[') {
            table = header.replace(']', "");
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.contains(' ')
        {
            in_reference.push(format!("{table}.{key}"));
        }
    }
    in_reference.sort();
    assert_eq!(in_reference, reader.known());

    let all = uncommented(REFERENCE, &[""]);
    let dir = certificate_dir();
    std::fs::copy(dir.join("fullchain.pem"), dir.join("extra-roots.pem")).expect("a copy");
    std::fs::write(dir.join("admin.token"), "0123456789abcdef").expect("a file");
    parse_in(&dir, &all).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn the_examples_are_valid_but_for_files_and_variables_of_their_owner() {
    for text in [
        include_str!("../../../config/examples/minimal.toml"),
        include_str!("../../../config/examples/vendors.toml"),
        include_str!("../../../config/examples/behind-load-balancer.toml"),
    ] {
        let Err(report) = parse_text(text) else {
            continue;
        };
        for problem in &report.problems {
            let outside = problem.message.contains("names a file that cannot be read")
                || problem
                    .message
                    .contains("environment variable that is not set");
            assert!(
                outside || problem.severity == Severity::Warning,
                "{problem}"
            );
        }
    }
}

#[test]
fn the_first_try_needs_nothing_and_allows_what_the_page_and_the_vendors_need() {
    let ports = FirstTryPorts {
        turn: 13478,
        tls: 18443,
        admin: 19641,
    };
    let loaded = first_try("generated", ports, &machine()).expect("a valid embedded file");
    let config = loaded.config;
    let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
    assert_eq!(config.io.udp, [addr("0.0.0.0:13478"), addr("[::]:13478")]);
    assert_eq!(config.listen.tcp, config.io.udp);
    assert_eq!(
        config.listen.tls,
        [addr("0.0.0.0:18443"), addr("[::]:18443")]
    );
    assert_eq!(config.admin.listen, Some(addr("127.0.0.1:19641")));
    assert!(config.test_page);
    let password = turn::UserKey::Password(crate::secret::Secret::new("generated"));
    assert_eq!(config.turn.users.get(FIRST_TRY_USER), Some(&password));
    let Some(tls::Settings {
        source: tls::CertificateSource::SelfSigned { names },
    }) = config.tls
    else {
        panic!("a self-signed certificate");
    };
    assert_eq!(
        names,
        [
            "relay.example.com",
            "localhost",
            "127.0.0.1",
            "::1",
            "9.9.9.9"
        ]
    );
    let proxy = &config.proxy;
    for (name, list) in [
        ("skype.com", &proxy.allow),
        ("agora.io", &proxy.agora_hosts),
        ("rtc.qq.com", &proxy.trtc_signal_hosts),
    ] {
        let allowed = |rule: &proxy::HostRule| rule.name == name && rule.subdomains;
        assert!(list.iter().any(allowed), "{name}");
    }
}

#[test]
fn settings_reach_the_parts_that_use_them() {
    let text = r#"
[server]
domain = "Relay.Example.com"
external_ip = ["203.0.113.7/10.0.0.4", "2001:db8::7"]
workers = 3
drain_timeout = "5m"
upgrade_timeout = "2m"
upgrade_drain_timeout = "1d"
[listen]
udp = "127.0.0.1:0"
tcp = []
tls = "127.0.0.1:8443"
proxy_protocol_from = ["10.0.0.0/8", "::1"]
timeouts = { handshake = "3s", first_byte = 4, stream_idle = "2m" }
limits = { connections_per_address = 1, pending_per_address = 2, connections_total = 3, udp_buffer_bytes = "1MiB" }
[tls]
self_signed = true
[turn]
realm = "other"
software = "x"
users.alice = "env:ALICE"
users."bob smith" = "key:000102030405060708090a0b0c0d0e0f"
auth_secret = "shared"
relay_ip = ["127.0.0.1", "::1"]
relay_ports = "50000-50009"
default_lifetime = "5m"
max_lifetime = "30m"
nonce_lifetime = "2m"
call_quality = false
peers = { allow = "10.0.0.0/8", deny = ["10.1.0.0/16"] }
[turn.limits]
allocations_per_user = 4
allocations_total = 5
bytes_per_second_per_allocation = "1MiB"
bytes_per_second_per_user = 2000
bytes_per_second_total = "1GiB"
unauthenticated_per_second_per_address = 0
relay_buffer_bytes = "1MiB"
stream_queue_bytes = "128KiB"
[proxy]
allow = "api.example.com:8443"
prefixes = ["/azure/"]
resolve = { "api.example.com:8443" = "127.0.0.1:9443", "b.example.com" = "::1" }
test_page = true
[[proxy.route]]
prefix = "/ws"
upstream = "https://a.example"
[proxy.addresses]
allow = "10.0.0.0/8"
[proxy.timeouts]
connect = "250ms"
[proxy.limits]
body_bytes = "16MiB"
redirects = 0
[admin]
listen = "off"
[log]
to = "stderr"
format = "json"
level = "debug"
privacy = true
"#;
    let config = parse_text(text).unwrap_or_else(|r| panic!("{r}")).config;
    let ip = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
    assert_eq!(config.domain, "relay.example.com");
    assert_eq!(config.drain_timeout, Duration::from_secs(300));
    assert_eq!(config.upgrade_timeout, Duration::from_secs(120));
    assert_eq!(config.upgrade_drain_timeout, Duration::from_secs(86_400));
    assert_eq!(config.io.workers, 3);
    assert_eq!(config.io.relay_ports, (50000, 50009));
    assert_eq!(config.io.listener_buffer_bytes, 1 << 20);
    assert_eq!(config.io.relay_buffer_bytes, 1 << 20);
    assert_eq!(config.io.stream_queue_bytes_max, 128 << 10);
    assert_eq!(config.io.stream_idle_s, 120);
    let listen = &config.listen;
    assert_eq!(
        (listen.handshake_timeout_s, listen.first_byte_timeout_s),
        (3, 4)
    );
    assert_eq!(
        (
            listen.connections_per_address,
            listen.pending_per_address,
            listen.connections_total
        ),
        (1, 2, 3)
    );
    assert_eq!(listen.proxy_protocol_from.len(), 2);
    let turn = &config.turn;
    assert_eq!(turn.realm, "other");
    assert_eq!(turn.software.as_deref(), Some("x"));
    let secret = |text: &str| crate::secret::Secret::new(text);
    let alice = turn::UserKey::Password(secret("s3cret-from-env"));
    assert_eq!(turn.users.get("alice"), Some(&alice));
    let key: [u8; 16] = std::array::from_fn(|i| i as u8);
    assert_eq!(turn.users.get("bob smith"), Some(&turn::UserKey::Md5(key)));
    assert_eq!(turn.auth_secrets, [secret("shared")]);
    assert_eq!(turn.relay_addresses.fixed, [ip("127.0.0.1"), ip("::1")]);
    assert_eq!(turn.relay_addresses.fallback, [ip("9.9.9.9")]);
    assert_eq!(
        turn.external_ips.pairs,
        [(ip("203.0.113.7"), ip("10.0.0.4"))]
    );
    assert_eq!(turn.external_ips.plain, [ip("2001:db8::7")]);
    assert_eq!(
        (
            turn.default_lifetime_s,
            turn.max_lifetime_s,
            turn.nonce_lifetime_s
        ),
        (300, 1800, 120)
    );
    assert!(!turn.call_quality);
    assert!(turn.peers.judge(ip("10.2.0.1")).permits());
    assert!(!turn.peers.judge(ip("10.1.0.1")).permits());
    assert_eq!(turn.listeners.len(), 2);
    assert_eq!(
        turn.limits,
        turn::Limits {
            allocations_per_user: 4,
            allocations_total: 5,
            bytes_per_s_per_allocation: 1 << 20,
            bytes_per_s_per_user: 2000,
            bytes_per_s_total: 1 << 30,
            unauthenticated_per_s_per_address: 0,
        }
    );
    let proxy = &config.proxy;
    assert_eq!(proxy.allow.len(), 1);
    assert_eq!(proxy.prefixes, ["/azure"]);
    assert_eq!(proxy.routes[0].upstream, "https://a.example/");
    assert_eq!(
        proxy.resolve.get(&("b.example.com".to_owned(), 443)),
        Some(&SocketAddr::new(ip("::1"), 443))
    );
    assert_eq!(
        proxy.public_names,
        ["relay.example.com", "relay.example.com:8443"]
    );
    assert_eq!(proxy.timeouts.connect, Duration::from_millis(250));
    assert_eq!(
        (proxy.limits.body_bytes, proxy.limits.redirects),
        (16 << 20, 0)
    );
    assert!(proxy.addresses.judge(ip("10.0.0.1")).permits());
    assert!(config.test_page);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.log.format, telemetry::Format::Json);
    assert!(config.log.privacy);
    assert_eq!(config.log.to, telemetry::Destination::Stderr);
}

#[test]
fn the_domain_is_the_full_host_name_then_the_public_address_then_any_host_name() {
    let domain = |hostname: Option<&str>, text: &str| {
        let machine = Machine {
            hostname: hostname.map(str::to_owned),
            ..machine()
        };
        let around = Surroundings {
            base_dir: Path::new(""),
            env: &|_| None,
            machine: &machine,
        };
        let text = format!("{text}\n{SELF_SIGNED}");
        let loaded = parse(&text, "relay.toml", &around).unwrap_or_else(|r| panic!("{r}"));
        assert_eq!(loaded.config.turn.realm, loaded.config.domain);
        loaded.config.domain
    };
    let external = "[server]\nexternal_ip = \"9.9.9.9\"";
    assert_eq!(
        domain(Some("relay.example.com"), external),
        "relay.example.com"
    );
    assert_eq!(domain(Some("box"), external), "9.9.9.9");
    assert_eq!(domain(Some("box"), ""), "box");
    assert_eq!(domain(None, ""), "localhost");
}

fn parse_text(text: &str) -> Result<Loaded, Report> {
    parse_in(Path::new("/nonexistent"), text)
}

fn parse_in(base_dir: &Path, text: &str) -> Result<Loaded, Report> {
    let machine = machine();
    let env = |name: &str| (name == "ALICE").then(|| "s3cret-from-env\n".to_owned());
    let around = Surroundings {
        base_dir,
        env: &env,
        machine: &machine,
    };
    parse(text, "relay.toml", &around)
}

fn machine() -> Machine {
    Machine {
        hostname: Some("relay.example.com".to_owned()),
        addresses: ["9.9.9.9", "127.0.0.1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec(),
        cpus: 4,
        rmem_max: Some(16 << 20),
        open_files_max: Some(1 << 20),
        unix_s: crate::sys::clock::now().unix_s(),
    }
}

/// Takes the `#` off the lines that begin with one of these.
fn uncommented(text: &str, starts: &[&str]) -> String {
    let example = |line: &str| {
        let inside = line.strip_prefix('#')?;
        let is_example = inside.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
        let wanted = starts.iter().any(|start| inside.starts_with(start));
        (is_example && wanted).then(|| inside.to_owned())
    };
    text.lines()
        .map(|line| example(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "relayd-config-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// A directory with a certificate for relay.example.com under every name that the texts here use.
fn certificate_dir() -> PathBuf {
    let dir = fresh_dir();
    let made = rcgen::generate_simple_self_signed(["relay.example.com".to_owned()])
        .expect("a certificate");
    for name in ["cert.pem", "fullchain.pem"] {
        std::fs::write(dir.join(name), made.cert.pem()).expect("a file");
    }
    for name in ["key.pem", "privkey.pem"] {
        std::fs::write(dir.join(name), made.signing_key.serialize_pem()).expect("a file");
    }
    dir
}

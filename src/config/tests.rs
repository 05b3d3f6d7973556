//! Whole files: golden reports, the reference against the defaults, secrets in no output.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The least that a file needs, beside certificate files.
const MINIMAL: &str = "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[turn]\nusers = { alice = \"a long password\" }\n";
/// The same without certificate files.
const SELF_SIGNED: &str =
    "[tls]\nself_signed = true\n[turn]\nusers = { alice = \"a long password\" }\n";

#[test]
fn twenty_mistakes_are_reported_at_once_each_with_its_place_and_fix() {
    let report = parse_text(include_str!("testdata/mistakes.toml")).expect_err("mistakes");
    let expected = include_str!("testdata/mistakes.txt");
    assert_eq!(report.to_string(), expected.trim_end(), "{report}");
}

#[test]
fn several_syntax_errors_are_reported_at_once_and_no_secret_beside_them() {
    let report = parse_text(include_str!("testdata/syntax.toml")).expect_err("not TOML");
    let expected = include_str!("testdata/syntax.txt");
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
    parse_in(&dir, &all).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn the_examples_are_valid_but_for_files_and_variables_of_their_owner() {
    for text in [
        include_str!("../../config/examples/minimal.toml"),
        include_str!("../../config/examples/vendors.toml"),
        include_str!("../../config/examples/behind-load-balancer.toml"),
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
    for name in ["skype.com", "agora.io", "rtc.qq.com"] {
        let allowed = |rule: &proxy::HostRule| rule.name == name && rule.subdomains;
        assert!(config.proxy.allow.iter().any(allowed), "{name}");
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
format = "json"
level = "debug"
"#;
    let config = parse_text(text).unwrap_or_else(|r| panic!("{r}")).config;
    let ip = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
    assert_eq!(config.domain, "relay.example.com");
    assert_eq!(config.drain_timeout, Duration::from_secs(300));
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
}

/// One bad value of each key that is not in the golden report: (text, part of the message, part of the help).
#[test]
fn a_bad_value_of_any_key_is_refused_with_its_reason() {
    for (text, message, help) in [
        (
            "[server]\ndomain = \"a..b\"",
            "`server.domain` is not a host name",
            "",
        ),
        (
            "[server]\nworkers = 0",
            "`server.workers` is out of range",
            "",
        ),
        (
            "[server]\nworkers = \"many\"",
            "is not a number of workers",
            "",
        ),
        ("[server]\ndrain_timeout = -1", "is negative", ""),
        (
            "[server]\nexternal_ip = [\"1.2.3.4\", \"5.6.7.8\"]",
            "two addresses of one family",
            "pairs",
        ),
        (
            "[server]\nexternal_ip = [\"1.2.3.4/10.0.0.1\", \"5.6.7.8/10.0.0.1\"]",
            "maps 10.0.0.1 twice",
            "remove",
        ),
        (
            "[server]\nexternal_ip = \"1.2.3.4/::1\"",
            "pairs an IPv4 with an IPv6",
            "",
        ),
        (
            "[server]\nexternal_ip_stun = \"stun.example.com\"",
            "is not a STUN server",
            "stun.example.com:3478",
        ),
        (
            "[listen]\ntcp = [\"0.0.0.0:3478\", \"127.0.0.1:3478\"]",
            "`listen.tcp` listens on port 3478 twice",
            "",
        ),
        (
            "[listen]\ntcp = [\"[::]:443\"]",
            "`listen.tcp` and `listen.tls` both listen",
            "",
        ),
        (
            "[listen]\ntcp = [\"127.0.0.1:9641\"]",
            "`listen.tcp` and `admin.listen` both",
            "",
        ),
        (
            "[listen]\nudp = [\"0.0.0.0:50000\"]",
            "`turn.relay_ports` 49152-65535 holds the port",
            "50001-65535",
        ),
        (
            "[listen]\nudp = []\ntcp = []\ntls = []",
            "`listen` has no listener",
            "",
        ),
        (
            "[listen]\ntimeouts = { handshake = \"1500ms\" }",
            "is too fine",
            "",
        ),
        (
            "[listen]\ntimeouts = { handshake = \"0s\" }",
            "is out of range",
            "",
        ),
        (
            "[listen]\nlimits = { udp_buffer_bytes = \"1KiB\" }",
            "is out of range",
            "",
        ),
        (
            "[listen]\nlimits = 5",
            "`listen.limits` has the wrong type",
            "",
        ),
        ("[turn]\nrealm = \"\"", "`turn.realm` is empty", ""),
        (
            "[turn]\nusers = \"alice\"",
            "`turn.users` has the wrong type",
            "",
        ),
        (
            "[turn]\nusers = { \"\" = \"x\" }",
            "has a name that cannot be used",
            "",
        ),
        (
            "[turn]\nusers = { alice = \"\" }",
            "`turn.users.alice` is empty",
            "openssl rand",
        ),
        (
            "[turn]\nauth_secret = \"env:NOT_SET\"",
            "is not set",
            "NOT_SET",
        ),
        (
            "[turn]\nauth_secret = \"file:/nonexistent/x\"",
            "names a file that cannot be read",
            "relative",
        ),
        (
            "[turn]\nauth_secret = []",
            "neither users nor a secret",
            "users =",
        ),
        (
            "[turn]\nrelay_ip = \"0.0.0.0\"",
            "is not the address of a machine",
            "leave `relay_ip` out",
        ),
        (
            "[turn]\nmax_lifetime = \"5m\"",
            "`turn.default_lifetime` is longer",
            "default_lifetime = \"5m\"",
        ),
        (
            "[turn]\npeers = { deny = \"all\" }",
            "`turn.peers.deny` is not a network",
            "",
        ),
        (
            "[turn]\nlimits = { allocations_total = -1 }",
            "is out of range",
            "",
        ),
        (
            "[turn]\nlimits = { bytes_per_second_total = 5 }",
            "is out of range",
            "",
        ),
        (
            "[proxy]\nvendors = [\"trtc\", \"trtc-international\"]",
            "two vendors for the prefix /ws/",
            "",
        ),
        (
            "[proxy]\ncors_origins = \"app.example.com\"",
            "is not an origin",
            "https://app.example.com",
        ),
        (
            "[proxy]\nprefixes = \"azure\"",
            "is not a path prefix",
            "/azure",
        ),
        (
            "[proxy]\npublic_names = \"https://a.example/\"",
            "has a scheme",
            "\"a.example\"",
        ),
        (
            "[proxy]\nresolve = { \"10.0.0.1\" = \"127.0.0.1\" }",
            "has a name that is not a host name",
            "name",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"localhost:1\" }",
            "is not an address with a port",
            "",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"127.0.0.1:0\" }",
            "is not an address to connect to",
            "",
        ),
        (
            "[proxy]\nresolve = { \"a.example\" = \"::1\", \"A.example:443\" = \"::1\" }",
            "a.example:443 twice",
            "",
        ),
        (
            "[proxy]\nca_file = \"nowhere.pem\"",
            "names a file that cannot be read",
            "relative",
        ),
        (
            "[proxy]\ntest_page = \"yes\"",
            "`proxy.test_page` has the wrong type",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/ws/\" }]",
            "has no `upstream`",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/readyz\", upstream = \"https://a.example\" }]",
            "answers itself",
            "",
        ),
        (
            "[proxy]\nroute = [{ prefix = \"/a\", upstream = \"https://a.example\" }, { prefix = \"/a/\", upstream = \"https://b.example\" }]",
            "has the prefix /a/ twice",
            "",
        ),
        ("[proxy.timeouts]\nconnect = \"2d\"", "is out of range", ""),
        ("[proxy.limits]\nredirects = 21", "is out of range", ""),
        (
            "[log]\nformat = \"jsno\"",
            "is not a log format",
            "\"json\"",
        ),
        ("[log]\nlevel = \"inof\"", "is not a log level", "\"info\""),
        (
            "realm = \"x\"",
            "unknown key `realm`",
            "`realm` belongs in [turn]",
        ),
        (
            "[tls]\ncert = \"nowhere.pem\"\nkey = \"nowhere.pem\"",
            "names a file that cannot be read",
            "",
        ),
        (
            "[tls]\ncert = \"Cargo.toml\"",
            "has no `tls.key` beside it",
            "key =",
        ),
        (
            "[tls]\nacme = {}",
            "is not available in this version",
            "certbot",
        ),
        (
            "[tls]\ncert = \"-----BEGIN CERTIFICATE-----\"",
            "holds a certificate or key",
            "",
        ),
    ] {
        let mut text = text.to_owned();
        if !text.contains("[tls]") {
            text.push_str("\n[tls]\nself_signed = true");
        }
        if !text.contains("[turn]") {
            text.push_str("\n[turn]\nusers = { alice = \"pw\" }");
        }
        let report = parse_text(&text).expect_err(&text);
        let found = report.problems.iter().find(|problem| {
            problem.severity == Severity::Error && problem.message.contains(message)
        });
        let Some(problem) = found else {
            panic!("{message} is not in:\n{report}");
        };
        let has_help = problem.help.as_deref().unwrap_or("").contains(help);
        assert!(has_help, "{problem}");
    }
}

#[test]
fn what_will_surprise_is_a_warning_with_a_fix() {
    for (text, message) in [
        (
            "[listen]\ntcp = [\"0.0.0.0:999\"]",
            "browsers refuse TURN on port 999",
        ),
        (
            "[listen]\nudp = [\"10.0.0.4:3478\"]\ntcp = []\ntls = []",
            "private relayed address 10.0.0.4",
        ),
        (
            "[server]\nexternal_ip = \"10.0.0.4\"",
            "10.0.0.4, which is not a public address",
        ),
        (
            "[turn]\nrelay_ip = [\"9.9.9.9\", \"9.9.9.10\"]",
            "beside another address of its family",
        ),
        (
            "[turn]\nrelay_ip = \"9.9.9.10\"",
            "is not an address of this machine",
        ),
        (
            "[turn.peers]\nallow = \"0.0.0.0/0\"",
            "opens 0.0.0.0/0 to every TURN user",
        ),
        ("[turn.peers]\nallow = \"127.0.0.0/8\"", "opens 127.0.0.0/8"),
        (
            "[turn.peers]\nallow = \"169.254.0.0/16\"",
            "opens 169.254.0.0/16",
        ),
        (
            "[proxy]\nvendors = \"agora\"\n[listen]\ntls = \"0.0.0.0:8443\"",
            "Agora's Web SDK will not find",
        ),
        (
            "[proxy]\nvendors = \"azure\"\n[server]\ndomain = \"9.9.9.9\"",
            "need a name for TURN over TLS",
        ),
        (
            "[proxy]\ncors_origins = [\"*\", \"https://a.example\"]",
            "\"*\" beside other origins",
        ),
        (
            "[listen]\nlimits = { udp_buffer_bytes = \"64MiB\" }",
            "limits UDP receive buffers to 16MiB",
        ),
    ] {
        let mut text = text.to_owned();
        text.push_str("\n[tls]\nself_signed = true\n");
        if text.contains("[turn]") {
            text = text.replace("[turn]", "[turn]\nusers = { alice = \"pw\" }");
        } else {
            text.push_str("[turn]\nusers = { alice = \"pw\" }");
        }
        let loaded = parse_text(&text).unwrap_or_else(|report| panic!("{report}"));
        let found = loaded.warnings.iter().find(|w| w.message.contains(message));
        let Some(warning) = found else {
            panic!("{message} is not in {:#?}", loaded.warnings);
        };
        assert!(warning.help.is_some(), "{warning}");
    }
    let sound = parse_text(SELF_SIGNED).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(sound.warnings, []);
}

#[test]
fn a_proxy_alone_needs_no_credentials_but_is_told_that_turn_is_off() {
    let text = "[listen]\nudp = []\n[tls]\nself_signed = true\n[proxy]\nallow = \"a.example.com\"";
    let loaded = parse_text(text).unwrap_or_else(|report| panic!("{report}"));
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("TURN is off"))
    );
}

#[test]
fn an_operators_route_beats_a_presets_route_of_the_same_prefix() {
    let text = format!(
        "{SELF_SIGNED}[proxy]\nvendors = \"trtc\"\nroute = [{{ prefix = \"/ws/\", upstream = \"https://a.example/\" }}]"
    );
    let config = parse_text(&text).unwrap_or_else(|r| panic!("{r}")).config;
    let ws: Vec<&str> = config
        .proxy
        .routes
        .iter()
        .filter(|route| route.prefix == "/ws/")
        .map(|route| route.upstream.as_str())
        .collect();
    assert_eq!(ws, ["https://a.example/"]);
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

#[test]
fn a_certificate_that_does_not_fit_is_an_error_or_a_warning() {
    let dir = certificate_dir();
    let other = certificate_dir();
    std::fs::copy(other.join("key.pem"), dir.join("key.pem")).expect("a copy");
    let report = parse_in(&dir, MINIMAL).expect_err("another certificate's key");
    assert!(report.to_string().contains("does not belong"), "{report}");

    let text = format!("[server]\ndomain = \"other.example.com\"\n{MINIMAL}");
    let loaded = parse_in(&other, &text).unwrap_or_else(|report| panic!("{report}"));
    let warned = |part: &str| loaded.warnings.iter().any(|w| w.message.contains(part));
    assert!(
        warned("not for other.example.com"),
        "{:#?}",
        loaded.warnings
    );
}

#[test]
fn a_file_of_authorities_without_a_certificate_is_refused() {
    let dir = certificate_dir();
    std::fs::write(dir.join("empty.pem"), "no certificate here").expect("a file");
    for (name, accepted) in [("cert.pem", true), ("key.pem", false), ("empty.pem", false)] {
        let text = format!("{SELF_SIGNED}[proxy]\nca_file = \"{name}\"");
        match parse_in(&dir, &text) {
            Ok(_) => assert!(accepted, "{name}"),
            Err(report) => {
                let refused = report.to_string().contains("without usable certificates");
                assert!(refused && !accepted, "{report}");
            }
        }
    }
}

#[test]
fn a_secret_file_loses_its_line_end_and_everybodys_right_to_read_it_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = fresh_dir();
    let path = dir.join("secret");
    let text = "[tls]\nself_signed = true\n[turn]\nauth_secret = \"file:secret\"\n";
    for (content, mode, warnings) in [("s3cret\n", 0o644, 1), ("s3cret\r\n", 0o600, 0)] {
        std::fs::write(&path, content).expect("a file");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("a mode");
        let loaded = parse_in(&dir, text).unwrap_or_else(|report| panic!("{report}"));
        let secret = crate::secret::Secret::new("s3cret");
        assert_eq!(loaded.config.turn.auth_secrets, [secret]);
        assert_eq!(loaded.warnings.len(), warnings, "{:#?}", loaded.warnings);
    }
    for (content, message) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\nb\n", "more than one line"),
    ] {
        std::fs::write(&path, content).expect("a file");
        let report = parse_in(&dir, text).expect_err("a bad secret");
        assert!(report.to_string().contains(message), "{report}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_so() {
    let dir = fresh_dir();
    let missing = load(&dir.join("none.toml"), &|_| None).expect_err("no file");
    assert!(missing.to_string().contains("no such file"), "{missing}");
    let directory = load(&dir, &|_| None).expect_err("a directory");
    assert!(
        directory.to_string().contains("is a directory"),
        "{directory}"
    );
    let path = dir.join("latin1.toml");
    std::fs::write(&path, b"[server]\n# caf\xe9\n").expect("a file");
    let latin1 = load(&path, &|_| None).expect_err("not UTF-8");
    assert!(latin1.to_string().contains("in line 2"), "{latin1}");
}

#[test]
fn a_file_with_secrets_that_everybody_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = fresh_dir();
    let path = dir.join("relay.toml");
    for (text, mode, warned) in [
        (SELF_SIGNED, 0o644, true),
        (SELF_SIGNED, 0o640, false),
        (
            "[tls]\nself_signed = true\n[turn]\nauth_secret = \"env:S\"",
            0o644,
            false,
        ),
    ] {
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let loaded = load(&path, &|_| Some("s".to_owned())).unwrap_or_else(|r| panic!("{r}"));
        let found = loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("holds secrets"));
        assert_eq!(found, warned, "{mode:o}");
    }
}

proptest! {
    /// Whatever is wrong around it, a secret is neither in a report nor in `Debug` of the configuration.
    #[test]
    fn no_secret_is_ever_shown(
        secret in "S3CRET[a-zA-Z0-9=+/ ]{4,40}E",
        shape in 0_usize..16,
        noise in prop::sample::select(vec!["", "[server]\ndomian = 1\n", "x = \n", "[proxy]\nallow = [\"*\"\n"]),
    ) {
        let value = match shape {
            0 => format!("[turn]\nusers = {{ alice = \"{secret}\" }}\n"),
            1 => format!("[turn]\nuser = {{ alice = \"{secret}\" }}\n"),
            2 => format!("[turn]\nusers = [\"{secret}\"]\n"),
            3 => format!("[turn]\nusers = \"alice:{secret}\"\n"),
            4 => format!("[turn.users]\nalice = \"{secret}\n"),
            5 => format!("[turn.users]\nalice = {secret}\n"),
            6 => format!("[turn.users]\nalice \"{secret}\"\n"),
            7 => format!("[turn]\nauth_secret = [\"{secret}\", 5]\n"),
            8 => format!("[turn]\nauth_secret = [\n  \"{secret}\",\n  \"{secret}\n]\n"),
            9 => format!("[turn]\nauth-secret = \"{secret}\"\nrelay_ports = 5\n"),
            10 => format!("[turn]\nusers = {{ alice = \"key:{secret}\" }}\n"),
            11 => format!("[turn]\nstatic_auth = \"{secret}\"\n"),
            12 => format!("[coturn]\nx = [{{ y = \"{secret}\" }}]\n"),
            13 => format!("[[proxy.route]]\nprefix = \"/a\"\nupstream = \"https://me:{secret}@a.example/\"\n"),
            14 => format!("[turn]\nusers = {{ alice = \"{secret}\", bob = }}\n"),
            _ => format!("[tls]\nkey = \"-----BEGIN PRIVATE KEY-----{secret}\"\n"),
        };
        for text in [format!("{noise}{value}"), format!("{value}{noise}")] {
            let shown = match parse_text(&text) {
                Ok(loaded) => format!("{:?} {:?}", loaded.config, loaded.warnings),
                Err(report) => format!("{report} {report:?}"),
            };
            prop_assert!(!shown.contains("S3CRET"), "{}\n---\n{}", text, shown);
            prop_assert!(!shown.contains(&secret[6..]), "{}\n---\n{}", text, shown);
        }
    }

    /// Bytes of any kind give a configuration or a report, never a panic.
    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        let _ = parse_text(&text).map_err(|report| report.to_string());
    }

    /// The same for files that are nearly right.
    #[test]
    fn a_damaged_reference_is_answered(at in 0_usize..8000, insert in "[\\[\\]{}=\"'\n#a0.,]{0,3}") {
        let at = REFERENCE.floor_char_boundary(at);
        let text = format!("{}{insert}{}", &REFERENCE[..at], REFERENCE.get(at + 1..).unwrap_or(""));
        let report = parse_text(&text).expect_err("no certificate at least").to_string();
        prop_assert!(report.contains("error: "));
    }
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

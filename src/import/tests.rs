//! Whole files: what becomes of each line, and that the result is one that relayd takes.

use super::*;
use crate::config::{Loaded, Machine, Surroundings};
use crate::ip_rules::IpRules;
use proptest::prelude::*;
use std::net::IpAddr;
use std::path::Path;

const SECRET: &str = "s3cret";

struct Steady(u8);

impl Entropy for Steady {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn options(secrets: Secrets) -> Options {
    Options {
        file: "turnserver.conf".into(),
        base_dir: PathBuf::from("/etc"),
        secrets,
    }
}

fn try_import(text: &str) -> Result<Imported, Report> {
    import(text.as_bytes(), &options(Secrets::Inline), &mut Steady(7))
}

fn imported(text: &str) -> Imported {
    try_import(text).unwrap_or_else(|report| panic!("{text}\n{report}"))
}

/// As `relayd check` reads it.
fn loaded(imported: &Imported) -> Result<Loaded, Report> {
    let machine = Machine {
        hostname: Some("turn.example.com".into()),
        addresses: vec!["9.1.1.1".parse().expect("an address")],
        cpus: 2,
        rmem_max: None,
        open_files_max: Some(1024),
        unix_s: 1_700_000_000,
    };
    let around = Surroundings {
        base_dir: Path::new("/nonexistent"),
        env: &|_| None,
        machine: &machine,
    };
    config::parse(&imported.toml, "relay.toml", &around)
}

fn good(text: &str) -> config::Config {
    let imported = imported(text);
    match loaded(&imported) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}\n{report}", imported.toml),
    }
}

fn at<'i>(imported: &'i Imported, key: &str) -> &'i Occurrence {
    let found = imported.settings.iter().find(|at| at.key == key);
    found.unwrap_or_else(|| panic!("no {key} in {:?}", imported.settings))
}

fn names(data: &str) -> Vec<&str> {
    let lines = data.lines().filter(|line| !line.starts_with('#'));
    lines.collect()
}

#[test]
fn the_table_is_sorted_and_has_every_key_of_both_versions_and_no_other() {
    let lists = [
        include_str!("../../tests/data/coturn-keys-4.6.txt"),
        include_str!("../../tests/data/coturn-keys-4.17.txt"),
        include_str!("../../tests/data/coturn-keys-gone.txt"),
    ];
    let mut known: Vec<&str> = lists.into_iter().flat_map(names).collect();
    assert!(known.len() > 260, "{}", known.len());
    known.sort_unstable();
    known.dedup();
    let table: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(table, known);
}

/// A value that coturn takes, for any key.
fn some_value(key: &Key) -> &'static str {
    match (key.name, key.kind) {
        ("allowed-peer-ip" | "denied-peer-ip", _) => "10.0.0.0-10.0.0.255",
        ("external-ip", _) => "198.51.100.7/10.0.0.4",
        ("aux-server", _) => "127.0.0.1:33478",
        ("log-min-level", _) => "warning",
        ("user", _) => "alice:s3cret-of-alice",
        ("server-name", _) => "turn.example.com",
        ("prometheus-path", _) => "/stats",
        (name, _) if name.ends_with("-ip") || name.ends_with("-address") => "127.0.0.1",
        ("min-port" | "max-port", _) => "50000",
        (_, Kind::Flag(_) | Kind::Switch) => "yes",
        (_, Kind::Number | Kind::NumberOr(_)) => "120",
        (_, Kind::Word) => "5000",
        (_, Kind::Text) => "text",
        (_, Kind::Secret) => "s3cret-value",
    }
}

#[test]
fn every_key_has_a_fate_and_whoever_is_not_mapped_is_told_why() {
    for key in KEYS {
        let text = format!("{}={}\n", key.name, some_value(key));
        // Half a range of ports is no range.
        let text = match key.name {
            "min-port" => format!("{text}max-port=60000\n"),
            "max-port" => format!("{text}min-port=40000\n"),
            _ => text,
        };
        let imported = imported(&text);
        let at = at(&imported, key.name);
        let is_silent = at.remark.is_empty();
        assert!(!is_silent || at.fate == Fate::Mapped, "{at:?}");
        assert!(at.fate != Fate::Remarked || !is_silent, "{at:?}");
        if let Kind::Secret = key.kind {
            let account = format!("{:?}{:?}", imported.settings, imported.remarks);
            assert!(!account.contains(SECRET), "{account}");
        }
        // Files that are not there are the one thing that is refused.
        if !matches!(key.name, "cert" | "pkey" | "log-file") {
            let loaded = loaded(&imported);
            assert!(
                loaded.is_ok(),
                "{}\n{}",
                imported.toml,
                loaded.expect_err("refused")
            );
        }
    }
}

#[test]
fn every_flag_may_be_off() {
    for key in KEYS.iter().filter(|key| matches!(key.kind, Kind::Flag(_))) {
        let imported = imported(&format!("{}=0\n", key.name));
        assert!(loaded(&imported).is_ok(), "{}", imported.toml);
        let at = at(&imported, key.name);
        assert!(at.fate != Fate::Remarked || !at.remark.is_empty(), "{at:?}");
    }
}

#[test]
fn listeners_ports_and_addresses_are_those_of_the_file() {
    let config = good(
        "listening-port=3479\nlistening-ip=127.0.0.1\nlistening-ip=::1\nrelay-ip=127.0.0.1\nmin-port=50000\nmax-port=50100\nexternal-ip=198.51.100.7/127.0.0.1\nuser=a:b\nrelay-threads=3\naux-server=127.0.0.1:33478\n",
    );
    let udp: Vec<String> = config.io.udp.iter().map(ToString::to_string).collect();
    assert_eq!(udp, ["127.0.0.1:3479", "[::1]:3479", "127.0.0.1:33478"]);
    assert_eq!(config.listen.tcp, config.io.udp);
    assert!(config.listen.tls.is_empty());
    assert_eq!(config.io.relay_ports, (50_000, 50_100));
    assert_eq!(config.io.workers, 3);
    let own: IpAddr = "127.0.0.1".parse().expect("an address");
    assert_eq!(
        config.turn.external_ips.external(own).to_string(),
        "198.51.100.7"
    );
    assert_eq!(config.turn.relay_addresses.fixed, [own]);
}

#[test]
fn listeners_that_cover_each_other_are_bound_once() {
    let config = good("listening-ip=127.0.0.1\nlistening-ip=0.0.0.0\nlistening-ip=\nuser=a:b\n");
    assert_eq!(config.io.udp.len(), 1);
    assert!(config.io.udp[0].ip().is_unspecified());
}

#[test]
fn a_listener_within_the_relayed_ports_leaves_the_longer_part() {
    let imported = imported("min-port=1024\nmax-port=65535\nuser=a:b\n");
    assert!(at(&imported, "max-port").remark.contains("3479 to 65535"));
    let config = loaded(&imported).expect("a good result").config;
    assert_eq!(config.io.relay_ports, (3479, 65_535));
    let backwards = try_import("max-port=5000\n").expect_err("49152 to 5000");
    assert!(
        backwards.to_string().contains("turnserver.conf:1:1"),
        "{backwards}"
    );
}

#[test]
fn without_listeners_of_a_kind_there_are_none() {
    let config = good("no-tcp\nno-tls\nno-dtls\ncert=/c\npkey=/k\nuser=a:b\n");
    assert!(config.listen.tcp.is_empty() && config.listen.tls.is_empty());
    assert!(config.tls.is_none());
    assert!(!config.io.udp.is_empty());
}

#[test]
fn certificates_are_sought_where_coturn_seeks_them() {
    let imported = imported(
        "cert=turn.pem\npkey=/keys/turn.key\ntls-listening-port=443\nlistening-ip=0.0.0.0\nuser=a:b\n",
    );
    assert!(
        imported.toml.contains("cert = \"/etc/turn.pem\"\n"),
        "{}",
        imported.toml
    );
    assert!(imported.toml.contains("key = \"/keys/turn.key\"\n"));
    assert!(imported.toml.contains("tls = [\"0.0.0.0:443\"]\n"));
    let report = loaded(&imported).expect_err("neither is there");
    assert_eq!(report.problems.len(), 2, "{report}");
    assert!(report.to_string().contains("no such file"), "{report}");
}

#[test]
fn a_tls_port_that_is_a_tcp_port_stays_one_listener() {
    let text = "listening-port=443\ntls-listening-port=443\ncert=/c\npkey=/k\nuser=a:b\n";
    let imported = imported(text);
    assert!(imported.toml.contains("tls = []\n"), "{}", imported.toml);
    let at = at(&imported, "tls-listening-port");
    assert!(at.remark.contains("takes TLS too"), "{at:?}");
}

#[test]
fn users_come_by_password_and_by_key_and_the_last_of_a_name_counts() {
    let imported = imported(
        "lt-cred-mech\nrealm=north.gov\nuser=alice:old\nuser=alice: s3cret:with colon\nuser=bob:0xBC807ee29df3c9ffa736523fb2c4e8ee\nuser=\"c d\":x\n",
    );
    assert!(
        imported.toml.contains("alice = \"s3cret:with colon\"\n"),
        "{}",
        imported.toml
    );
    assert!(
        imported
            .toml
            .contains("bob = \"key:bc807ee29df3c9ffa736523fb2c4e8ee\"\n")
    );
    assert_eq!(at(&imported, "user").fate, Fate::NotRead);
    assert!(at(&imported, "user").remark.contains("line 4"));
    let config = loaded(&imported).expect("a good result").config;
    assert_eq!(config.turn.realm, "north.gov");
    assert_eq!(config.turn.users.len(), 3);
    assert!(config.turn.auth_secrets.is_empty());
}

#[test]
fn where_there_are_shared_secrets_coturn_knows_no_users() {
    let imported = imported(
        "static-auth-secret=s3cret-1\nstatic-auth-secret=s3cret-2\nstatic-auth-secret=s3cret-1\nuser=alice:x\n",
    );
    let config = loaded(&imported).expect("a good result").config;
    let secrets: Vec<&str> = config
        .turn
        .auth_secrets
        .iter()
        .map(|s| s.expose())
        .collect();
    assert_eq!(secrets, ["s3cret-1", "s3cret-2"]);
    assert!(config.turn.users.is_empty());
    assert_eq!(at(&imported, "user").fate, Fate::NotRead);
}

#[test]
fn an_open_relay_becomes_one_that_nobody_can_use_and_that_is_said() {
    for text in [
        "",
        "no-auth\n",
        "lt-cred-mech\nuserdb=/var/lib/turn/turndb\n",
        "use-auth-secret\n",
    ] {
        let imported = imported(text);
        let config = loaded(&imported).expect("a good result").config;
        assert_eq!(config.turn.auth_secrets.len(), 1, "{text}");
        assert_eq!(config.turn.auth_secrets[0].expose(), "07".repeat(32));
        let said = format!("{:?}{:?}", imported.remarks, imported.settings);
        assert!(said.contains("auth_secret is a new one"), "{said}");
    }
    let imported = imported("no-auth\n");
    assert_eq!(at(&imported, "no-auth").fate, Fate::NoCounterpart);
}

#[test]
fn rates_quotas_and_lifetimes_keep_their_units() {
    let config = good(
        "user=a:b\nmax-bps=125000\nbps-capacity=0\nuser-quota=12\ntotal-quota=1200\nstale-nonce\nmax-allocate-lifetime=1800\nmax-allocate-timeout=30\nsock-buf-size=2097152\nunauthorized-ratelimit\n",
    );
    let limits = &config.turn.limits;
    assert_eq!(limits.bytes_per_s_per_allocation, 125_000);
    assert_eq!(limits.bytes_per_s_total, 0);
    assert_eq!(
        (limits.allocations_per_user, limits.allocations_total),
        (12, 1200)
    );
    assert_eq!(limits.unauthenticated_per_s_per_address, 10);
    assert_eq!(
        (config.turn.nonce_lifetime_s, config.turn.max_lifetime_s),
        (600, 1800)
    );
    assert_eq!(config.io.stream_idle_s, 30);
    assert_eq!(config.io.relay_buffer_bytes, 2 << 20);
    assert_eq!(config.io.listener_buffer_bytes, 2 << 20);
}

#[test]
fn what_is_out_of_bounds_here_is_fitted_and_said() {
    let text = "user=a:b\nmax-bps=64\nstale-nonce=0\nmax-allocate-lifetime=300\nsock-buf-size=1\nrelay-threads=0\n";
    let imported = imported(text);
    for key in ["max-bps", "stale-nonce", "sock-buf-size", "relay-threads"] {
        assert_eq!(at(&imported, key).fate, Fate::Remarked, "{key}");
    }
    let config = loaded(&imported).expect("a good result").config;
    assert_eq!(config.turn.limits.bytes_per_s_per_allocation, 1500);
    assert_eq!(config.turn.nonce_lifetime_s, 86_400);
    assert_eq!(
        (config.turn.default_lifetime_s, config.turn.max_lifetime_s),
        (300, 300)
    );
    assert_eq!(config.io.workers, 1);
}

#[test]
fn peers_that_coturn_allows_are_not_denied_here() {
    let config = good(
        "user=a:b\ndenied-peer-ip=0.0.0.0-255.255.255.255\ndenied-peer-ip=::ffff:0.0.0.0-::ffff:255.255.255.255\nallowed-peer-ip=10.1.2.3\nallowed-peer-ip=8.8.8.0-8.8.8.255\nallowed-peer-ip=127.0.0.1\n",
    );
    let judge = |rules: &IpRules, ip: &str| rules.judge(ip.parse().expect(ip)).permits();
    let rules = &config.turn.peers;
    for (ip, open) in [
        ("10.1.2.3", true),
        ("10.1.2.4", false),
        ("8.8.8.8", true),
        ("9.9.9.9", false),
        ("::ffff:8.8.8.8", true),
        // coturn denies loopback before it looks at what is allowed.
        ("127.0.0.1", false),
        ("2600::1", true),
    ] {
        assert_eq!(judge(rules, ip), open, "{ip}");
    }
    let imported = imported(
        "user=a:b\ndenied-peer-ip=::ffff:0.0.0.0-::ffff:255.255.255.255\ndenied-peer-ip=10.0.0.0-10.0.0.255\ndenied-peer-ip=9.9.9.9\nallowed-peer-ip=10.0.0.1\n",
    );
    let fates: Vec<Fate> = imported.settings.iter().map(|at| at.fate).collect();
    assert_eq!(
        fates,
        [
            Fate::Mapped,
            Fate::BuiltIn,
            Fate::Remarked,
            Fate::Mapped,
            Fate::Mapped
        ]
    );
    let config = good(
        "user=a:b\nallow-loopback-peers\nno-multicast-peers\nallowed-peer-ip=0.0.0.0-255.255.255.255\n",
    );
    for (ip, open) in [
        ("127.0.0.1", true),
        ("224.0.0.1", false),
        ("10.0.0.1", true),
        ("0.1.2.3", false),
    ] {
        assert_eq!(judge(&config.turn.peers, ip), open, "{ip}");
    }
}

#[test]
fn prefixes_that_coturn_does_not_read_close_and_never_open() {
    let imported = imported("user=a:b\ndenied-peer-ip=8.8.0.0/16\n");
    assert_eq!(at(&imported, "denied-peer-ip").fate, Fate::Remarked);
    assert!(
        imported.toml.contains("deny = [\"8.8.0.0/16\"]"),
        "{}",
        imported.toml
    );
    let report = try_import("allowed-peer-ip=10.0.0.0/8\n").expect_err("it opened nothing");
    assert!(report.to_string().contains("is a prefix"), "{report}");
}

#[test]
fn metrics_and_levels_follow_their_switches() {
    let config =
        good("user=a:b\nprometheus\nprometheus-port=9999\nprometheus-address=0.0.0.0\nVerbose\n");
    assert_eq!(
        config.admin.listen.map(|addr| addr.to_string()).as_deref(),
        Some("127.0.0.1:9999")
    );
    assert_eq!(config.log.level, "debug");
    let off = imported("user=a:b\nprometheus-port=9999\nlog-min-level=warning\n");
    assert_eq!(at(&off, "prometheus-port").fate, Fate::NotRead);
    assert_eq!(
        loaded(&off).expect("a good result").config.log.level,
        "warn"
    );
}

#[test]
fn the_log_goes_where_coturn_sent_it() {
    for (lines, expected) in [
        ("log-file=stdout\n", "to = \"stdout\""),
        ("log-file=/tmp/turn.log\n", "to = \"file:/tmp/turn.log\""),
        ("log-file=syslog\n", "to = \"stdout\""),
        ("log-file=/tmp/turn.log\nsyslog\n", "to = \"stdout\""),
    ] {
        let imported = imported(&format!("user=a:b\n{lines}"));
        assert!(imported.toml.contains(expected), "{}", imported.toml);
    }
    for (path, writable) in [
        ("/var/log/turn.log", false),
        ("/var/log/relayd.log", false),
        ("/var/log/relayd/turn.log", true),
    ] {
        let imported = imported(&format!("user=a:b\nlog-file={path}\n"));
        let remark = &at(&imported, "log-file").remark;
        let warned = remark.contains("only /var/log/relayd is writable");
        assert_eq!(warned, !writable, "{path}: {remark}");
    }
    let both = imported("user=a:b\nlog-file=/tmp/turn.log\nsyslog\n");
    assert_eq!(at(&both, "log-file").fate, Fate::NotRead);
    assert_eq!(at(&both, "syslog").fate, Fate::Remarked);
}

#[test]
fn a_key_that_is_set_again_counts_by_its_last_line() {
    let imported = imported(
        "realm=one\nrealm=two\nno-udp\nno-udp=false\nexternal-ip=198.51.100.7\nexternal-ip=198.51.100.8\nuser=a:b\n",
    );
    let config = loaded(&imported).expect("a good result").config;
    assert_eq!(config.turn.realm, "two");
    assert!(!config.io.udp.is_empty());
    assert_eq!(at(&imported, "realm").fate, Fate::NotRead);
    // Of this one coturn takes the first.
    assert!(
        imported.toml.contains("external_ip = [\"198.51.100.7\"]"),
        "{}",
        imported.toml
    );
}

#[test]
fn all_bad_lines_are_reported_at_once_with_their_places_and_without_secrets() {
    let text = "realms=s3cret-typo\n\nlistening-port=https\nuser=alice s3cret\nstatic-auth-secrt=s3cret\nno-tls=perhaps\nalice:s3cret\nuser=x:0xs3cret\nmax-bps=64k\nexternal-ip=turn.example.com\nwhat-is-this\nuser=a:file:s3cret\n";
    let report = try_import(text).expect_err("bad lines");
    let shown = format!(
        "{report}\n{report:?}{}",
        serde_json::to_string(&report).expect("JSON")
    );
    assert!(!shown.contains(SECRET), "{shown}");
    let places: Vec<(usize, usize)> = report
        .problems
        .iter()
        .map(|problem| {
            problem
                .place
                .as_ref()
                .map_or((0, 0), |at| (at.line, at.column))
        })
        .collect();
    assert_eq!(
        places,
        [
            (1, 1),
            (3, 16),
            (4, 6),
            (5, 1),
            (6, 8),
            (7, 1),
            (8, 6),
            (9, 9),
            (10, 13),
            (11, 1),
            (12, 6)
        ]
    );
    for part in [
        "did you mean `realm`?",
        "did you mean `static-auth-secret`?",
        "`listening-port` is not a whole number",
        "`user` has no colon",
        "3 | listening-port=https",
        "8 | user=***",
        "delete the line, or put a # before it",
    ] {
        assert!(report.to_string().contains(part), "{part}: {report}");
    }
}

#[test]
fn comments_behind_values_are_read_as_they_are_meant_and_remarked() {
    let imported = imported(
        "lt-cred-mech # as before\r\nlistening-port=3479 # TURN\r\nuser-quota=5;\r\nuser=a:b # c\r\n\r\n# end",
    );
    let config = loaded(&imported).expect("a good result").config;
    assert_eq!(config.io.udp[0].port(), 3479);
    assert_eq!(config.turn.limits.allocations_per_user, 5);
    assert_eq!(at(&imported, "listening-port").fate, Fate::Remarked);
    // A password may have it, and coturn takes it so.
    assert!(imported.toml.contains("a = \"b # c\""), "{}", imported.toml);
}

#[test]
fn agoras_own_list_of_users_is_known_by_its_form() {
    let imported = imported("test=4E6B6670550a05bffb03a4cdd060b4ae\n\n");
    assert!(
        imported
            .toml
            .contains("test = \"key:4e6b6670550a05bffb03a4cdd060b4ae\"")
    );
    assert!(loaded(&imported).is_ok());
    // Beside coturn's keys it is a mistake.
    let report = try_import("realm=x\ntest=4e6b6670550a05bffb03a4cdd060b4ae\n").expect_err("mixed");
    assert!(report.to_string().contains("`user=test:0x…`"), "{report}");
}

#[test]
fn secrets_go_into_files_of_their_own_on_request() {
    let text =
        "user=alice:s3cret\nuser=../x:s3cret-2\nuser=bob:0x00112233445566778899aabbccddeeff\n";
    let options = options(Secrets::Files("/etc/relayd/secrets/".into()));
    let imported = import(text.as_bytes(), &options, &mut Steady(0)).expect("a good file");
    assert!(!imported.toml.contains(SECRET), "{}", imported.toml);
    assert!(
        imported
            .toml
            .contains("alice = \"file:/etc/relayd/secrets/user-alice\"")
    );
    let names: Vec<&str> = imported
        .files
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["user-alice", "user-1", "user-bob"]);
    assert_eq!(
        imported.files[2].1.expose(),
        "key:00112233445566778899aabbccddeeff"
    );
}

/// Lines of known keys with values that nobody foresaw, and lines of anything.
fn any_line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS).prop_map(|key| key.name);
    const VALUES: &[&str] = &[
        "",
        "0",
        "1",
        "120",
        "65535",
        "10.0.0.1",
        "::1-::ffff",
        "a:b",
        "a:0x00112233445566778899aabbccddeeff",
        "on",
        "127.0.0.1:1",
        "1.2.3.4/5.6.7.8",
    ];
    let value = prop_oneof![
        any::<String>(),
        prop::sample::select(VALUES).prop_map(str::to_owned)
    ];
    prop_oneof![
        6 => (key, "[ =\t]{0,3}", value).prop_map(|(key, separator, value)| format!("{key}{separator}{value}")),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_imported_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        match import(&bytes, &options(Secrets::Inline), &mut Steady(1)) {
            Ok(imported) => prop_assert!(imported.toml.parse::<toml::Table>().is_ok()),
            Err(report) => prop_assert!(!report.problems.is_empty()),
        }
    }

    #[test]
    fn whatever_is_imported_is_toml_that_relayd_can_read(lines in prop::collection::vec(any_line(), 0..12)) {
        let text = lines.join("\n");
        let Ok(imported) = try_import(&text) else {
            return Ok(());
        };
        prop_assert!(imported.toml.parse::<toml::Table>().is_ok(), "{}", imported.toml);
        if let Err(report) = loaded(&imported) {
            // Files that are not there, and a file that turns everything off.
            let mut problems = report.problems.iter().map(|problem| problem.message.as_str());
            let known = ["that cannot be read", "`log.to`", "has no listener", "does not name a file", "holds the port of the UDP listener", "both listen on port"];
            prop_assert!(problems.all(|text| known.iter().any(|part| text.contains(part))), "{}\n{}", imported.toml, report);
        }
    }
}

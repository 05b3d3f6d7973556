//! Debian's stock file, and the settings that the vendors' guides have: each becomes what `relayd check` takes.
//!
//! Of the guides the settings alone are here, with addresses and passwords of our own. Azure's names coturn without any
//! settings; its example clients use port 3478 over UDP and TCP with a name and password.

use super::Move;
use super::network;
use super::support::stun;
use relayd::import::KEYS;

pub const STOCK: &str = "/etc/turnserver.conf";

/// Tencent's script for CentOS; the address is the server's public one, or inside a company its private one.
pub const TRTC: &str = "external-ip=9.9.9.9\nlistening-port=3478\nlt-cred-mech\nmax-port=65535\nmin-port=20000\nno-dtls\nno-tls\nrealm=tencent\nuser=turn:turn\nverbose\n";

/// Agora's guide runs a server of Agora's own, with UDP on 3478, TCP on 3433 and users by their MD5; the same for coturn.
pub fn agora() -> String {
    format!(
        "external-ip=9.9.9.9\nlistening-port=3478\naux-server=127.0.0.1:3433\nlt-cred-mech\nrealm=agora.io\nuser=test:0x{}\n",
        key("test", "agora.io", "agoras")
    )
}

/// That server's own file: a name and the MD5 of name, realm and password in each line.
pub fn agoras_users() -> String {
    format!("test={}\n\n", key("test", "agora.io", "agoras"))
}

/// The stock file with what Azure's example clients need.
pub fn azure() -> String {
    format!(
        "{}\nlt-cred-mech\nrealm=turn.example.com\nuser=turnserver1username:turnserver1credential\n",
        stock()
    )
}

pub fn stock() -> String {
    std::fs::read_to_string(STOCK)
        .unwrap_or_else(|error| panic!("{STOCK}: {error}; install coturn, as tests/run.sh does"))
}

fn key(user: &str, realm: &str, password: &str) -> String {
    let key = stun::key_md5(user, realm, password);
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn debians_stock_file_becomes_a_relay_that_is_not_open() {
    const NAME: &str = "guides::debians_stock_file_becomes_a_relay_that_is_not_open";
    network::alone(NAME, &["9.9.9.9/32"], || {
        let moved = Move::of(&stock());
        let ended = moved.import_and_check();
        ended.assert_says(&[
            "auth_secret is a new one that nobody has",
            "No certificate is named",
        ]);
        let toml = moved.toml();
        assert!(
            toml.contains("udp = [\"0.0.0.0:3478\", \"[::]:3478\"]"),
            "{toml}"
        );
        assert!(toml.contains("tls = []"), "{toml}");
    });
}

/// Both what it sets and what it offers behind a `#`.
#[test]
fn every_key_that_debians_stock_file_shows_is_known() {
    let stock = stock();
    let word = |line: &str| -> Option<String> {
        let text = line.strip_prefix('#').unwrap_or(line).trim_end();
        let (key, _) = text.split_once('=').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_key = key.len() > 2 && key.chars().all(plain);
        is_key.then(|| key.to_owned())
    };
    let shown: Vec<String> = stock.lines().filter_map(word).collect();
    assert!(shown.len() > 90, "{shown:?}");
    let unknown = shown
        .iter()
        .filter(|name| !KEYS.iter().any(|key| key.name == *name));
    let unknown: Vec<&String> = unknown.collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_settings_of_the_vendors_guides_are_taken_over() {
    const NAME: &str = "guides::the_settings_of_the_vendors_guides_are_taken_over";
    network::alone(NAME, &["9.9.9.9/32", "10.0.0.4/32"], || {
        let moved = Move::of(TRTC);
        let ended = moved.import_and_check();
        ended.assert_says(&[
            "10 lines: 8 mapped, 0 mapped with a remark, 2 as relayd always does, 0 without",
        ]);
        let toml = moved.toml();
        for line in [
            "external_ip = [\"9.9.9.9\"]",
            "relay_ports = \"20000-65535\"",
            "realm = \"tencent\"",
            "turn = \"turn\"",
        ] {
            assert!(toml.contains(line), "{line}: {toml}");
        }
        // The guide's other plan: the server is inside the company.
        Move::of(&TRTC.replace("9.9.9.9", "10.0.0.4")).import_and_check();

        let moved = Move::of(&agora());
        moved.import_and_check();
        assert!(moved.toml().contains("127.0.0.1:3433"), "{}", moved.toml());
        let ended = Move::of(&agoras_users()).import_and_check();
        ended.assert_says(&["a user of Agora's turnserver, by its key"]);

        let moved = Move::of(&azure());
        moved.import_and_check();
        assert!(
            moved.toml().contains("turnserver1username = "),
            "{}",
            moved.toml()
        );
    });
}

//! The command line of the real binary: what it prints where, and its exit codes.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const VALID: &str = "[server]\ndomain = \"relay.example.com\"\n[tls]\nself_signed = true\n\
                     [turn]\nusers = { alice = \"s3cret-one\" }\nauth_secret = [\"s3cret-two\", \"s3cret-three\"]\n\
                     [turn.peers]\nallow = \"10.0.0.0/8\"\n";

#[test]
fn check_of_a_valid_file_prints_the_plan_without_a_secret_and_ends_with_0() {
    let file = file(VALID);
    let output = relayd(&[
        "check",
        "--config",
        &file,
        "--peer",
        "10.1.2.3",
        "--peer",
        "127.0.0.1:80",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    for part in [
        "listeners of relay.example.com",
        "udp  0.0.0.0:3478",
        "users: 1, secrets for time-limited credentials: 2",
        "10.1.2.3: allowed by the configured allow 10.0.0.0/8",
        "127.0.0.1:80: denied",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("s3cret") && !stderr(&output).contains("s3cret"));
}

#[test]
fn check_of_a_bad_file_prints_every_problem_and_ends_with_64() {
    let file = file("[turn]\nrelay_ports = \"65535-49152\"\nusers = { alice = 5 }\n[prxy]\n");
    let output = relayd(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let text = stdout(&output);
    for part in [
        "error: `turn.relay_ports` runs backwards",
        ":2:15\n",
        "error: `turn.users.alice` has the wrong type",
        "error: unknown key `prxy`",
        "did you mean `proxy`?",
        "error: `listen.tls` has listeners, but there is no certificate",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn check_prints_json_for_machines() {
    let good = file(VALID);
    let output = relayd(&["check", "--json", "--peer", "8.8.8.8", "--config", &good]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["ok"], true);
    assert_eq!(json["plan"]["credentials"]["users"], 1);
    assert_eq!(json["peers"][0]["allowed"], true);
    assert!(!stdout(&output).contains("s3cret"));

    let bad = file("x = 1");
    let output = relayd(&["check", "--json", "--config", &bad]);
    assert_eq!(output.status.code(), Some(64));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"][0]["message"], "unknown key `x`");
    assert_eq!(json["problems"][0]["place"]["line"], 1);
}

#[test]
fn check_without_a_file_looks_at_the_first_try() {
    let output = relayd(&["check", "--tls-port", "18443"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("tls  0.0.0.0:18443"), "{text}");
    assert!(text.contains("the test page is at /"), "{text}");
}

#[test]
fn serving_a_bad_file_ends_with_64_and_the_report_on_standard_error() {
    for file in [file("[turn"), "/nonexistent/relay.toml".to_owned()] {
        let output = relayd(&["--config", &file]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).contains("error: "), "{output:?}");
    }
}

#[test]
fn bad_usage_ends_with_64_and_help_with_0() {
    for line in [
        &["--nonsense"][..],
        &["chekc"],
        &["check", "--peer", "nobody"],
        &["credential"],
        &["credential", "alice", "--ttl", "soon"],
        &["vendors", "azur"],
        &["vendors", "--toml"],
    ] {
        let output = relayd(line);
        assert_eq!(output.status.code(), Some(64), "{line:?} {output:?}");
        assert!(!stderr(&output).is_empty());
    }
    for line in [
        &["--help"][..],
        &["--version"],
        &["version"],
        &["check", "--help"],
    ] {
        let output = relayd(line);
        assert_eq!(output.status.code(), Some(0), "{line:?} {output:?}");
        assert!(!stdout(&output).is_empty());
    }
}

#[test]
fn vendors_are_listed_shown_and_printed_as_configuration_that_check_accepts() {
    let list = stdout(&relayd(&["vendors"]));
    let azure = stdout(&relayd(&["vendors", "azure"]));
    assert!(azure.contains("*.skype.com"), "{azure}");
    assert!(azure.contains("documentation: https://"), "{azure}");
    for name in [
        "azure",
        "agora",
        "trtc",
        "trtc-international",
        "watchrtc",
        "vonage",
        "daily",
        "livekit",
    ] {
        assert!(list.contains(&format!("  {name} ")), "{list}");
        let output = relayd(&["vendors", name, "--toml"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let file = file(&format!("{VALID}{}", stdout(&output)));
        let check = relayd(&["check", "--config", &file]);
        assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    }
}

#[test]
fn an_upstream_whose_last_label_is_a_number_ends_with_64() {
    for proxy in [
        "allow = \"a.0x1f\"",
        "route = [{ prefix = \"/ws/\", upstream = \"https://a.0x1f/\" }]",
    ] {
        let file = file(&format!("{VALID}[proxy]\n{proxy}\n"));
        let output = relayd(&["check", "--config", &file]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(
            stdout(&output).contains("this is an IP address"),
            "{output:?}"
        );
    }
}

#[test]
fn default_config_is_the_reference_and_its_own_check_asks_for_what_is_missing() {
    let output = relayd(&["default-config"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert_eq!(text, include_str!("../config/relay.toml"));
    let file = file(&text);
    let check = stdout(&relayd(&["check", "--config", &file]));
    assert!(check.contains("there is no certificate"), "{check}");
    assert!(check.contains("neither users nor a secret"), "{check}");
}

/// TURN REST: user name `expiry:name`, password base64(HMAC-SHA1(secret, user name)).
#[test]
fn credential_is_made_with_the_first_secret() {
    let file = file(VALID);
    let output = relayd(&[
        "credential",
        "bob",
        "--ttl",
        "2h",
        "--json",
        "--config",
        &file,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let username = json["username"].as_str().expect("a name");
    let (expiry, name) = username.split_once(':').expect("expiry:name");
    assert_eq!(name, "bob");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let expiry: u64 = expiry.parse().expect("seconds");
    assert!((now + 6600..=now + 7200).contains(&expiry));

    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        b"s3cret-two",
    );
    use base64::Engine;
    let expected = base64::engine::general_purpose::STANDARD
        .encode(aws_lc_rs::hmac::sign(&key, username.as_bytes()));
    assert_eq!(json["password"], expected);

    let text = stdout(&relayd(&["credential", "bob", "--config", &file]));
    assert!(
        text.contains("username  ") && text.contains("good for  1h"),
        "{text}"
    );
}

#[test]
fn credential_without_a_secret_ends_with_64_and_says_what_to_do() {
    let file = file("[tls]\nself_signed = true\n[turn]\nusers = { alice = \"s3cret\" }\n");
    for line in [
        &["credential", "bob"][..],
        &["credential", "bob", "--config", &file],
    ] {
        let output = relayd(line);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(stderr(&output).contains("= help: "), "{output:?}");
    }
}

const SNIPPETS: &str = "[server]\ndomain = \"relay.example.com\"\nexternal_ip = \"8.8.4.4\"\n[tls]\nself_signed = true\n\
     [turn]\nusers = { alice = \"wonder\", bob = \"key:00112233445566778899aabbccddeeff\" }\nauth_secret = \"s3cret-two\"\n\
     [proxy]\nvendors = [\"azure\", \"agora\"]\nprefixes = \"/rtc\"\n";

#[test]
fn snippet_prints_every_sdk_of_a_vendor_or_one_with_the_users_password() {
    let file = file(SNIPPETS);
    let output = relayd(&["snippet", "azure", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = stdout(&output);
    for part in [
        "new CallClient({",
        "proxy: { url: \"https://relay.example.com\" }",
        "import AzureCommunicationCalling",
        "iceServer.setUrls(Arrays.asList(\"turn:8.8.4.4\"));",
        "using Azure.Communication.Calling.WindowsClient;",
        "// Note: ",
    ] {
        assert!(all.contains(part), "{part} is not in\n{all}");
    }
    assert_eq!(all.matches("wonder").count(), 4, "{all}");
    assert!(!all.contains("PROBLEM"), "{all}");

    let line = [
        "snippet",
        "azure",
        "--flavour",
        "ios",
        "--prefix",
        "rtc/",
        "--config",
        &file,
    ];
    let ios = stdout(&relayd(&line));
    assert!(
        ios.starts_with("// Azure") && !ios.contains("CallNetworkOptions callNetwork"),
        "{ios}"
    );
    assert!(
        ios.contains("proxyUrl = \"https://relay.example.com/rtc\""),
        "{ios}"
    );
}

#[test]
fn snippet_says_what_is_missing_in_the_configuration() {
    let file = file(SNIPPETS);
    let output = relayd(&["snippet", "daily", "--user", "bob", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(
        text.contains("// PROBLEM: proxy.vendors does not have \"daily\""),
        "{text}"
    );
    assert!(
        text.contains("has the key of bob") && text.contains("YOUR_TURN_PASSWORD"),
        "{text}"
    );
}

#[test]
fn snippet_makes_a_time_limited_credential_and_prints_json() {
    let file = file(SNIPPETS);
    let line = [
        "snippet", "webrtc", "--ttl", "8h", "--user", "carol", "--json", "--config", &file,
    ];
    let output = relayd(&line);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let one = &json[0];
    assert_eq!(
        (one["vendor"].as_str(), one["flavour"].as_str()),
        (Some("webrtc"), Some("web"))
    );
    let code = one["code"].as_str().expect("code");
    assert!(
        code.contains(":carol\",\n") && !code.contains("s3cret"),
        "{code}"
    );
    assert!(
        one["note"]
            .as_str()
            .expect("a note")
            .contains("good for 8h"),
        "{one}"
    );
}

#[test]
fn snippet_without_a_file_has_a_placeholder_for_the_password_of_the_first_try() {
    let output = relayd(&["snippet", "trtc", "--tls-port", "18443"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(
        text.contains(":18443/ws/\"") && text.contains("YOUR_TURN_PASSWORD"),
        "{text}"
    );
    assert!(
        text.contains("\"demo\"") && !text.contains("of no use"),
        "{text}"
    );
}

#[test]
fn snippet_refuses_what_it_does_not_know_and_names_what_there_is() {
    let file = file(SNIPPETS);
    for (line, said) in [
        (&["snippet", "zoom"][..], "accepted: webrtc, azure"),
        (&["snippet"], "--list"),
        (
            &["snippet", "azure", "--flavour", "linux"],
            "one of: web, ios, android, windows",
        ),
        (
            &["snippet", "azure", "--user", "dave", "--config", &file],
            "known: alice, bob",
        ),
        (
            &["snippet", "azure", "--prefix", "/x", "--config", &file],
            "prefixes = [\"/x\"]",
        ),
        (&["snippet", "azure", "--ttl", "1h"], "auth_secret"),
        (
            &["snippet", "azure", "--config", "/nonexistent"],
            "cannot read",
        ),
    ] {
        let output = relayd(line);
        assert_eq!(output.status.code(), Some(64), "{line:?} {output:?}");
        assert!(
            stderr(&output).contains(said),
            "{said}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
    let list = stdout(&relayd(&["snippet", "--list"]));
    for part in [
        "azure     android ",
        "agora     web-3 ",
        "trtc      v5 ",
        "livekit   web ",
    ] {
        assert!(list.contains(part), "{part} is not in\n{list}");
    }
    let json = relayd(&["snippet", "--list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json[1]["flavours"][1]["name"], "ios");
}

/// A person without a file who finds the port taken must know by whom, and how to go on.
#[test]
fn a_first_try_whose_port_is_taken_names_the_holder_and_the_way_out() {
    let (_tcp, tcp) = outside_the_relay_range(|| {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("bound").port();
        (socket, port)
    });
    let (_udp, udp) = outside_the_relay_range(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("bound").port();
        (socket, port)
    });
    let holder = format!("(pid {})", std::process::id());
    for [turn, tls, admin] in [
        [tcp.as_str(), "0", "0"],
        ["0", &tcp, "0"],
        ["0", "0", &tcp],
        [&udp, "0", "0"],
    ] {
        let output = relayd(&[
            "--turn-port",
            turn,
            "--tls-port",
            tls,
            "--admin-port",
            admin,
        ]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = stderr(&output);
        assert!(text.contains("error: cannot listen on "), "{text}");
        assert!(text.contains(&holder), "{text}");
        assert!(
            text.contains("--turn-port, --tls-port and --admin-port"),
            "{text}"
        );
    }
}

/// A bound socket and its port; relayed ports of the first try begin at 49152.
fn outside_the_relay_range<S>(bind: impl Fn() -> (S, u16)) -> (S, String) {
    let mut tried = Vec::new();
    loop {
        let (socket, port) = bind();
        if port < 49152 {
            return (socket, port.to_string());
        }
        assert!(tried.len() < 1000, "no port below 49152 is free");
        tried.push(socket);
    }
}

fn relayd(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relayd"))
        .args(line)
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes a configuration that only its owner may read.
fn file(text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("relayd-cli-{}-{count}.toml", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a file");
    let permissions = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, permissions).expect("a mode");
    path.display().to_string()
}

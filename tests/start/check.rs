//! `relayd check` on whole files: the published ones have nothing against them, and what will surprise their owner is
//! said beforehand. In networks with public addresses of their own, which get no packet.

use super::network;
use super::process::{Ended, Serving, relayd, run};
use super::site::{DOMAIN, GOOD, Site};
use super::web::certs::Validity;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Public, so that nothing is to be said about it; on the loopback interface of the test's network.
const PUBLIC: &str = "9.9.9.9/32";

fn check(site: &Site) -> Ended {
    let mut command = relayd();
    command
        .args(["check", "--json", "--config"])
        .arg(site.toml());
    command.env("ALICE_PASSWORD", "s3cret-in-variable");
    command.env("RELAYD_SECRET", "s3cret-too");
    run(&mut command)
}

/// Messages of errors and warnings; not the one that the machine, not the file, deserves.
fn problems(ended: &Ended) -> Vec<String> {
    let problems = ended.json()["problems"].clone();
    let messages = problems.as_array().expect("a list").iter();
    let text = |problem: &Value| problem["message"].as_str().expect("text").to_owned();
    messages
        .map(text)
        .filter(|message| !message.contains("limits UDP receive buffers"))
        .collect()
}

fn assert_clean(site: &Site) -> Value {
    let ended = check(site);
    assert_eq!(problems(&ended), [""; 0], "{ended:#?}");
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.json()["plan"].clone()
}

/// One warning that has `part` in it, and nothing else to say.
fn assert_warns(site: &Site, part: &str) {
    let ended = check(site);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let problems = problems(&ended);
    assert!(
        matches!(&problems[..], [only] if only.contains(part)),
        "{part:?} in {problems:#?}"
    );
}

#[test]
fn the_reference_with_certificate_and_user_has_no_problem() {
    const NAME: &str = "check::the_reference_with_certificate_and_user_has_no_problem";
    network::alone(NAME, &[PUBLIC], || {
        let site = Site::new();
        let mut text = include_str!("../../config/relay.toml").to_owned();
        for line in ["domain = ", "cert = ", "key = ", "users = "] {
            let commented = format!("\n#{line}");
            assert!(text.contains(&commented), "{line}");
            text = text.replacen(&commented, &format!("\n{line}"), 1);
        }
        site.write("relay.toml", &text);
        let plan = assert_clean(&site);
        assert_eq!(plan["domain"], DOMAIN);
        assert_eq!(plan["relay"]["addresses"][0]["own"], "9.9.9.9");
    });
}

#[test]
fn the_examples_have_no_problem_once_their_files_and_variables_are_there() {
    const NAME: &str =
        "check::the_examples_have_no_problem_once_their_files_and_variables_are_there";
    network::alone(NAME, &[PUBLIC, "10.0.0.4/32"], || {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
        let mut count = 0;
        for entry in std::fs::read_dir(examples).expect("examples") {
            let path = entry.expect("an entry").path();
            let site = Site::new();
            site.write("secret", "s3cret-in-file\n");
            let text = std::fs::read_to_string(&path).expect("text");
            let text = text
                .replace("/etc/letsencrypt/live/relay.example.com/", "")
                .replace("/etc/relayd/", "")
                // The address stands for a public one, and is one of those that are kept for documents.
                .replace("203.0.113.7", "9.9.9.9");
            site.write("relay.toml", &text);
            println!("{}", path.display());
            assert_clean(&site);
            count += 1;
        }
        assert!(count >= 3, "{count} examples");
    });
}

#[test]
fn the_configuration_of_these_tests_has_no_problem() {
    assert_clean(&Site::new());
}

#[test]
fn a_turn_port_that_browsers_refuse_is_warned_about() {
    for key in ["udp", "tcp", "tls"] {
        let old = format!("{key} = [\"127.0.0.1:0\"]");
        let refused = Site::with(&[(&old, &format!("{key} = [\"127.0.0.1:853\"]"))]);
        assert_warns(&refused, "browsers refuse TURN on port 853");
        for good in [53, 80, 443, 1024, 3478] {
            let site = Site::with(&[(&old, &format!("{key} = [\"127.0.0.1:{good}\"]"))]);
            assert_clean(&site);
        }
    }
}

#[test]
fn a_private_relayed_address_without_an_external_one_is_warned_about() {
    const NAME: &str = "check::a_private_relayed_address_without_an_external_one_is_warned_about";
    network::alone(NAME, &["10.0.0.4/32"], || {
        let wildcard = ("udp = [\"127.0.0.1:0\"]", "udp = [\"0.0.0.0:3478\"]");
        assert_warns(
            &Site::with(&[wildcard]),
            "clients will be told the private relayed address 10.0.0.4",
        );
        let external = (
            "[server]\n",
            "[server]\nexternal_ip = \"9.9.9.9/10.0.0.4\"\n",
        );
        let plan = assert_clean(&Site::with(&[wildcard, external]));
        let addresses = plan["relay"]["addresses"]
            .as_array()
            .expect("a list")
            .clone();
        let told = addresses
            .iter()
            .find(|address| address["own"] == "10.0.0.4");
        assert_eq!(told.expect("it is used")["external"], "9.9.9.9");
    });
}

#[test]
fn a_certificate_that_ends_soon_or_has_ended_or_is_for_another_name_is_warned_about() {
    let days = |from_day, to_day| Validity { from_day, to_day };
    for (names, validity, wanted) in [
        (
            ["relay.example.com"],
            days(-1, 5),
            "the certificate expires in ",
        ),
        (
            ["relay.example.com"],
            days(-9, -2),
            "the certificate expired at ",
        ),
        (
            ["relay.example.com"],
            days(3, 90),
            "the certificate is not valid before ",
        ),
        (
            ["other.example.com"],
            days(-1, 90),
            "the certificate is for other.example.com, not for relay.example.com",
        ),
    ] {
        let site = Site::new();
        site.certify(&names, validity);
        assert_warns(&site, wanted);
    }
    let site = Site::new();
    site.certify(&["*.example.com"], Validity::default());
    assert_clean(&site);
}

#[test]
fn a_chain_without_its_intermediate_and_files_that_everybody_reads_are_warned_about() {
    let site = Site::new();
    let chain = std::fs::read_to_string(site.path("fullchain.pem")).expect("a chain");
    let mark = "-----END CERTIFICATE-----\n";
    let leaf = chain.split_inclusive(mark).next().expect("a leaf");
    site.write("fullchain.pem", leaf);
    assert_warns(&site, "the certificate file ends before");

    for (name, part) in [
        ("privkey.pem", "privkey.pem can be read by every user"),
        (
            "relay.toml",
            "holds secrets, and everybody on this machine may read it",
        ),
    ] {
        let site = Site::new();
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(site.path(name), mode).expect("a mode");
        assert_warns(&site, part);
    }
}

#[test]
fn small_receive_buffers_of_this_machine_are_warned_about_when_more_is_asked_for() {
    let rmem_max = std::fs::read_to_string("/proc/sys/net/core/rmem_max");
    let rmem_max: u64 = match rmem_max.map(|text| text.trim().parse()) {
        Ok(Ok(bytes)) => bytes,
        // A machine that does not tell is not judged; the rule itself has a test beside it.
        Ok(Err(_)) | Err(_) => return,
    };
    for (asked, warned) in [(rmem_max + 1, true), (rmem_max, false)] {
        let asked = format!("udp_buffer_bytes = {asked}");
        let site = Site::with(&[("udp_buffer_bytes = \"64KiB\"", &asked)]);
        let ended = check(&site);
        assert_eq!(
            ended.stdout.contains("limits UDP receive buffers"),
            warned,
            "{ended:#?}"
        );
    }
}

/// A server that starts with warnings says them on standard error, and the log keeps to its format.
#[test]
fn warnings_of_a_start_are_on_standard_error() {
    let site = Site::new();
    site.certify(&["other.example.com"], Validity::default());
    let script = "exec \"$0\" --config \"$1\" 2>\"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_relayd")]);
    command.arg(site.toml()).arg(site.path("stderr"));
    let mut serving = Serving::start(&mut command, "\"serving\"");
    assert_eq!(serving.stop(), Some(0));
    let stderr = std::fs::read_to_string(site.path("stderr")).expect("it was made");
    assert_eq!(
        stderr.matches("not for relay.example.com").count(),
        1,
        "{stderr}"
    );
    for line in &serving.seen {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

/// The number of the start-up line and of `relayd check`, whatever sets it.
#[test]
fn start_and_check_tell_the_same_number_of_allocations() {
    for (open_files, ports, setting, deciding) in [
        (None, "50000-50099", 0, "by_ports"),
        (Some(500), "49152-65535", 0, "by_open_files"),
        (None, "49152-65535", 7, "by_setting"),
    ] {
        let limits = format!("{ports}\"\nlimits = {{ allocations_total = {setting} }}");
        let site = Site::with(&[("61000-65535\"", &limits)]);
        let limited = |line: &[&str]| {
            let limit = open_files.map_or(String::new(), |files| format!("ulimit -n {files} && "));
            let mut command = Command::new("setpriv");
            // Without the privilege to raise the hard limit again.
            command.args([
                "--bounding-set=-sys_resource",
                "--inh-caps=-sys_resource",
                "sh",
                "-c",
            ]);
            command.arg(format!("{limit}exec \"$0\" \"$@\""));
            command.arg(env!("CARGO_BIN_EXE_relayd")).args(line);
            command.arg("--config").arg(site.toml());
            command
        };
        let checked = run(&mut limited(&["check", "--json"]));
        let allocations = checked.json()["plan"]["relay"]["allocations"].clone();
        let max = allocations["max"].as_u64().expect("a number");
        assert_eq!(allocations[deciding], max, "{allocations}");
        let mut serving = Serving::start(&mut limited(&[]), "\"serving\"");
        let line = serving.seen.last().expect("that line");
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["allocations_max"], max, "{line}");
        assert_eq!(serving.stop(), Some(0));
    }
}

#[test]
fn the_good_configuration_is_good_in_text_too() {
    let site = Site::new();
    assert!(GOOD.contains("s3cret"));
    let ended = run(relayd().args(["check", "--config"]).arg(site.toml()));
    assert!(
        ended.stdout.contains(": no problems") || ended.stdout.contains(": 1 warning"),
        "{ended:#?}"
    );
    assert!(ended.stdout.contains("users: 1"), "{ended:#?}");
}

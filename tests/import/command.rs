//! What the command prints, writes and refuses, and that no secret is in what it says.

use super::Move;
use super::process::SECRET_MARK;
use super::process::{relayd, run};
use super::web::certs::Authority;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const SETTINGS: &str = "listening-port=3478\nrealm=example.org\nuser=alice:s3cret-of-alice\nstale-nonce\nno-sslv3\nno-loopback-peers\nlistening-device=eth0\ncli-password=s3cret-of-cli\npsql-userdb=\"host=h password=s3cret-of-psql\"\n";

fn mode(path: &std::path::Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("a file");
    metadata.permissions().mode() & 0o777
}

#[test]
fn the_account_names_every_line_and_shows_no_secret() {
    let moved = Move::of(SETTINGS);
    let ended = moved.import_and_check();
    ended.assert_says(&[
        "turnserver.conf:5: no-sslv3: built in: ",
        "turnserver.conf:7: listening-device: no counterpart: ",
        "turnserver.conf:8: cli-password: no counterpart: ",
        "turnserver.conf:9: psql-userdb: no counterpart: ",
        "9 lines: 4 mapped, 0 mapped with a remark, 2 as relayd always does, 3 without a counterpart, 0 that coturn does not go by",
        "accepts the result",
        "turn.peers.allow",
    ]);
    assert_eq!(ended.stdout, "");
    let toml = moved.toml();
    assert!(
        toml.contains("# line 3: user\nalice = \"s3cret-of-alice\"\n"),
        "{toml}"
    );
    assert_eq!(toml.matches(SECRET_MARK).count(), 1, "{toml}");
    assert_eq!(mode(&moved.path("relay.toml")), 0o600);
}

#[test]
fn the_result_goes_to_standard_output_and_the_account_beside_it() {
    let moved = Move::of("user=alice:hers\n");
    let ended = moved.import(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("alice = \"hers\"\n"), "{ended:#?}");
    assert!(!ended.stderr.contains("hers"), "{ended:#?}");
    let empty = run(relayd().args(["import-coturn", "-"]));
    assert_eq!(empty.code, Some(0), "{empty:#?}");
    assert!(empty.stdout.contains("auth_secret = ["), "{empty:#?}");
    moved.dir.write("relay.toml", &ended.stdout);
    let check = run(relayd()
        .args(["check", "--config"])
        .arg(moved.path("relay.toml")));
    assert_eq!(check.code, Some(0), "{check:#?}");
}

#[test]
fn json_has_the_fate_of_each_line_and_no_secret() {
    let moved = Move::of(SETTINGS);
    let ended = moved.import(&["--json"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let account = ended.json();
    let fates: Vec<(&str, &str)> = account["lines"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| {
            (
                line["key"].as_str().expect("text"),
                line["fate"].as_str().expect("text"),
            )
        })
        .collect();
    assert_eq!(
        fates,
        [
            ("listening-port", "mapped"),
            ("realm", "mapped"),
            ("user", "mapped"),
            ("stale-nonce", "mapped"),
            ("no-sslv3", "built-in"),
            ("no-loopback-peers", "built-in"),
            ("listening-device", "no-counterpart"),
            ("cli-password", "no-counterpart"),
            ("psql-userdb", "no-counterpart"),
        ]
    );
    assert_eq!(account["lines"][1]["to"][0], "turn.realm");
    assert_eq!(account["check"]["ok"], true);
    assert_eq!(account["output"], Value::Null);
    assert!(!moved.path("relay.toml").exists());
}

#[test]
fn nothing_is_replaced_unless_it_is_asked_for() {
    let moved = Move::of("user=alice:s3cret\n");
    moved.dir.write("relay.toml", "mine");
    let ended = moved.import(&["-o", "relay.toml", "--secrets-to", "secrets"]);
    assert_eq!(ended.code, Some(64), "{ended:#?}");
    ended.assert_says(&["relay.toml is there already", "--force"]);
    assert_eq!(moved.toml(), "mine");
    assert!(!moved.path("secrets").exists());
    let ended = moved.import(&["-o", "relay.toml", "--force"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(moved.toml().contains("alice"));
    let left = std::fs::read_dir(&moved.dir.0)
        .expect("a directory")
        .count();
    assert_eq!(left, 2, "nothing half written is left");
}

#[test]
fn secrets_go_into_files_that_their_owner_alone_may_read() {
    let moved = Move::of("user=alice:s3cret-of-alice\nrealm=x\n");
    let line = ["-o", "relay.toml", "--secrets-to", "secrets"];
    let ended = moved.import(&line);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.assert_says(&["accepts the result"]);
    assert!(!moved.toml().contains(SECRET_MARK), "{}", moved.toml());
    let file = moved.path("secrets/user-alice");
    assert_eq!(
        std::fs::read_to_string(&file).expect("a file"),
        "s3cret-of-alice\n"
    );
    assert_eq!((mode(&file), mode(&moved.path("secrets"))), (0o600, 0o700));
    std::fs::remove_file(moved.path("relay.toml")).expect("it is there");
    let again = moved.import(&line);
    assert_eq!(again.code, Some(64), "{again:#?}");
    again.assert_says(&["user-alice is there already"]);
}

#[test]
fn a_certificate_that_is_not_here_is_told_as_check_tells_it_and_the_import_stands() {
    let moved = Move::of("cert=turn.pem\npkey=turn.key\nuser=alice:s3cret\n");
    let ended = moved.import(&["-o", "relay.toml"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.assert_says(&[
        "refuses the result on this machine until this is settled",
        "turn.pem: no such file",
    ]);
    let account = moved.import(&["--json"]).json();
    assert_eq!(account["check"]["ok"], false);
    let authority = Authority::new("import test root");
    let leaf = authority.leaf(&["turn.example.com"]);
    moved.dir.write("turn.pem", &leaf.chain_pem);
    moved.dir.write("turn.key", &leaf.key_pem);
    let check = run(relayd()
        .args(["check", "--config"])
        .arg(moved.path("relay.toml")));
    assert_eq!(check.code, Some(0), "{check:#?}");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place_and_nothing_is_written() {
    let moved = Move::of("listening-prot=3478\nuser=alice:0xs3cret\nmin-port=s\n");
    let ended = moved.import(&["-o", "relay.toml"]);
    assert_eq!(ended.code, Some(64), "{ended:#?}");
    ended.assert_says(&[
        "`listening-prot` is not a key of coturn",
        "turnserver.conf:1:1",
        "did you mean `listening-port`?",
        "turnserver.conf:2:6",
        "turnserver.conf:3:10",
        "3 errors",
    ]);
    assert!(!moved.path("relay.toml").exists());
    let missing = run(relayd().args(["import-coturn", "/nonexistent/turnserver.conf"]));
    assert_eq!(missing.code, Some(64), "{missing:#?}");
    missing.assert_says(&["cannot read /nonexistent/turnserver.conf"]);
    let directory = run(relayd().arg("import-coturn").arg(&moved.dir.0));
    assert_eq!(directory.code, Some(64), "{directory:#?}");
    let nowhere = moved.import(&["-o", "no-such-directory/relay.toml"]);
    assert_eq!(nowhere.code, Some(64), "{nowhere:#?}");
    moved.dir.write("turnserver.conf", "user=alice:s3cret\n");
    let nowhere = moved.import(&["-o", "no-such-directory/relay.toml"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:#?}");
    nowhere.assert_says(&["cannot write no-such-directory/relay.toml"]);
}

//! Names that lead nowhere, an authority that is away, a disk that is full.

use super::gate::Way;
use super::process::PATIENCE;
use super::server::{NAME, NOT_YET, OBTAINED, World};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[test]
fn a_name_that_cannot_be_validated_is_told_in_the_authoritys_words_and_asked_for_again_at_a_restart()
 {
    let world = World::new(3600, Way::Open);
    world.pebble.names.set_present(false);
    let mut server = world.start();
    let line = server.serving.wait_for("prove the names");
    for part in [
        "\"WARN\"",
        NAME,
        "urn:ietf:params:acme:error:",
        "a stand-in",
        "\"validation\"",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert_eq!(server.attempts("validation"), 1);
    assert_eq!(server.readyz()["certificate"], "stand-in");
    server.turn_over_tls().allocate().expect("TURN over TLS");
    assert_eq!(server.serving.stop(), Some(0));

    // Somebody mends it and does not want to wait.
    world.pebble.names.set_present(true);
    let mut server = world.start();
    server.serving.wait_for(OBTAINED);
    let roots = world.pebble.roots();
    assert_eq!(server.verified(NAME, &roots, "h2"), Ok(server.shown()));
    let log = server.serving.seen.join("\n");
    assert!(
        !log.contains("registered an account"),
        "the account was kept: {log}"
    );
    assert_eq!(server.serving.stop(), Some(0));
}

#[test]
fn without_an_authority_relayd_starts_and_stops_as_ever_also_while_it_asks() {
    let world = World::new(3600, Way::Cut);
    let mut server = world.start();
    let line = server.serving.wait_for("register an account");
    assert!(line.contains("\"unreachable\""), "{line}");
    server.turn_over_tls().allocate().expect("TURN over TLS");
    assert_eq!(server.serving.stop(), Some(0));

    let before = world.gate.connections();
    world.gate.set(Way::Held);
    let mut server = world.start();
    world.gate.wait_for_more_than(before);
    assert_eq!(server.serving.stop(), Some(0));
}

#[test]
fn four_restarts_in_an_hour_may_ask_and_the_fifth_waits() {
    let world = World::new(3600, Way::Cut);
    for _ in 0..4 {
        let mut server = world.start();
        server.serving.wait_for("register an account");
        assert_eq!(server.serving.stop(), Some(0));
    }
    let asked = world.gate.connections();
    let mut server = world.start();
    server.serving.wait_for(NOT_YET);
    let next = server.metric("relayd_acme_next_attempt_timestamp_seconds");
    let (status, _) = super::support::subject::http_get(server.admin, "/healthz").expect("alive");
    assert_eq!(status, 200);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let wait = next.saturating_sub(now.expect("after 1970").as_secs());
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!(server.serving.stop(), Some(0));
    assert_eq!(world.gate.connections(), asked);
}

/// The state is on a file system of 64 KiB that something else has filled.
#[test]
fn a_full_disk_costs_no_certificate_and_no_second_question() {
    let world = World::new(3600, Way::Open);
    let state = world.dir.path("state");
    std::fs::create_dir(&state).expect("made");
    let script = "mount -t tmpfs -o size=64k,mode=0700 relayd-test \"$0\" || exit 99\n\
                  mkdir \"$0/$1\" && chmod 700 \"$0/$1\" || exit 98\n\
                  dd if=/dev/zero of=\"$0/filler\" bs=4k 2>/dev/null\n\
                  shift; exec \"$@\"";
    let mut command = Command::new("unshare");
    if std::fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    let folder = world.folder();
    command.args(["--mount", "sh", "-c", script]);
    command.arg(&state).arg(folder.file_name().expect("a name"));
    command.arg(env!("CARGO_BIN_EXE_relayd"));
    let mut server = world.start_by(&mut command);
    server
        .serving
        .wait_for("what was obtained is in memory only: it cannot be saved");
    let obtained = server.shown();
    let roots = world.pebble.roots();
    assert_eq!(server.verified(NAME, &roots, "h2"), Ok(obtained.clone()));
    assert_eq!(server.metric("relayd_acme_unsaved"), 1);
    let log = server.serving.seen.join("\n");
    assert!(log.contains("No space left on device"), "{log}");
    // A reload forgets neither what is served nor what is to be saved, not even if it changes something.
    let file = std::fs::read_to_string(world.dir.path("relay.toml")).expect("the file");
    let file = file.replace("admin@example.com", "root@example.com");
    world.dir.write("relay.toml", &file);
    server.reload();
    server.serving.wait_for("\"reloaded\"");
    // Another thread says it, before or after.
    let known = "renewing it in time";
    if !server.serving.seen.iter().any(|line| line.contains(known)) {
        server.serving.wait_for(known);
    }
    assert_eq!(server.shown(), obtained);
    let asked = world.gate.connections();

    // The disk as relayd sees it.
    let inside = format!("/proc/{}/root{}", server.serving.pid(), state.display());
    let inside = Path::new(&inside);
    std::fs::remove_file(inside.join("filler")).expect("removed");
    server.serving.wait_for("saved the certificate");
    let kept = ["account.json", "certificate.pem", "history.json", "lock"];
    let folder = inside.join(folder.file_name().expect("a name"));
    let deadline = Instant::now() + PATIENCE;
    while server.metric("relayd_acme_unsaved") != 0 || files(&folder) != kept {
        assert!(Instant::now() < deadline, "unsaved: {:?}", files(&folder));
    }
    assert_eq!(server.shown(), obtained);
    assert_eq!(server.attempts("issued"), 1);
    assert_eq!(world.gate.connections(), asked);
    assert_eq!(server.serving.stop(), Some(0));
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("readable");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

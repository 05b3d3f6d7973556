//! Files and their rotation, standard error, and what `relayd check` says of a destination that cannot be.

use super::server::{PATIENCE, Server, relayd, to_file, wait_for, wait_for_line};
use super::web::relayd::Directory;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

fn lines(path: &Path, mark: &str) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.contains(mark)).count()
}

#[test]
fn a_file_is_made_for_its_owner_and_group_and_standard_output_stays_empty() {
    let dir = Directory::new();
    let path = dir.path("relayd.log");
    let server = Server::start(&to_file(&path), "");
    server.call();
    wait_for_line(&path, "allocation ended");
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    let (status, said) = server.stop();
    assert!(status.success());
    assert!(!said.contains("relayd::"), "{said}");
    assert_eq!(lines(&path, "stopped"), 1, "the last line is there");
}

#[test]
fn a_renamed_file_is_left_at_sighup_even_if_the_configuration_has_a_mistake() {
    let dir = Directory::new();
    let (path, old, older) = (dir.path("l.log"), dir.path("l.log.1"), dir.path("l.log.2"));
    let server = Server::start(&to_file(&path), "");
    server.call();
    wait_for_line(&path, "allocation ended");
    std::fs::rename(&path, &old).expect("renamed");
    server.signal("HUP");
    wait_for_line(&path, "reloaded");
    server.call();
    wait_for_line(&path, "allocation ended");
    assert_eq!(lines(&old, "allocation ended"), 1);
    assert_eq!(
        lines(&old, "reloaded"),
        0,
        "everything after the signal is in the new file"
    );

    std::fs::rename(&path, &older).expect("renamed");
    server.edit_and_reload("[turn.peers]", "[turn.peers]\nnonsense = 1");
    let line = wait_for_line(&path, "stays as it was");
    assert!(line.contains("ERROR"), "{line}");
    wait_for_line(&path, "unknown key `turn.peers.nonsense`");
    server.stop();
}

/// logrotate's copytruncate needs no signal.
#[test]
fn a_truncated_file_is_written_from_its_start() {
    let dir = Directory::new();
    let path = dir.path("l.log");
    let server = Server::start(&to_file(&path), "");
    server.call();
    wait_for_line(&path, "allocation ended");
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("a file");
    file.set_len(0).expect("truncated");
    server.call();
    wait_for_line(&path, "allocation ended");
    let bytes = std::fs::read(&path).expect("a file");
    assert!(
        bytes.starts_with(b"20"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    server.stop();
}

#[test]
fn a_reload_changes_destination_format_and_level_together_or_nothing() {
    let dir = Directory::new();
    let (first, second) = (dir.path("first.log"), dir.path("second.log"));
    let server = Server::start(&to_file(&first), "");
    let before = to_file(&first);
    let missing = to_file(&dir.path("missing/x.log"));
    server.edit_and_reload(&before, &format!("{missing}\nformat = \"json\""));
    wait_for_line(&first, "stays as it was");
    server.edit_and_reload(&missing, &to_file(&second));
    let line = wait_for_line(&second, "reloaded");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["level"], "INFO");
    assert_eq!(lines(&first, "\"reloaded\""), 0);
    server.edit_and_reload("format = \"json\"", "format = \"text\"\nlevel = \"debug\"");
    wait_for_line(&second, "INFO relayd::app::reload: reloaded");
    server.call();
    wait_for_line(&second, "DEBUG relayd::io::worker: allocation started");
    server.stop();
}

#[test]
fn standard_error_takes_lines_too() {
    let mut server = Server::spawn(Directory::new(), "to = \"stderr\"", "", &mut relayd());
    let stdout = server.take_stdout();
    server.wait_until_ready();
    server.call();
    wait_for("a line", || {
        server.said().contains("allocation ended").then_some(())
    });
    server.stop();
    let said = std::io::read_to_string(stdout).expect("text");
    assert_eq!(said, "");
}

/// The exit code and what was said of a configuration whose `[log]` is `log`.
fn refused(dir: &Directory, log: &str, check: bool) -> (Option<i32>, String) {
    let config = dir.path("relay.toml");
    let text = format!(
        "[server]\ndomain = \"relay.test\"\n[listen]\nudp = []\ntcp = [\"127.0.0.1:0\"]\ntls = []\n\
         [turn]\nusers = {{ test = \"test password\" }}\nrelay_ports = \"61000-65535\"\n\
         [admin]\nlisten = \"off\"\n[log]\n{log}\n"
    );
    std::fs::write(&config, text).expect("written");
    let mut command = relayd();
    if check {
        command.arg("check");
    }
    let mut child = command
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let begin = Instant::now();
    while child.try_wait().expect("ours").is_none() {
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("its output");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_destination_that_cannot_be_is_a_problem_of_the_file_with_its_place_and_a_fix() {
    let dir = Directory::new();
    dir.write("plain.txt", "");
    let socket = dir.path("journal");
    drop(UnixDatagram::bind(&socket).expect("bound"));
    for (log, parts) in [
        (
            "to = \"file:missing/relayd.log\"",
            ["a directory that is not there", "LogsDirectory="],
        ),
        (
            "to = \"file:.\"",
            ["does not name a file", "not a regular file"],
        ),
        (
            "to = \"journald:nowhere\"",
            ["a journal that is not there", "no such file"],
        ),
        (
            "to = \"journald:plain.txt\"",
            ["a journal that is none", "not a socket"],
        ),
        (
            "to = \"stdot\"",
            ["is no destination for the log", "did you mean \"stdout\"?"],
        ),
        (
            "to = \"/var/log/relayd.log\"",
            ["is no destination", "write \"file:/var/log/relayd.log\""],
        ),
        ("to = \"file:\"", ["is no destination", "file:PATH"]),
        (
            "privacy = \"yes\"",
            ["`log.privacy` has the wrong type", "true or false"],
        ),
    ] {
        for check in [true, false] {
            let (code, said) = refused(&dir, log, check);
            assert_eq!(code, Some(64), "{log}: {said}");
            for part in parts {
                assert!(said.contains(part), "no {part:?} for {log} in {said}");
            }
            assert!(said.contains("relay.toml:13:"), "{said}");
        }
    }
    let (code, said) = refused(&dir, "to = \"journald:journal\"\nformat = \"json\"", true);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("`log.format` says nothing to the journal"),
        "{said}"
    );
    // The socket's file is there and its journal is not: only a start can tell.
    let (code, said) = refused(&dir, "to = \"journald:journal\"", false);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("no journal takes entries at") && said.contains("refused"),
        "{said}"
    );
}

/// As an operator meets it: the user that runs relayd is not root.
#[test]
fn a_file_that_the_user_may_not_write_is_a_problem_that_names_it() {
    let dir = Directory::new();
    dir.write("kept.log", "");
    let config = dir.path("relay.toml");
    let set = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("ours");
    };
    set(&dir.path("kept.log"), 0o444);
    for (name, place) in [
        ("new.log", dir.0.clone()),
        ("kept.log", dir.path("kept.log")),
    ] {
        refused(&dir, &format!("to = \"file:{name}\""), true);
        set(&dir.0, 0o555);
        // Root may write everywhere: the check runs as nobody where this test runs as root.
        let mut command = match own_uid() {
            0 => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--clear-groups", "--bounding-set=-all"]);
                command.args(["--inh-caps=-all", env!("CARGO_BIN_EXE_relayd")]);
                command
            }
            _ => relayd(),
        };
        let output = command
            .args(["check", "--config"])
            .arg(&config)
            .output()
            .expect("it runs");
        set(&dir.0, 0o755);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(
            said.contains("names a file that cannot be written"),
            "{said}"
        );
        assert!(said.contains(&place.display().to_string()), "{said}");
    }
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |own| own.uid())
}

//! Destinations that take no lines: calls go on, nothing waits, and what was lost is counted and said.

use super::server::{PASSWORD, Server, relayd, to_file, wait_for, wait_for_line};
use super::web::relayd::Directory;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// A pipe that nobody reads stops the log thread in its write call; a media worker must never find out.
#[test]
fn a_pipe_that_nobody_reads_stops_no_call_and_not_the_end_of_the_process() {
    let log = "level = \"trace\"";
    let mut server = Server::spawn(Directory::new(), log, "", &mut relayd());
    let mut stdout = BufReader::new(server.take_stdout());
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("text") > 0, "it ended");
    }
    server.wait_until_ready();
    // Each is a line of trace: far more than pipe and queue hold together.
    let socket = server.udp_socket();
    wait_for("full queue", || {
        for _ in 0..1000 {
            let _ = socket.send(b"no STUN message");
        }
        (server.lost("queue_full") > 0).then_some(())
    });
    // The one media worker answers as if nothing were.
    for _ in 0..3 {
        let mut client = server.udp_client(PASSWORD);
        client.allocate().expect("it answers");
        client.refresh(0).expect("it answers");
    }
    assert_eq!(server.lost("write_failed"), 0);
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn when_the_pipe_is_read_again_the_log_says_how_many_lines_are_missing() {
    let log = "level = \"trace\"\nformat = \"json\"";
    let mut server = Server::spawn(Directory::new(), log, "", &mut relayd());
    let stdout = server.take_stdout();
    server.wait_until_ready();
    let socket = server.udp_socket();
    wait_for("full queue", || {
        for _ in 0..1000 {
            let _ = socket.send(b"no STUN message");
        }
        (server.lost("queue_full") > 0).then_some(())
    });
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let lost = wait_for("word of it", || {
        let line = lines.try_recv().ok()?;
        let line: serde_json::Value = serde_json::from_str(&line).expect("whole lines");
        line["lost"].as_u64()
    });
    assert!(lost > 0);
    server.stop();
}

/// A directory on a disk of 64 KiB that only the server's mount namespace has.
fn on_a_small_disk(dir: &Directory) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = Command::new("unshare");
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=64k tmpfs \"$0\" && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]);
    command
        .arg(dir.path("disk"))
        .arg(env!("CARGO_BIN_EXE_relayd"));
    command
}

#[test]
fn a_full_disk_stops_no_call_and_what_it_cost_is_said_once_when_there_is_room() {
    let dir = Directory::new();
    std::fs::create_dir(dir.path("disk")).expect("a directory");
    let path = dir.path("disk/relayd.log");
    let mut command = on_a_small_disk(&dir);
    let server = Server::start_in(dir, &to_file(&path), "", &mut command);
    // The server's own view of its disk.
    let seen = |name: &str| -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
        root.join(server.dir.path("disk").strip_prefix("/").expect("absolute"))
            .join(name)
    };
    wait_for_line(&seen("relayd.log"), "serving");
    let filler = std::fs::File::create(seen("filler")).expect("there is room");
    let full = std::io::copy(&mut std::io::repeat(b'x').take(1 << 20), &mut &filler);
    full.expect_err("the disk is full");
    drop(filler);
    // A page of the log may have room left.
    wait_for("a line that does not fit", || {
        server.call();
        (server.lost("write_failed") > 0).then_some(())
    });
    server.call();
    std::fs::remove_file(seen("filler")).expect("removed");
    wait_for_line(&seen("relayd.log"), "log lines were lost");
    server.call();
    let said = |mark: &str| {
        let text = std::fs::read_to_string(seen("relayd.log")).expect("text");
        text.lines().filter(|line| line.contains(mark)).count()
    };
    let before = said("allocation ended");
    wait_for("the call's line", || {
        (said("allocation ended") >= before.max(1)).then_some(())
    });
    assert_eq!(said("log lines were lost"), 1);
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_directory_that_vanishes_stops_no_call_and_its_file_is_made_when_it_is_back() {
    let dir = Directory::new();
    std::fs::create_dir(dir.path("log")).expect("a directory");
    let path = dir.path("log/relayd.log");
    let server = Server::start_in(dir, &to_file(&path), "", &mut relayd());
    wait_for_line(&path, "serving");
    std::fs::remove_dir_all(server.dir.path("log")).expect("removed");
    server.call();
    wait_for("a lost line", || {
        (server.lost("write_failed") > 0).then_some(())
    });
    // Neither does a reload make it worse.
    server.signal("HUP");
    server.call();
    std::fs::create_dir(server.dir.path("log")).expect("made");
    let line = wait_for_line(&path, "log lines were lost");
    assert!(line.contains("WARN") && line.contains("lost="), "{line}");
    server.call();
    wait_for_line(&path, "allocation ended");
    server.stop();
}

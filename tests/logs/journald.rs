//! The journal: systemd's own, in a mount namespace of its own, and one of the test's that comes and goes.

use super::server::{PATIENCE, Server, USER, wait_for};
use super::web::relayd::Directory;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// systemd-journald with a /run and a /var/log that nobody else sees.
struct Journald(Child);

impl Journald {
    fn start(dir: &Directory) -> Self {
        dir.write("machine-id", "0123456789abcdef0123456789abcdef\n");
        let script = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && mkdir -p /run/systemd/journal \
                      && mount --bind \"$0\" /etc/machine-id && exec /lib/systemd/systemd-journald";
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(dir.path("machine-id"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare (package util-linux) runs");
        let mut journald = Self(child);
        wait_for("journal (package systemd; needs root)", || {
            let ended = journald.0.try_wait().expect("ours");
            assert!(ended.is_none(), "systemd-journald ended: {ended:?}");
            UnixDatagram::unbound()
                .ok()?
                .connect(journald.socket())
                .ok()
        });
        journald
    }

    fn socket(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/root/run/systemd/journal/socket",
            self.0.id()
        ))
    }

    /// The entries that match, as objects.
    fn entries(&self, matches: &[&str]) -> Vec<serde_json::Value> {
        let output = Command::new("nsenter")
            .args(["--target", &self.0.id().to_string(), "--mount"])
            .args(["journalctl", "--no-pager", "--all", "--output=json"])
            .args(matches)
            .output()
            .expect("nsenter (package util-linux) and journalctl run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("JSON")).collect()
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        // Ours by its handle; its mounts go with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn to_journal(socket: &Path) -> String {
    format!("to = \"journald:{}\"", socket.display())
}

#[test]
fn systemds_journal_finds_a_call_by_its_user_with_every_field() {
    let dir = Directory::new();
    let journald = Journald::start(&dir);
    let server = Server::start(&to_journal(&journald.socket()), "");
    server.call();
    let user = format!("RELAYD_USER={USER}");
    let entry = wait_for("entry", || journald.entries(&[&user]).pop());
    assert_eq!(entry["PRIORITY"], "6", "{entry}");
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "relayd", "{entry}");
    assert_eq!(entry["_TRANSPORT"], "journal", "{entry}");
    assert_eq!(entry["RELAYD_TRANSPORT"], "udp", "{entry}");
    assert_eq!(entry["RELAYD_TARGET"], "relayd::io::worker", "{entry}");
    assert_eq!(entry["_PID"], server.pid().to_string(), "{entry}");
    for field in [
        "RELAYD_ID",
        "RELAYD_RELAYED",
        "RELAYD_TO_PEER_BYTES",
        "RELAYD_DURATION_S",
    ] {
        assert!(entry[field].is_string(), "no {field} in {entry}");
    }
    let message = entry["MESSAGE"].as_str().expect("text");
    assert!(message.starts_with("allocation ended id="), "{entry}");

    // A report of many lines is one entry.
    server.edit_and_reload("[turn.peers]", "[turn.peers]\nnonsense = 1");
    let entry = wait_for("entry", || journald.entries(&["PRIORITY=3"]).pop());
    let report = entry["RELAYD_REPORT"].as_str().expect("text");
    assert!(
        report.contains("unknown key") && report.lines().count() > 2,
        "{entry}"
    );
    let (status, said) = server.stop();
    assert!(status.success());
    assert!(!said.contains("relayd::"), "{said}");
}

/// More than a datagram may have: the report of a file with very many mistakes.
#[test]
fn systemds_journal_takes_an_entry_that_fits_into_no_datagram() {
    let dir = Directory::new();
    let journald = Journald::start(&dir);
    let socket = journald.socket();
    // The journal's own limit is 768 KiB for a field that came in a file; a socket's is net.core.wmem_max.
    let large = 600 << 10;
    let entry = format!("MESSAGE={}\nRELAYD_MARK=large\n", "x".repeat(large));
    let sender = UnixDatagram::unbound().expect("a socket");
    let sent = relayd::sys::memfd::send_sealed(&sender, &socket, entry.as_bytes());
    sent.expect("it is there");
    let entry = wait_for("entry", || journald.entries(&["RELAYD_MARK=large"]).pop());
    assert_eq!(entry["MESSAGE"].as_str().map(str::len), Some(large));
}

#[test]
fn a_journal_that_goes_away_stops_no_call_and_hears_of_the_losses_when_it_is_back() {
    let dir = Directory::new();
    let path = dir.path("journal");
    let bind = || {
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    };
    let journal = bind();
    let server = Server::start(&to_journal(&path), "");
    receive_until(&journal, "MESSAGE=serving ");
    server.call();
    receive_until(&journal, "MESSAGE=allocation ended ");
    drop(journal);
    std::fs::remove_file(&path).expect("removed");
    for _ in 0..3 {
        server.call();
    }
    wait_for("three lost lines", || {
        (server.lost("write_failed") >= 3).then_some(())
    });
    let journal = bind();
    let entry = receive_until(&journal, "MESSAGE=log lines were lost");
    assert!(entry.contains("RELAYD_LOST=3\n"), "{entry}");
    server.call();
    receive_until(&journal, "MESSAGE=allocation ended ");
    server.stop();
}

/// Its queue is short (net.unix.max_dgram_qlen), and nobody empties it.
#[test]
fn a_journal_that_reads_nothing_stops_no_call() {
    let dir = Directory::new();
    let path = dir.path("journal");
    let journal = UnixDatagram::bind(&path).expect("bound");
    let log = format!("{}\nlevel = \"debug\"", to_journal(&path));
    let server = Server::start(&log, "");
    wait_for("a lost line", || {
        server.call();
        (server.lost("write_failed") > 0).then_some(())
    });
    server.call();
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
    drop(journal);
}

fn receive_until(journal: &UnixDatagram, mark: &str) -> String {
    let mut bytes = vec![0; 64 << 10];
    let mut seen = Vec::new();
    loop {
        let len = journal.recv(&mut bytes);
        let len = len.unwrap_or_else(|error| panic!("no {mark:?} ({error}): {seen:#?}"));
        let entry = String::from_utf8_lossy(&bytes[..len]).into_owned();
        if entry.starts_with(mark) {
            return entry;
        }
        seen.push(entry);
    }
}

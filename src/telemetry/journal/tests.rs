use super::*;
use crate::telemetry::Error;
use std::io::{Read, Seek};
use std::time::Duration;

fn record(message: &str, fields: Vec<(&'static str, Value)>) -> Record {
    Record {
        at: Duration::ZERO,
        level: Level::WARN,
        target: "relayd::io::worker",
        file: Some("src/io/worker.rs"),
        line: Some(7),
        message: message.to_owned(),
        fields,
    }
}

#[test]
fn an_entry_has_the_journals_fields_and_relayds_own() {
    let fields = vec![
        ("user", Value::Text("alice".to_owned())),
        ("to_peer_bytes", Value::Unsigned(15)),
        ("duration_s", Value::Float(0.5)),
    ];
    let entry = entry(&record("allocation ended", fields));
    let text = String::from_utf8(entry).expect("text");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "MESSAGE=allocation ended user=\"alice\" to_peer_bytes=15 duration_s=0.5",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=relayd",
            "SYSLOG_FACILITY=3",
            "RELAYD_TARGET=relayd::io::worker",
            "CODE_FILE=src/io/worker.rs",
            "CODE_LINE=7",
            "RELAYD_USER=alice",
            "RELAYD_TO_PEER_BYTES=15",
            "RELAYD_DURATION_S=0.5",
        ]
    );
}

#[test]
fn a_value_with_line_ends_cannot_begin_a_field() {
    let fields = vec![("user", Value::Text("a\nPRIORITY=0".to_owned()))];
    let entry = entry(&record("ended", fields));
    let mut expected = b"RELAYD_USER\n".to_vec();
    expected.extend_from_slice(&12u64.to_le_bytes());
    expected.extend_from_slice(b"a\nPRIORITY=0\n");
    assert!(entry.ends_with(&expected), "{entry:?}");
    let message = entry.split(|byte| *byte == b'\n').next().expect("a line");
    assert_eq!(message, br#"MESSAGE=ended user="a\nPRIORITY=0""#);
}

#[test]
fn field_names_are_what_the_journal_takes() {
    assert_eq!(field_name("duration_ms"), "RELAYD_DURATION_MS");
    assert_eq!(field_name("h2.stream-id"), "RELAYD_H2_STREAM_ID");
    assert_eq!(field_name(&"x".repeat(100)).len(), 64);
}

#[test]
fn without_a_journal_the_error_names_its_socket() {
    let path = std::env::temp_dir().join(format!("relayd-no-journal-{}", std::process::id()));
    let error = Journal::open(path.clone()).err().expect("nobody is there");
    assert!(matches!(error, Error::Journal { .. }));
    assert!(error.to_string().contains(&path.display().to_string()));
}

/// A journal that reads when the test says so.
struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Listener {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relayd-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("bound");
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).expect("set");
        Self { socket, path }
    }

    fn receive(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let len = self.socket.recv(&mut bytes).expect("an entry");
        bytes.truncate(len);
        bytes
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn a_journal_that_goes_away_costs_lines_and_one_that_comes_back_gets_them() {
    let listener = Listener::new("journal-gone");
    let mut journal = Journal::open(listener.path.clone()).expect("it listens");
    let line = record("one", Vec::new());
    journal.write(&line, Instant::now()).expect("it is there");
    assert_eq!(listener.receive(), entry(&line));
    drop(listener);
    journal.write(&line, Instant::now()).expect_err("gone");
    let listener = Listener::new("journal-gone");
    journal.write(&line, Instant::now()).expect("it is back");
    assert_eq!(listener.receive(), entry(&line));
}

#[test]
fn a_journal_that_reads_nothing_keeps_nobody_waiting() {
    let listener = Listener::new("journal-slow");
    let mut journal = Journal::open(listener.path.clone()).expect("it listens");
    let line = record("one", Vec::new());
    let sent = (0..100_000).take_while(|_| journal.write(&line, Instant::now()).is_ok());
    assert!(sent.count() < 100_000, "its queue has an end");
    listener.receive();
    journal.write(&line, Instant::now()).expect("there is room");
}

#[test]
fn an_entry_that_fits_into_no_datagram_travels_as_a_sealed_file() {
    let listener = Listener::new("journal-large");
    let mut journal = Journal::open(listener.path.clone()).expect("it listens");
    let texts = ["cause", "error", "report", "warning"].map(|name| {
        // More than net.core.wmem_max allows anywhere.
        let text = name.repeat(4 << 20);
        (name, Value::Text(text))
    });
    let line = record("large", texts.to_vec());
    journal.write(&line, Instant::now()).expect("sent");
    let mut file = memfd::receive_file(&listener.socket).expect("a file");
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("a file");
    assert_eq!(bytes, entry(&line));
    io::Write::write_all(&mut file, b"x").expect_err("sealed");
}

use super::metrics::Lost;
use super::record::Record;
use super::sink::{Sink, Style};
use super::*;
use std::time::Instant;

#[test]
fn levels_and_directives_are_read() {
    for good in [
        "info",
        "WARN",
        "off",
        "info,relayd::proxy=debug",
        "warn, relayd::io=trace",
    ] {
        parse_level(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    let targets = parse_level("info,relayd::proxy=debug").expect("good");
    assert!(targets.would_enable("relayd::proxy::server", &tracing::Level::DEBUG));
    assert!(!targets.would_enable("relayd::io", &tracing::Level::DEBUG));
}

#[test]
fn misspelt_levels_are_errors_that_name_the_directive() {
    for (bad, named) in [
        ("inof", "`inof`"),
        ("", "``"),
        ("info,relayd::proxy=loud", "`relayd::proxy=loud`"),
        ("info,=debug", "`=debug`"),
        ("info,,", "``"),
        ("7", "`7`"),
    ] {
        let error = parse_level(bad).expect_err(bad);
        assert!(error.to_string().contains(named), "{bad}: {error}");
    }
}

#[test]
fn a_change_of_level_format_and_destination_holds_from_its_place_in_the_log() {
    let mut log = Log::new(Format::Text, "info");
    let dir = Directory::new();
    let path = dir.0.join("relayd.log");
    log.run(|log| {
        tracing::info!("to the first");
        tracing::debug!("hidden");
        log.control
            .change(&Settings {
                to: Destination::File(path.clone()),
                format: Format::Json,
                level: "debug".to_owned(),
                privacy: false,
            })
            .expect("good settings");
        tracing::debug!("shown");
    });
    assert_eq!(log.lines().len(), 1);
    assert!(log.text().contains("to the first"), "{}", log.text());
    let lines = dir.lines("relayd.log");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with('{') && lines[0].contains("shown"),
        "{lines:?}"
    );
}

#[test]
fn settings_with_one_fault_change_nothing() {
    let mut log = Log::new(Format::Text, "info");
    let dir = Directory::new();
    let good = Settings {
        to: Destination::File(dir.0.join("relayd.log")),
        format: Format::Json,
        level: "debug".to_owned(),
        privacy: true,
    };
    let faults = [
        Settings {
            level: "loud".to_owned(),
            ..good.clone()
        },
        Settings {
            to: Destination::File(dir.0.join("missing/relayd.log")),
            ..good.clone()
        },
        Settings {
            to: Destination::File(dir.0.clone()),
            ..good.clone()
        },
        Settings {
            to: Destination::Journal(dir.0.join("no-socket")),
            ..good
        },
    ];
    log.run(|log| {
        for settings in &faults {
            log.control.change(settings).expect_err("a fault");
        }
        tracing::debug!("hidden");
        tracing::info!(user = "alice", "shown");
    });
    let text = log.text();
    assert!(text.contains("shown user=\"alice\""), "{text}");
    assert_eq!(log.lines().len(), 1, "{text}");
    assert_eq!(dir.names(), Vec::<String>::new(), "nothing was made");
}

#[test]
fn json_lines_are_objects_with_flat_fields_in_a_stable_order() {
    let mut log = Log::new(Format::Json, "info");
    log.run(|_| {
        let none: Option<u64> = None;
        tracing::info!(
            bytes = 7,
            none,
            user = "a\"b\n",
            share = 0.5,
            "allocation ended"
        );
    });
    let text = log.text();
    let line: serde_json::Value = serde_json::from_str(&text).expect("one object");
    assert_eq!(line["message"], "allocation ended");
    assert_eq!(line["bytes"], 7);
    assert_eq!(line["user"], "a\"b\n");
    assert_eq!(line["level"], "INFO");
    let keys = [
        "timestamp",
        "level",
        "message",
        "bytes",
        "user",
        "share",
        "target",
    ];
    let places = keys.map(|key| {
        text.find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("no {key} in {text}"))
    });
    assert!(places.is_sorted(), "{text}");
    assert!(!text.contains("none"), "{text}");
}

#[test]
fn no_value_ends_its_line_or_speaks_to_a_terminal() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| {
        let evil = "x\n2026-01-01T00:00:00Z  INFO relayd: forged\u{1b}[2J";
        tracing::info!(user = evil, cause = %evil, "{evil}");
    });
    assert_eq!(log.lines().len(), 1);
    assert!(!log.text().contains('\u{1b}'), "{}", log.text());
}

#[test]
fn a_report_stands_below_its_line() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| tracing::error!(report = %"error: one\n  | two", file = "relay.toml", "problems"));
    let lines = log.lines();
    assert!(
        lines[0].ends_with("problems file=\"relay.toml\""),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["    error: one", "      | two"]);
}

#[test]
fn times_are_utc_with_leap_days() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (1_709_164_800, "2024-02-29T00:00:00"),
        (1_735_689_599, "2024-12-31T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
    ] {
        let at = Duration::new(seconds, 7_000);
        assert_eq!(text::rfc3339(at), format!("{text}.000007Z"));
    }
}

#[test]
fn repeats_are_written_once_and_counted_when_their_window_has_passed() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|log| {
        for attempt in 0..5 {
            upstream_failed("a.example", attempt);
            log.pass(Duration::from_secs(1));
        }
    });
    assert_eq!(log.lines().len(), 1);
    log.pass(Duration::from_secs(6));
    log.run(|_| upstream_failed("a.example", 5));
    let lines = log.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("attempt=0") && !lines[0].contains("repeated"));
    assert!(lines[1].contains("attempt=1") && lines[1].ends_with("repeated=4"));
    assert!(lines[2].contains("attempt=5") && !lines[2].contains("repeated"));
}

#[test]
fn events_of_other_keys_places_and_levels_are_not_folded() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| {
        upstream_failed("a.example", 0);
        upstream_failed("b.example", 0);
        tracing::error!(host = "a.example", "cannot reach upstream");
        for _ in 0..3 {
            tracing::info!(host = "a.example", "request");
        }
    });
    assert_eq!(log.lines().len(), 6);
}

#[test]
fn folded_json_stays_an_object() {
    let mut log = Log::new(Format::Json, "info");
    log.run(|log| {
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
        log.pass(FOLD_WINDOW);
        upstream_failed("a.example", 3);
    });
    let lines = log.lines();
    let summary: serde_json::Value = serde_json::from_str(&lines[1]).expect("an object");
    assert_eq!(summary["repeated"], 2);
    assert_eq!(summary["attempt"], 1);
}

#[test]
fn flood_of_different_keys_is_folded_by_place() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| {
        for number in 0..5000 {
            upstream_failed(&format!("{number}.example"), 0);
        }
    });
    assert_eq!(log.lines().len(), 257);
}

#[test]
fn folds_left_at_the_end_are_written_by_the_log_thread() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| {
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
    });
    log.control.queue.stop(Duration::ZERO);
    log.pump();
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].ends_with("repeated=2"), "{lines:?}");
}

#[test]
fn folds_are_written_in_time_though_nothing_else_is_logged() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| {
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
    });
    log.pass(FOLD_WINDOW);
    log.pump();
    assert!(log.lines()[1].ends_with("repeated=2"), "{:?}", log.lines());
}

#[test]
fn what_a_full_disk_cost_is_said_once_when_there_is_room_again() {
    let mut log = Log::new(Format::Text, "info");
    log.run(|_| tracing::info!("before"));
    log.output.set_full(true);
    for _ in 0..3 {
        log.run(|_| tracing::info!("meanwhile"));
    }
    log.output.set_full(false);
    log.run(|_| tracing::info!("after"));
    log.run(|_| tracing::info!("later"));
    let lines = log.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(
        lines[1].contains(" WARN ") && lines[1].ends_with("lost=3"),
        "{lines:?}"
    );
    assert!(
        lines[2].ends_with("after") && lines[3].ends_with("later"),
        "{lines:?}"
    );
    assert_eq!(log.metrics.lost(Lost::WriteFailed), 3);
}

#[test]
fn what_was_lost_is_said_though_nothing_else_is_logged() {
    let mut log = Log::new(Format::Text, "info");
    log.output.set_full(true);
    log.run(|_| tracing::info!("meanwhile"));
    log.output.set_full(false);
    log.pump();
    assert!(log.lines()[0].ends_with("lost=1"), "{:?}", log.lines());
}

/// The writer does not run here: nothing takes lines from the queue.
#[test]
fn a_full_queue_drops_and_counts_and_keeps_nobody_waiting() {
    let mut log = Log::new(Format::Text, "info");
    let all = queue::RECORDS_MAX + 50;
    tracing::dispatcher::with_default(&log.dispatch.clone(), || {
        for number in 0..all {
            tracing::info!(bytes = number, "request");
        }
    });
    assert_eq!(log.metrics.lost(Lost::QueueFull), 50);
    log.pump();
    let lines = log.lines();
    assert_eq!(lines.len(), queue::RECORDS_MAX + 1);
    assert!(lines.last().is_some_and(|line| line.ends_with("lost=50")));
}

#[test]
fn the_queue_is_bounded_in_bytes_too_and_a_value_by_itself() {
    let mut log = Log::new(Format::Text, "info");
    let long = "x".repeat(1 << 20);
    tracing::dispatcher::with_default(&log.dispatch.clone(), || {
        for _ in 0..1000 {
            tracing::info!(cause = long, "request");
        }
    });
    let lost = log.metrics.lost(Lost::QueueFull);
    assert!(lost > 400, "{lost}");
    log.pump();
    let first = log.lines().swap_remove(0);
    assert!(
        first.len() < 20_000 && first.ends_with("…\""),
        "{}",
        first.len()
    );
}

#[test]
fn a_rotated_file_is_written_until_it_is_reopened_and_the_new_one_from_then_on() {
    let dir = Directory::new();
    let mut log = Log::to_file(&dir);
    log.run(|_| tracing::info!("one"));
    std::fs::rename(dir.0.join("relayd.log"), dir.0.join("relayd.log.1")).expect("renamed");
    log.run(|_| tracing::info!("two"));
    log.run(|log| {
        log.control.reopen().expect("the directory is there");
        tracing::info!("three");
    });
    assert_eq!(dir.lines("relayd.log.1").len(), 2);
    assert_eq!(dir.lines("relayd.log").len(), 1);
    for name in ["relayd.log", "relayd.log.1"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.0.join(name))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o640, "{name}");
    }
}

/// logrotate's copytruncate: the file is copied and cut to nothing under its writer.
#[test]
fn a_truncated_file_is_written_from_its_start() {
    let dir = Directory::new();
    let mut log = Log::to_file(&dir);
    log.run(|_| tracing::info!("one"));
    std::fs::File::options()
        .write(true)
        .open(dir.0.join("relayd.log"))
        .and_then(|file| file.set_len(0))
        .expect("truncated");
    log.run(|_| tracing::info!("two"));
    let text = std::fs::read(dir.0.join("relayd.log")).expect("a file");
    assert!(!text.contains(&0), "a hole");
    assert_eq!(dir.lines("relayd.log").len(), 1);
}

#[test]
fn a_file_that_vanishes_with_its_directory_costs_lines_until_the_directory_is_back() {
    let dir = Directory::new();
    let mut log = Log::to_file(&dir);
    log.run(|_| tracing::info!("one"));
    std::fs::remove_dir_all(&dir.0).expect("removed");
    log.run(|log| {
        log.control.reopen().expect_err("no directory");
        tracing::info!("two");
        tracing::info!("three");
    });
    std::fs::create_dir(&dir.0).expect("made");
    // The next attempt to find the file is a while after the last.
    log.run(|_| tracing::info!("four"));
    log.pass(Duration::from_secs(2));
    log.run(|_| tracing::info!("five"));
    let lines = dir.lines("relayd.log");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("lost=3"), "{lines:?}");
    assert!(lines[1].ends_with("five"), "{lines:?}");
}

#[test]
fn what_is_no_file_is_no_destination() {
    let dir = Directory::new();
    let error = file::open(&dir.0).expect_err("a directory");
    assert!(matches!(error, Error::File { .. }), "{error}");
    let fifo = dir.0.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    // Without a reader it cannot be opened, and nobody waits for one.
    file::open(&fifo).expect_err("a FIFO");
    let _reader = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("opened");
    let error = file::open(&fifo).expect_err("a FIFO");
    assert!(matches!(error, Error::NotAFile { .. }), "{error}");
}

/// A real thread and a real destination that blocks: a pipe that nobody reads.
#[test]
fn a_destination_that_takes_nothing_keeps_neither_a_logger_nor_the_end_waiting() {
    let mut log = Log::new(Format::Text, "info");
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    struct Stuck(std::sync::mpsc::Receiver<()>);
    impl Sink for Stuck {
        fn write(&mut self, _record: &Record, _now: Instant) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }
    }
    log.writer.sink = Box::new(Stuck(blocked));
    let Log {
        writer,
        control,
        dispatch,
        metrics,
        ..
    } = log;
    let thread = thread::spawn(move || writer.run());
    tracing::dispatcher::with_default(&dispatch, || {
        for number in 0..3 * queue::RECORDS_MAX {
            tracing::info!(bytes = number, "request");
        }
    });
    assert!(metrics.lost(Lost::QueueFull) > 0);
    assert!(!control.queue.stop(Duration::ZERO), "it is still stuck");
    drop(release);
    thread.join().expect("it ends");
}

#[test]
fn a_user_and_a_client_are_said_as_privacy_wants_it() {
    // Level in force, privacy, whether the user and the client are in the line of info, and in the one of debug.
    for (level, privacy, info, debug) in [
        ("info", false, (true, true), None),
        ("info", true, (false, false), None),
        ("debug", false, (true, true), Some((true, true))),
        ("debug", true, (false, false), Some((true, true))),
    ] {
        let mut log = Log::with(Settings {
            level: level.to_owned(),
            privacy,
            ..Settings::default()
        });
        log.run(|_| {
            tracing::info!(id = 7, user = "alice", client = %"192.0.2.7:1", "ended");
            tracing::debug!(id = 7, user = "alice", client = %"192.0.2.7:1", "started");
        });
        let said = |mark: &str| {
            let line = log.lines().into_iter().find(|line| line.contains(mark))?;
            assert!(line.contains("id=7"), "{line}");
            Some((line.contains("alice"), line.contains("192.0.2.7")))
        };
        assert_eq!(said("ended"), Some(info), "{level} {privacy}");
        assert_eq!(said("started"), debug, "{level} {privacy}");
    }
}

fn upstream_failed(host: &str, attempt: u32) {
    tracing::warn!(host, attempt, "cannot reach upstream");
}

/// A log into memory, on a clock that only the test moves, whose writer only the test lets run.
struct Log {
    output: Output,
    now: Arc<Mutex<Now>>,
    control: Control,
    writer: Writer,
    dispatch: tracing::Dispatch,
    metrics: Metrics,
}

impl Control {
    fn change(&self, settings: &Settings) -> Result<(), Error> {
        let prepared = self.prepare(settings)?;
        self.commit(prepared)
    }
}

impl Log {
    fn new(format: Format, level: &str) -> Self {
        Self::with(Settings {
            format,
            level: level.to_owned(),
            ..Settings::default()
        })
    }

    fn to_file(dir: &Directory) -> Self {
        let settings = Settings {
            to: Destination::File(dir.0.join("relayd.log")),
            ..Settings::default()
        };
        let mut log = Self::with(settings.clone());
        log.writer.sink = sink::open(&settings).expect("it can be made");
        log
    }

    /// Lines go to memory, whatever the settings say.
    fn with(settings: Settings) -> Self {
        let now = Arc::new(Mutex::new(clock::now()));
        let read = Arc::clone(&now);
        let clock: Clock = Arc::new(move || *lock(&read));
        let output = Output::default();
        let sink = Memory {
            output: output.clone(),
            style: Style::new(settings.format, false),
        };
        let metrics = Metrics::default();
        let parts =
            build(&settings, Box::new(sink), metrics.clone(), clock).expect("good settings");
        Self {
            output,
            now,
            control: parts.control,
            writer: parts.writer,
            dispatch: tracing::Dispatch::new(parts.subscriber),
            metrics,
        }
    }

    /// Logs, then writes what was logged.
    fn run(&mut self, body: impl FnOnce(&Self)) {
        tracing::dispatcher::with_default(&self.dispatch.clone(), || body(self));
        self.pump();
    }

    /// Lets the writer do what it has to do, without waiting.
    fn pump(&mut self) {
        let now = *lock(&self.now);
        let taken = self
            .control
            .queue
            .take(Some(now.instant()), || now.instant());
        self.writer.write(taken);
    }

    fn pass(&self, time: Duration) {
        let mut now = lock(&self.now);
        *now = now.advanced(time);
    }

    fn text(&self) -> String {
        lock(&self.output.0).text.clone()
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }
}

struct Memory {
    output: Output,
    style: Style,
}

impl Sink for Memory {
    fn write(&mut self, record: &Record, _now: Instant) -> io::Result<()> {
        let mut disk = lock(&self.output.0);
        if disk.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.text.push_str(&self.style.line(record));
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    text: String,
    full: bool,
}

impl Output {
    fn set_full(&self, full: bool) {
        lock(&self.0).full = full;
    }
}

/// A scratch directory, removed when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("relayd-telemetry-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join(name)).expect("a text file");
        text.lines().map(str::to_owned).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

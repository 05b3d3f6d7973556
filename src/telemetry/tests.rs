use super::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
fn level_changes_while_running() {
    let log = Log::new(Format::Text, "info");
    log.run(|log| {
        tracing::debug!("hidden");
        log.filter
            .reload(parse_level("debug").expect("a level"))
            .expect("the filter lives");
        tracing::debug!("shown");
    });
    let text = log.text();
    assert!(!text.contains("hidden") && text.contains("shown"), "{text}");
}

#[test]
fn format_changes_while_running_and_what_was_folded_before_stays_whole() {
    let log = Log::new(Format::Text, "info");
    log.run(|log| {
        tracing::info!(bytes = 7, "as text");
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
        log.mode.set(Format::Json);
        tracing::info!(bytes = 7, "as JSON");
        log.pass(FOLD_WINDOW);
        upstream_failed("a.example", 3);
    });
    let lines = log.lines();
    assert!(lines[0].ends_with("as text bytes=7"), "{lines:?}");
    let line: serde_json::Value = serde_json::from_str(&lines[2]).expect("one object");
    assert_eq!(
        (&line["message"], &line["bytes"]),
        (&"as JSON".into(), &7.into())
    );
    assert!(lines[3].ends_with("repeated=2"), "{lines:?}");
    assert!(serde_json::from_str::<serde_json::Value>(&lines[4]).is_ok());
}

#[test]
fn json_lines_are_objects_with_flat_fields() {
    let log = Log::new(Format::Json, "info");
    log.run(|_| tracing::info!(bytes = 7, "allocation ended"));
    let line: serde_json::Value = serde_json::from_str(&log.text()).expect("one object");
    assert_eq!(line["message"], "allocation ended");
    assert_eq!(line["bytes"], 7);
    assert_eq!(line["level"], "INFO");
}

#[test]
fn repeats_are_written_once_and_counted_when_their_window_has_passed() {
    let log = Log::new(Format::Text, "info");
    log.run(|log| {
        for attempt in 0..5 {
            upstream_failed("a.example", attempt);
            log.pass(Duration::from_secs(1));
        }
        assert_eq!(log.lines().len(), 1);
        log.pass(Duration::from_secs(6));
        upstream_failed("a.example", 5);
    });
    let lines = log.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("attempt=0") && !lines[0].contains("repeated"));
    assert!(lines[1].contains("attempt=1") && lines[1].ends_with("repeated=4"));
    assert!(lines[2].contains("attempt=5") && !lines[2].contains("repeated"));
}

#[test]
fn events_of_other_keys_places_and_levels_are_not_folded() {
    let log = Log::new(Format::Text, "info");
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
    let log = Log::new(Format::Json, "info");
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
    let log = Log::new(Format::Text, "info");
    log.run(|_| {
        for number in 0..5000 {
            upstream_failed(&format!("{number}.example"), 0);
        }
    });
    assert_eq!(log.lines().len(), 257);
}

#[test]
fn folds_left_at_the_end_are_written_by_the_log_thread() {
    let log = Log::new(Format::Text, "info");
    log.run(|_| {
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
    });
    log.folds.stop();
    let left = Mutex::new(Vec::new());
    log.folds
        .run(|summary| lock(&left).push(summary.line(Format::Text)));
    let left = left.into_inner().expect("no panic");
    assert_eq!(left.len(), 1);
    assert!(left[0].ends_with("repeated=2\n"), "{left:?}");
}

#[test]
fn folds_are_written_in_time_though_nothing_else_is_logged() {
    let log = Log::new(Format::Text, "info");
    log.run(|_| {
        for attempt in 0..3 {
            upstream_failed("a.example", attempt);
        }
    });
    log.pass(FOLD_WINDOW);
    let written = Mutex::new(Vec::new());
    log.folds.run(|summary| {
        lock(&written).push(summary.line(Format::Text));
        // The thread's only way out: it has done what it is for.
        log.folds.stop();
    });
    let written = written.into_inner().expect("no panic");
    assert!(matches!(written.as_slice(), [line] if line.ends_with("repeated=2\n")));
}

fn upstream_failed(host: &str, attempt: u32) {
    tracing::warn!(host, attempt, "cannot reach upstream");
}

/// A log into memory, on a clock that only the test moves.
struct Log {
    output: Output,
    now: Arc<Mutex<Instant>>,
    folds: Arc<Folds>,
    filter: Filter,
    mode: Arc<Mode>,
    dispatch: tracing::Dispatch,
}

impl Log {
    fn new(format: Format, level: &str) -> Self {
        let now = Arc::new(Mutex::new(Instant::now()));
        let read = Arc::clone(&now);
        let folds = Arc::new(Folds::new(FOLD_WINDOW, move || *lock(&read)));
        let output = Output::default();
        let settings = Settings {
            format,
            level: level.to_owned(),
        };
        let writer = output.clone();
        let mode = Arc::new(Mode::new(format));
        let (subscriber, filter) =
            subscriber(&settings, &mode, false, move || writer.clone(), &folds)
                .expect("good settings");
        Self {
            output,
            now,
            folds,
            filter,
            mode,
            dispatch: tracing::Dispatch::new(subscriber),
        }
    }

    fn run(&self, body: impl FnOnce(&Self)) {
        tracing::dispatcher::with_default(&self.dispatch, || body(self));
    }

    fn pass(&self, time: Duration) {
        *lock(&self.now) += time;
    }

    fn text(&self) -> String {
        String::from_utf8(lock(&self.output.0).clone()).expect("text")
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

use super::*;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Instant;

const INTERVAL: Duration = Duration::from_secs(10);

fn variables(of: &[(&'static str, &str)]) -> impl Fn(&str) -> Option<OsString> {
    let of: Vec<(&str, OsString)> = of
        .iter()
        .map(|(name, value)| (*name, value.into()))
        .collect();
    move |asked| {
        let found = of.iter().find(|(name, _)| *name == asked);
        found.map(|(_, value)| value.clone())
    }
}

/// A manager's socket, and relayd's view of it.
fn manager(name: &str) -> (UnixDatagram, Manager) {
    let name = format!("relayd-{name}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    socket.set_nonblocking(true).expect("set");
    let name = format!("@{name}");
    (
        socket,
        Manager::new(variables(&[("NOTIFY_SOCKET", &name)]), 1),
    )
}

fn said(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let len = socket.recv(&mut buffer).expect("a message");
    String::from_utf8(buffer[..len].to_vec()).expect("text")
}

#[test]
fn the_words_are_those_of_the_protocol() {
    let (socket, manager) = manager("words");
    manager.ready("serving\nREADY=0");
    assert_eq!(said(&socket), "READY=1\nSTATUS=serving READY=0");
    let before = monotonic_us();
    manager.reloading();
    let text = said(&socket);
    let time = text
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .and_then(|rest| rest.strip_suffix("\nSTATUS=reloading"));
    let time: u64 = time.expect("the time").parse().expect("a number");
    assert!((before..=monotonic_us()).contains(&time), "{text}");
    manager.stopping(Duration::from_secs(60));
    let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\nSTATUS=draining";
    assert_eq!(said(&socket), stopping);
    manager.status(&"x".repeat(500));
    assert_eq!(said(&socket).len(), "STATUS=".len() + STATUS_CHARS_MAX);
    manager.alive();
    assert_eq!(said(&socket), "WATCHDOG=1");
    manager.hand_over(7);
    assert_eq!(said(&socket), "MAINPID=7");
    manager.alive();
    manager.status("of no interest");
    let nothing = socket.recv(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(
        nothing,
        Err(std::io::ErrorKind::WouldBlock),
        "another speaks"
    );
    manager.take_back(1);
    assert_eq!(said(&socket), "MAINPID=1");
    manager.alive();
    assert_eq!(said(&socket), "WATCHDOG=1");
}

#[test]
fn variables_that_are_unset_empty_or_nonsense_are_harmless() {
    for name in [
        None,
        Some(""),
        Some("relative"),
        Some("@"),
        Some("/nowhere/at/all"),
    ] {
        let given = name.map(|name| ("NOTIFY_SOCKET", name));
        let manager = Manager::new(variables(given.as_slice()), 1);
        manager.ready("serving");
        manager.alive();
        manager.alive();
    }
}

#[test]
fn the_watchdog_is_for_this_process_only_and_needs_a_socket() {
    let of = |variables: &[(&'static str, &str)]| {
        let socket = [("NOTIFY_SOCKET", "@relayd-watchdog")];
        let all = [&socket[..], variables].concat();
        Manager::new(super::tests::variables(&all), 42).watchdog()
    };
    assert_eq!(of(&[("WATCHDOG_USEC", "10000000")]), Some(INTERVAL));
    let own = [("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "42")];
    assert_eq!(of(&own), Some(INTERVAL));
    let other = [("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "43")];
    assert_eq!(of(&other), None);
    for nonsense in ["", "0", "-1", "10s", "99999999999999999999"] {
        assert_eq!(of(&[("WATCHDOG_USEC", nonsense)]), None, "{nonsense}");
    }
    assert_eq!(of(&[("WATCHDOG_PID", "42")]), None);
    let alone = Manager::new(variables(&[("WATCHDOG_USEC", "10000000")]), 42);
    assert_eq!(alone.watchdog(), None);
}

/// Looks until `end`, with threads that answer as `answers` says; returns when each step but Wait came.
fn looks(end: Duration, answers: impl Fn(Duration) -> bool) -> Vec<(Duration, Step)> {
    let begin = Instant::now();
    let mut rounds = Rounds::new(INTERVAL, begin);
    let (mut now, mut steps) = (begin, Vec::new());
    while now - begin < end {
        let step = rounds.look(now, answers(now - begin));
        if step != Step::Wait {
            steps.push((now - begin, step));
        }
        let wait = rounds.wait(now);
        assert!(wait > Duration::ZERO || step == Step::Feed, "a busy loop");
        now += wait;
    }
    steps
}

#[test]
fn healthy_threads_are_asked_twice_in_an_interval_and_the_manager_is_told_each_time() {
    let steps = looks(INTERVAL * 10, |_| true);
    let count = |step| steps.iter().filter(|(_, other)| *other == step).count();
    assert_eq!(count(Step::Ask), 20);
    assert_eq!(count(Step::Feed), 20);
    assert_eq!(count(Step::Report), 0);
    let fed = steps.iter().filter(|(_, step)| *step == Step::Feed);
    let fed: Vec<Duration> = fed.map(|(at, _)| *at).collect();
    for pair in fed.windows(2) {
        assert!(pair[1] - pair[0] <= INTERVAL / 2, "{pair:?}");
    }
}

#[test]
fn a_stuck_thread_lets_the_interval_run_out_and_is_reported_once() {
    let steps = looks(INTERVAL * 3, |at| at < INTERVAL);
    let fed = steps.iter().rev().find(|(_, step)| *step == Step::Feed);
    assert!(fed.expect("fed at first").0 < INTERVAL);
    let reports = steps.iter().filter(|(_, step)| *step == Step::Report);
    let reports: Vec<Duration> = reports.map(|(at, _)| *at).collect();
    assert_eq!(reports.len(), 1);
    assert!(reports[0] <= INTERVAL * 2, "before the manager ends it");
}

#[test]
fn a_late_answer_is_passed_on_at_once_and_the_rounds_go_on() {
    let late = INTERVAL * 7 / 10;
    let steps = looks(INTERVAL * 3, |at| at >= late);
    assert_eq!(steps[0].1, Step::Ask);
    let fed = steps.iter().find(|(_, step)| *step == Step::Feed);
    let (at, _) = fed.expect("fed");
    assert!(*at >= late && *at <= late + INTERVAL / 50, "{at:?}");
    let asked = steps.iter().filter(|(_, step)| *step == Step::Ask).count();
    assert!(asked >= 5, "{asked}");
}

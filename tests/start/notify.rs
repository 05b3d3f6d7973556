//! What systemd hears from the binary (sd_notify(3)), over a notify socket of the test's own.

use super::process::{Ended, PATIENCE, SECRET_MARK, Serving, relayd, run};
use super::site::Site;
use relayd::sys::notify::monotonic_us;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// systemd's end of the socket; an abstract name, which no root directory hides.
pub struct Manager {
    socket: UnixDatagram,
    pub name: String,
}

impl Manager {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relayd-systemd-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        Self {
            socket,
            name: format!("@{name}"),
        }
    }

    /// The next message, if any comes in time.
    fn hear(&self) -> Option<String> {
        let mut buffer = [0; 1024];
        self.socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let len = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[..len].to_vec()).expect("text");
        assert!(!text.contains(SECRET_MARK), "a secret in {text}");
        Some(text)
    }

    /// The first message that has this line; those before it are gone.
    pub fn wait_for(&self, line: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let text = self.hear();
            let text = text.unwrap_or_else(|| panic!("no {line:?} in {heard:#?}"));
            if text.lines().any(|one| one == line) {
                return text;
            }
            heard.push(text);
        }
    }

    /// Everything that was said to a process that has ended.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("set");
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return heard;
                }
            }
        }
    }
}

fn value<'a>(message: &'a str, name: &str) -> &'a str {
    let mut lines = message.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}= in {message}"))
}

fn serve(site: &Site, manager: &Manager, variables: &[(&str, &str)]) -> Serving {
    let mut command = relayd();
    command.arg("--config").arg(site.toml());
    command.env("NOTIFY_SOCKET", &manager.name);
    command.envs(variables.iter().copied());
    Serving::start(&mut command, "\"serving\"")
}

fn hang_up(serving: &Serving) {
    let pid = serving.pid().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn ready_is_said_once_everything_is_served() {
    let (site, manager) = (Site::new(), Manager::new());
    let mut command = relayd();
    command.arg("--config").arg(site.toml());
    command.env("NOTIFY_SOCKET", &manager.name);
    let listening = std::thread::scope(|scope| {
        let heard = scope.spawn(|| manager.hear());
        let serving = Serving::start(&mut command, "\"serving\"");
        let first = heard.join().expect("heard").expect("a message");
        assert_eq!(first, "READY=1\nSTATUS=serving");
        // The line with the addresses was there before: every listener takes connections.
        let line: serde_json::Value =
            serde_json::from_str(serving.seen.last().expect("a line")).expect("JSON");
        for name in ["tcp", "tls", "admin"] {
            let address = line["fields"][name].as_str().or(line[name].as_str());
            let address = address.unwrap_or_else(|| panic!("{name} in {line}"));
            std::net::TcpStream::connect(address).expect("it listens");
        }
        serving
    });
    drop(listening);
}

#[test]
fn a_server_that_cannot_start_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("bound").port();
    let tls = format!("tls = [\"127.0.0.1:{port}\"]");
    let site = Site::with(&[("tls = [\"127.0.0.1:0\"]", &tls)]);
    let manager = Manager::new();
    let mut command = relayd();
    command.arg("--config").arg(site.toml());
    let Ended { code, .. } = run(command.env("NOTIFY_SOCKET", &manager.name));
    assert_eq!(code, Some(1));
    assert_eq!(manager.rest(), Vec::<String>::new());
}

/// A READY after the RELOADING, whose time systemd holds against its own: also when the file is refused.
#[test]
fn a_reload_is_framed_by_reloading_and_ready_whatever_comes_of_it() {
    let (site, manager) = (Site::new(), Manager::new());
    let mut serving = serve(&site, &manager, &[]);
    manager.wait_for("READY=1");
    for (broken, mark) in [(false, "\"reloaded\""), (true, "stays as it was")] {
        if broken {
            site.write("relay.toml", "no configuration");
        }
        let before = monotonic_us();
        hang_up(&serving);
        let reloading = manager.wait_for("RELOADING=1");
        let time: u64 = value(&reloading, "MONOTONIC_USEC")
            .parse()
            .expect("a number");
        assert!((before..=monotonic_us()).contains(&time), "{reloading}");
        let after = manager.hear().expect("the end of the reload");
        assert!(after.starts_with("READY=1\n"), "{after}");
        serving.wait_for(mark);
    }
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_stop_is_announced_with_the_time_that_it_may_take() {
    let (site, manager) = (Site::new(), Manager::new());
    let mut serving = serve(&site, &manager, &[]);
    assert_eq!(serving.stop(), Some(0));
    let stopping = manager.wait_for("STOPPING=1");
    let time_us: u64 = value(&stopping, "EXTEND_TIMEOUT_USEC")
        .parse()
        .expect("a number");
    assert!(
        time_us > 5_000_000,
        "the drain timeout of the file: {time_us}"
    );
    let draining = manager.hear().expect("what it waits for");
    assert!(
        draining.starts_with("STATUS=draining: 0 allocations"),
        "{draining}"
    );
}

#[test]
fn the_watchdog_is_fed_for_as_long_as_the_server_runs() {
    let (site, manager) = (Site::new(), Manager::new());
    // systemd sets WATCHDOG_PID to the number of the process that it starts.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_relayd")).arg(site.toml());
    command.env("NOTIFY_SOCKET", &manager.name);
    command.env("WATCHDOG_USEC", "300000");
    let mut serving = Serving::start(&mut command, "\"serving\"");
    assert!(manager.hear().expect("a message").starts_with("READY=1\n"));
    for _ in 0..5 {
        assert_eq!(manager.hear().as_deref(), Some("WATCHDOG=1"));
    }
    hang_up(&serving);
    manager.wait_for("RELOADING=1");
    manager.wait_for("WATCHDOG=1");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_and_variables_without_sense_are_left_alone() {
    for variables in [
        &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")][..],
        &[("WATCHDOG_USEC", "soon")],
        &[("WATCHDOG_USEC", "0")],
        &[("WATCHDOG_USEC", "1000"), ("NOTIFY_SOCKET", "")],
        &[("WATCHDOG_USEC", "1000"), ("NOTIFY_SOCKET", "relative")],
        &[("NOTIFY_SOCKET", "/nowhere/at/all")],
    ] {
        let (site, manager) = (Site::new(), Manager::new());
        let mut serving = serve(&site, &manager, variables);
        hang_up(&serving);
        serving.wait_for("\"reloaded\"");
        assert_eq!(serving.stop(), Some(0), "{variables:?}");
        let fed = manager.rest().iter().any(|text| text.contains("WATCHDOG"));
        assert!(!fed, "{variables:?}");
    }
}

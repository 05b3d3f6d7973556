//! Upgrades that do not come about: the process that runs goes on as if nothing had been asked.

use super::server::{PATIENCE, Server, Setup};
use super::support::client::{Client, Kind, Wire, is_success};
use super::web::relayd::Directory;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A call, before and after.
fn calls(server: &Server) -> Client {
    let mut client = server.alice(Kind::Udp);
    client.allocate().expect("there is room");
    client
}

fn assert_as_before(server: &mut Server, call: &mut Client) {
    call.refresh(600)
        .and_then(is_success)
        .expect("its call goes on");
    for kind in Kind::ALL {
        for _ in 0..3 {
            server.bob(kind).allocate().expect("new calls are taken");
        }
    }
    assert_eq!(server.admin("/readyz").0, 200);
    assert_eq!(server.metric("relayd_upgrades_total", "done"), 0.0);
    assert!(server.is_running());
}

/// Puts a script where the binary was.
fn replace_binary(server: &Server, script: &str) {
    let path = server.dir.path("relayd");
    std::fs::remove_file(&path).expect("the link to the binary");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("ours");
}

fn restore_binary(server: &Server) {
    let path = server.dir.path("relayd");
    std::fs::remove_file(&path).expect("a script");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relayd"), path).expect("free");
}

#[test]
fn a_bad_configuration_fails_the_upgrade_and_the_log_says_what_is_wrong() {
    let setup = Setup::default();
    let mut server = Server::start(&setup);
    let mut call = calls(&server);
    let broken = setup.text().replace("workers = 2", "workers = \"many\"");
    server.dir.write("relay.toml", &broken);
    server.signal(server.pid, "-USR2");
    let line = server.wait_for("upgrade failed; this process serves on");
    assert!(line.contains(&format!("pid={}", server.pid)), "{line}");
    assert!(line.contains("its configuration has problems"), "{line}");
    // The new process's own report has a line for each of these.
    let report = server.wait_for("server.workers` is not a number of workers --> ");
    assert!(report.contains("relay.toml:3"), "{report}");
    assert_as_before(&mut server, &mut call);
    assert_eq!(server.metric("relayd_upgrades_total", "failed"), 1.0);
    // Mended, it works.
    server.rewrite(&setup);
    server.upgrade();
    assert_eq!(
        server.metric("relayd_upgrades_total", "failed"),
        1.0,
        "the counts go on"
    );
}

#[test]
fn a_port_that_the_new_configuration_cannot_have_fails_the_upgrade() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("bound");
    let mut server = Server::start(&Setup::default());
    let mut call = calls(&server);
    server.rewrite(&Setup {
        tcp: taken.to_string(),
        ..Setup::default()
    });
    server.signal(server.pid, "-USR2");
    let line = server.wait_for("upgrade failed; this process serves on");
    assert!(
        line.contains(&format!("cannot listen on {taken}")),
        "{line}"
    );
    assert_as_before(&mut server, &mut call);
}

#[test]
fn a_program_that_crashes_or_is_none_fails_the_upgrade() {
    let mut server = Server::start(&Setup::default());
    let mut call = calls(&server);
    for (script, says) in [
        ("echo not today >&2; exit 3", "exit status: 3"),
        ("kill -SEGV $$", "signal: 11"),
    ] {
        replace_binary(&server, script);
        server.signal(server.pid, "-USR2");
        let line = server.wait_for("upgrade failed; this process serves on");
        assert!(line.contains(says), "{line}");
        restore_binary(&server);
    }
    std::fs::remove_file(server.dir.path("relayd")).expect("the link");
    server.signal(server.pid, "-USR2");
    let line = server.wait_for("upgrade failed; this process serves on");
    assert!(line.contains("cannot start"), "{line}");
    assert_as_before(&mut server, &mut call);
    assert_eq!(server.metric("relayd_upgrades_total", "failed"), 3.0);
}

/// One that hangs is ended; meanwhile a second upgrade and a reload are refused, and a signal to stop is heard.
#[test]
fn a_process_that_never_serves_is_given_up() {
    let timeout = |text: &str| Setup {
        extra: vec![("server", format!("upgrade_timeout = {text:?}"))],
        ..Setup::default()
    };
    let mut server = Server::start(&timeout("1s"));
    let mut call = calls(&server);
    replace_binary(&server, "exec sleep 600");
    server.signal(server.pid, "-USR2");
    server.wait_for("the new process runs");
    server.signal(server.pid, "-USR2");
    let line = server.wait_for("upgrade refused");
    assert!(line.contains("one is under way"), "{line}");
    server.signal(server.pid, "-HUP");
    server.wait_for("the reload waits");
    let line = server.wait_for("upgrade failed; this process serves on");
    assert!(line.contains("server.upgrade_timeout"), "{line}");
    server.wait_for(" reloaded ");
    assert_as_before(&mut server, &mut call);

    let mut server = Server::start(&timeout("5m"));
    replace_binary(&server, "exec sleep 600");
    server.signal(server.pid, "-USR2");
    server.wait_for("the new process runs");
    server.signal(server.pid, "-TERM");
    server.wait_for("upgrade called off");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn an_upgrade_of_a_process_whose_former_one_has_calls_is_refused() {
    let mut server = Server::start(&Setup::default());
    let first = server.pid;
    let mut call = calls(&server);
    server.upgrade();
    server.signal(server.pid, "-USR2");
    let line = server.wait_for("upgrade refused");
    assert!(line.contains(&format!("process {first}")), "{line}");
    server.signal(first, "-USR2");
    let line = server.wait_for("upgrade refused");
    assert!(line.contains("another process has taken over"), "{line}");
    assert_eq!(server.metric("relayd_upgrades_total", "refused"), 1.0);
    call.refresh(0)
        .and_then(is_success)
        .expect("its call went on");
    server.wait_for("the former process has ended");
    server.upgrade();
}

/// systemd stops all processes of the service: the first signal shortens the wait, the second ends it.
#[test]
fn the_former_process_ends_by_the_drain_timeout_when_it_is_stopped() {
    let mut server = Server::start(&Setup {
        extra: vec![("turn", "software = \"\"".to_owned())],
        ..Setup::default()
    });
    let first = server.pid;
    let _call = calls(&server);
    server.upgrade();
    server.signal(first, "-TERM");
    server.wait_for("waiting for calls no longer than server.drain_timeout");
    server.signal(first, "-TERM");
    server.wait_for("a second signal: stopping now");
    assert_eq!(server.wait().code(), Some(0));
    server.bob(Kind::Udp).allocate().expect("the other serves");
}

#[test]
fn calls_that_do_not_end_are_ended_when_the_drain_timeout_of_the_upgrade_is_over() {
    let mut server = Server::start(&Setup {
        extra: vec![("server", "upgrade_drain_timeout = \"1s\"".to_owned())],
        ..Setup::default()
    });
    let _call = calls(&server);
    server.upgrade();
    server.wait_for("the drain timeout of the upgrade is over");
    assert_eq!(server.wait().code(), Some(0));
}

/// The new process may have read the file before it was changed: the reload is its own then.
#[test]
fn a_reload_that_comes_during_an_upgrade_is_the_new_process_s() {
    let (mut server, socket) = managed(&Setup::default());
    let binary = env!("CARGO_BIN_EXE_relayd");
    replace_binary(&server, &format!("sleep 1; exec {binary} \"$@\""));
    server.signal(server.pid, "-USR2");
    server.wait_for("the new process runs");
    server.signal(server.pid, "-HUP");
    wait_until_told(&socket, "RELOADING=1");
    wait_until_told(&socket, "READY=1");
    server.wait_until_upgraded();
    if !server.seen.iter().any(|line| line.contains(" reloaded ")) {
        server.wait_for(" reloaded ");
    }
    server.bob(Kind::Udp).allocate().expect("it serves");
}

/// The calls of the former process need nobody but it.
#[test]
fn the_end_of_the_new_process_leaves_the_calls_of_the_former_one() {
    let mut server = Server::start(&Setup::default());
    let mut call = calls(&server);
    server.upgrade();
    call.refresh(600)
        .and_then(is_success)
        .expect("it is forwarded");
    server.signal(server.pid, "-KILL");
    server.wait_for("the process that took over has ended");
    let begin = Instant::now();
    while call.refresh(600).and_then(is_success).is_err() {
        assert!(begin.elapsed() < PATIENCE, "nobody reads the listener");
        std::thread::sleep(Duration::from_millis(10));
    }
    call.refresh(0).and_then(is_success).expect("it ends");
    assert_eq!(server.wait().code(), Some(1), "a manager starts it again");
}

/// A server with a service manager that hears what it says.
fn managed(setup: &Setup) -> (Server, UnixDatagram) {
    let dir = super::server::site(setup);
    let path = dir.path("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let program = super::server::program(&dir);
    let mut command = std::process::Command::new(&program[0]);
    command
        .args(&program[1..])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "2000000");
    (Server::spawn(command, dir), socket)
}

fn wait_until_told(socket: &UnixDatagram, wanted: &str) {
    let mut buffer = [0; 4096];
    loop {
        let len = socket.recv(&mut buffer).expect("the state");
        let state = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if state.lines().any(|line| line.starts_with(wanted)) {
            return;
        }
    }
}

#[test]
fn the_service_manager_is_told_the_new_main_process() {
    let (mut server, socket) = managed(&Setup::default());
    server.upgrade();
    wait_until_told(&socket, &format!("MAINPID={}", server.pid));
}

#[test]
fn the_end_of_the_new_process_makes_the_former_one_the_main_one_again() {
    let (mut server, socket) = managed(&Setup::default());
    let first = server.pid;
    let mut call = calls(&server);
    server.upgrade();
    server.signal(server.pid, "-KILL");
    wait_until_told(&socket, &format!("MAINPID={first}"));
    for _ in 0..3 {
        wait_until_told(&socket, "WATCHDOG=1");
    }
    let begin = Instant::now();
    while call.refresh(0).and_then(is_success).is_err() {
        assert!(begin.elapsed() < PATIENCE, "nobody reads the listener");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.wait().code(), Some(1));
}

/// Were the main process gone first, a service manager would signal the former one again, which would end its calls.
#[test]
fn a_process_that_is_stopped_waits_for_the_calls_of_the_former_one() {
    let (mut server, socket) = managed(&Setup::default());
    let (first, mut call) = (server.pid, calls(&server));
    server.upgrade();
    // As a service manager does: to all of them at once.
    server.signal(first, "-TERM");
    server.signal(server.pid, "-TERM");
    wait_until_told(
        &socket,
        &format!(
            "STATUS=draining: 0 allocations, 0 requests, 0 tunnels, 0 HTTP connections; former process {first}"
        ),
    );
    std::thread::sleep(Duration::from_millis(500));
    call.refresh(600)
        .and_then(is_success)
        .expect("both still work");
    server.signal(server.pid, "-0");
    call.refresh(0).and_then(is_success).expect("it ends");
    server.wait_for("stopped");
    assert_eq!(server.wait().code(), Some(0));
}

/// Without a signal of its own the former process hears of the stop, too, and of the deadline.
#[test]
fn the_calls_of_the_former_process_have_as_long_as_the_new_one_that_is_stopped() {
    let setup = Setup {
        extra: vec![("server", "upgrade_drain_timeout = \"1h\"".to_owned())],
        ..Setup::default()
    };
    let mut server = Server::start(&setup);
    let _call = calls(&server);
    server.upgrade();
    server.signal(server.pid, "-TERM");
    server.wait_for("the new process stops: waiting for calls no longer than it does");
    assert_eq!(server.wait().code(), Some(0), "that is no failure");
}

/// Ends the servers of a directory, whatever becomes of the test.
struct Site(Directory);

impl Drop for Site {
    fn drop(&mut self) {
        super::server::end_all(&self.0);
    }
}

#[test]
fn a_rotated_log_is_opened_again_by_both_processes() {
    let dir = Directory::new();
    let log = dir.path("relayd.log");
    let setup = Setup {
        extra: vec![("log", format!("to = \"file:{}\"", log.display()))],
        ..Setup::default()
    };
    let site = Site(super::server::site(&setup));
    let program = super::server::program(&site.0);
    let mut child = std::process::Command::new(&program[0])
        .args(&program[1..])
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let kill = |pid: u32, name: &str| {
        let sent = std::process::Command::new("kill")
            .args([name, &pid.to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "{pid} is gone");
    };
    let wait_for = |mark: &str| {
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| line.contains(mark)) {
                return line.to_owned();
            }
            assert!(begin.elapsed() < PATIENCE, "no {mark:?} in {text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let line = wait_for(" serving ");
    let (_, udp) = line.split_once(" udp=").expect("its address");
    let udp = udp.split(' ').next().and_then(|udp| udp.parse().ok());
    let wire = Wire::open(Kind::Udp, udp.expect("an address")).expect("it serves");
    let mut call = Client::new(wire, "alice", "wonderland");
    call.allocate().expect("there is room");
    kill(child.id(), "-USR2");
    let line = wait_for("upgraded: this process serves");
    let (_, pid) = line.split_once(" pid=").expect("it names itself");
    let pid: u32 = pid
        .split(' ')
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a process ID");
    wait_for("upgraded: the new process serves");
    std::fs::rename(&log, dir.path("relayd.log.1")).expect("there");
    kill(pid, "-HUP");
    wait_for(" reloaded ");
    call.refresh(0).and_then(is_success).expect("it ends");
    wait_for("the former process ends");
    assert!(child.wait().expect("our child").success());
    kill(pid, "-TERM");
    wait_for(" stopped");
}

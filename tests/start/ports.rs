//! A port that cannot be had: exit code 1, and the message names the address and who has it.

use super::network;
use super::process::{Ended, Serving, relayd, run};
use super::site::Site;
use super::support::client::Kind;
use super::support::subject::{Setup, Subject};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

/// This process as the message has it.
fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").expect("Linux");
    format!("{} (pid {})", name.trim(), std::process::id())
}

fn serve_on(key: &str, addr: SocketAddr) -> Ended {
    let (old, new) = match key {
        "admin" => (
            "[admin]\nlisten = \"127.0.0.1:0\"".to_owned(),
            format!("[admin]\nlisten = \"{addr}\""),
        ),
        _ => (
            format!("{key} = [\"127.0.0.1:0\"]"),
            format!("{key} = [\"{addr}\"]"),
        ),
    };
    let site = Site::with(&[(&old, &new)]);
    run(relayd().arg("--config").arg(site.toml()))
}

fn assert_held(ended: &Ended, addr: SocketAddr, holder: &str) {
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.assert_says(&[&format!("error: cannot listen on {addr}"), holder]);
    assert!(!ended.stdout.contains("serving"), "{ended:#?}");
}

#[test]
fn a_udp_port_in_use_is_blamed_on_its_holder() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addr = socket.local_addr().expect("bound");
    let ended = serve_on("udp", addr);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.assert_says(&[&format!("error: cannot listen on udp {addr}"), &own_name()]);
}

#[test]
fn a_tcp_tls_or_admin_port_in_use_is_blamed_on_its_holder() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    for key in ["tcp", "tls", "admin"] {
        let ended = serve_on(key, addr);
        assert_held(&ended, addr, &own_name());
        ended.assert_says(&[&format!("({key})")]);
    }
}

/// SO_REUSEPORT would let the same user's second server take half of the packets.
#[test]
fn a_second_relayd_does_not_share_a_port_of_the_first() {
    let first = Subject::start(&Setup::default());
    let holder = format!("relayd (pid {})", first.pid());
    let tcp = first.addr(Kind::Tcp, "127.0.0.1");
    assert_held(&serve_on("tcp", tcp), tcp, &holder);
    let tls = first.addr(Kind::Tls, "127.0.0.1");
    assert_held(&serve_on("tls", tls), tls, &holder);
    let admin = first.admin.expect("it is on");
    assert_held(&serve_on("admin", admin), admin, &holder);
    let udp = first.addr(Kind::Udp, "127.0.0.1");
    let ended = serve_on("udp", udp);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.assert_says(&[&format!("udp {udp}"), &holder]);
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    network::alone(
        "ports::an_address_of_another_machine_cannot_be_listened_on",
        &[],
        || {
            let addr = "10.9.8.7:3478".parse().expect("an address");
            for key in ["udp", "tcp", "tls"] {
                let ended = serve_on(key, addr);
                assert_eq!(ended.code, Some(1), "{ended:#?}");
                ended.assert_says(&["error: cannot listen on", "10.9.8.7:3478"]);
            }
        },
    );
}

#[test]
fn a_port_below_1024_without_the_privilege_says_how_to_get_it() {
    network::alone(
        "ports::a_port_below_1024_without_the_privilege_says_how_to_get_it",
        &[],
        || {
            for (key, wanted) in [
                ("udp", "error: cannot listen on udp 127.0.0.1:443"),
                ("tls", "error: cannot listen on 127.0.0.1:443 (tls)"),
            ] {
                let old = format!("{key} = [\"127.0.0.1:0\"]");
                let new = format!("{key} = [\"127.0.0.1:443\"]");
                let site = Site::with(&[(&old, &new)]);
                let ended = run(without_privilege().arg("--config").arg(site.toml()));
                assert_eq!(ended.code, Some(1), "{ended:#?}");
                ended.assert_says(&[wanted, "Permission denied", "CAP_NET_BIND_SERVICE"]);
                // With the privilege the same file is served.
                let command = &mut relayd();
                let mut serving =
                    Serving::start(command.arg("--config").arg(site.toml()), "\"serving\"");
                assert_eq!(serving.stop(), Some(0));
            }
        },
    );
}

/// Root's power over low ports is this capability.
fn without_privilege() -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-net_bind_service",
        "--inh-caps=-net_bind_service",
        env!("CARGO_BIN_EXE_relayd"),
    ]);
    command
}

//! Names and DNS: a resolver of the test's own answers, and no other is asked.

use super::network;
use super::process::run;
use super::site::{Checked, Site};
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// A DNS server at 127.0.0.1:53: `inside.example.com` is 10.0.0.5, nothing else exists. It ends with the process.
fn resolver() {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("the port is free in this network");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..length]) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

/// RFC 1035 §4.1: one A record, no record of this type, or NXDOMAIN.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let length = query.get(12..)?.iter().position(|b| *b == 0)? + 1;
    let question = query.get(12..12 + length + 4)?;
    let exists = question.starts_with(b"\x06inside\x07example\x03com\0");
    let has_record = exists && question[length..length + 2] == [0, 1];
    let code = if exists { 0x80 } else { 0x83 };
    let mut out = query[..2].to_vec();
    out.extend([0x81, code, 0, 1, 0, u8::from(has_record), 0, 0, 0, 0]);
    out.extend(question);
    if has_record {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 5]);
    }
    Some(out)
}

/// Runs the check with the test's own /etc/resolv.conf, in a mount namespace.
fn check(site: &Site, arguments: &[&str]) -> Checked {
    site.write("resolv.conf", RESOLV_CONF);
    let inner = site.command(&[&["--json"], arguments].concat());
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(site.dir.path("resolv.conf"));
    command.arg(inner.get_program()).args(inner.get_args());
    Checked::of(run(&mut command))
}

#[test]
fn a_name_that_does_not_exist_and_one_that_leads_inside_are_told_apart() {
    const NAME: &str = "names::a_name_that_does_not_exist_and_one_that_leads_inside_are_told_apart";
    network::alone(NAME, &[], || {
        resolver();
        let site = Site::new()
            .append("[proxy]\nallow = [\"nowhere.example.com\", \"inside.example.com\", \"*.example.org\"]\n");
        let checked = check(&site, &["--only", "upstreams"]);
        let name = "nowhere.example.com";
        checked.assert(name, "fail", "the name does not exist", "proxy.resolve");
        let detail = "10.0.0.5 is denied by the built-in special-use list (10.0.0.0/8)";
        checked.assert(
            "inside.example.com",
            "fail",
            detail,
            "proxy.addresses.allow",
        );
        checked.assert("*.example.org", "untried", "any name below it", "");
    });
}

#[test]
fn a_resolver_that_nobody_runs_is_named_as_the_reason() {
    const NAME: &str = "names::a_resolver_that_nobody_runs_is_named_as_the_reason";
    network::alone(NAME, &[], || {
        let site = Site::new().append("[proxy]\nallow = [\"nowhere.example.com\"]\n");
        let checked = check(&site, &["--only", "upstreams"]);
        checked.assert("nowhere.example.com", "fail", "", "/etc/resolv.conf");
    });
}

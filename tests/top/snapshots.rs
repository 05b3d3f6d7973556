//! Without a terminal: `--once`, pipes, and what is said when there is no answer.

use crate::network;
use crate::support::client::{Kind, Outcome};
use crate::support::subject::{Setup, Subject};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn top(arguments: &[&str]) -> Output {
    command(arguments).output().expect("relayd starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    command
        .args(["top", "--interval", "500ms"])
        .args(arguments)
        .env_remove("RELAYD_ADMIN_TOKEN")
        .stdin(Stdio::null());
    command
}

fn url(subject: &Subject) -> String {
    format!("http://{}", subject.admin.expect("it is on"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

fn file(name: &str, content: &str) -> String {
    let name = format!("top-{}-{name}", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("a file can be written");
    path.display().to_string()
}

#[test]
fn a_snapshot_is_plain_text_with_the_numbers_and_the_list() -> Outcome {
    let subject = Subject::start(&Setup::default());
    let (mut alice, mut bob) = (subject.alice(Kind::Udp), subject.bob(Kind::Tls));
    alice.allocate()?;
    bob.allocate()?;
    let url = url(&subject);
    for piped in [false, true] {
        let mut arguments = vec!["--url", &url, "--sort", "user"];
        arguments.extend((!piped).then_some("--once"));
        let output = top(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = text(&output.stdout);
        assert!(!shown.contains('\x1b') && shown.ends_with('\n'), "{shown}");
        assert!(shown.starts_with(" relayd 0."), "{shown}");
        assert!(
            shown.contains("\ncalls     2  udp 1  tcp 0  tls 1  new "),
            "{shown}"
        );
        assert!(
            shown.contains("\n1 to 2 of 2 allocations, by user"),
            "{shown}"
        );
        let place = |user: &str| shown.find(&format!(" {user} "));
        assert!(
            place("alice").is_some() && place("alice") < place("bob"),
            "{shown}"
        );
        assert_eq!(text(&output.stderr).contains("no terminal"), piped);
    }
    let output = top(&["--url", &url, "--once", "--filter", "bob", "--rows", "1"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("1 to 1 of 1 allocations"), "{shown}");
    assert!(!shown.contains("alice"), "{shown}");
    Ok(())
}

#[test]
fn the_token_comes_from_a_file_or_the_environment_and_a_refusal_says_so() {
    let mut setup = Setup::default();
    let secret = "correct-horse-battery-staple";
    setup.extra.push((
        "admin",
        format!("token = {:?}", format!("file:{}", file("token", secret))),
    ));
    let token = file("token", secret);
    let subject = Subject::start(&setup);
    let url = url(&subject);
    let output = top(&["--once", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("--token-file FILE, RELAYD_ADMIN_TOKEN"),
        "{said}"
    );
    let wrong = file("wrong", "something else");
    let output = top(&["--once", "--url", &url, "--token-file", &wrong]);
    let said = text(&output.stderr);
    assert!(
        said.contains("another admin.token") && !said.contains("something else"),
        "{said}"
    );
    let output = top(&["--once", "--url", &url, "--token-file", &token]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut command = command(&["--once", "--url", &url]);
    let output = command.env("RELAYD_ADMIN_TOKEN", secret).output();
    assert_eq!(output.expect("relayd starts").status.code(), Some(0));
}

#[test]
fn what_cannot_be_asked_ends_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let output = top(&["--once", "--url", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot connect") && said.contains("refused"),
        "{said}"
    );

    let off = file(
        "off.toml",
        "[tls]\nself_signed = true\n[turn]\nusers = { a = \"long enough\" }\n[admin]\nlisten = \"off\"\n",
    );
    let port_0 = file(
        "port-0.toml",
        "[tls]\nself_signed = true\n[turn]\nusers = { a = \"long enough\" }\n[admin]\nlisten = \"127.0.0.1:0\"\n",
    );
    for (arguments, reason) in [
        (vec!["--url", "127.0.0.1:9641"], "no http:// or https://"),
        (
            vec!["--url", "http://x/", "--config", "x"],
            "cannot be used with",
        ),
        (vec!["--config", &off], "`admin.listen` is off"),
        (vec!["--config", &port_0], "port 0"),
        (vec!["--config", "/nonexistent/relay.toml"], "cannot read"),
        (
            vec!["--url", "http://x/", "--token-file", "/nonexistent/token"],
            "no token in",
        ),
        (vec!["--interval", "1ms"], "500ms to 60s"),
        (vec!["--sort", "colour"], "possible values"),
        (vec!["--filter", "usr=alice"], "there is no \"usr\""),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_relayd"))
            .args(["top", "--once"])
            .args(&arguments)
            .output()
            .expect("relayd starts");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}

/// The system's resolver goes on by itself, for a minute here.
#[test]
fn a_name_that_nobody_looks_up_does_not_hold_the_end_back() {
    const NAME: &str = "snapshots::a_name_that_nobody_looks_up_does_not_hold_the_end_back";
    network::alone(NAME, &[], || {
        let _silent = UdpSocket::bind("127.0.0.1:53").expect("the port is free in this network");
        let resolver = "nameserver 127.0.0.1\noptions timeout:30 attempts:2\n";
        let inner = command(&["--once", "--url", "http://admin.example.com:9641"]);
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(file("resolv.conf", resolver));
        command.arg(inner.get_program()).args(inner.get_args());
        let begun = Instant::now();
        let output = command.output().expect("unshare (package util-linux) runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{output:?}");
    });
}

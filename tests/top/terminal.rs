//! In which state the terminal is while it runs, and is left.

use crate::pty::Pty;
use crate::support::subject::{Setup, Subject};

fn start() -> (Subject, Pty) {
    let subject = Subject::start(&Setup::default());
    let mut top = Pty::top(subject.admin.expect("it is on"), &[]);
    top.until_shown("0 allocations");
    assert!(top.screen.is_alternate && top.is_raw());
    (subject, top)
}

#[test]
fn it_is_given_back_by_every_way_out() {
    for key in ["q", "\x03"] {
        let (_subject, mut top) = start();
        top.press(key);
        assert!(top.ended().success(), "{key:?}");
    }
    for signal in ["TERM", "INT", "HUP"] {
        let (_subject, mut top) = start();
        top.signal(signal);
        assert!(top.ended().success(), "SIG{signal}");
    }
}

#[test]
fn it_is_given_back_while_suspended_and_taken_again() {
    let (_subject, mut top) = start();
    for round in 0..3 {
        match round {
            0 => top.press("\x1a"),
            // As `kill -TSTP` from elsewhere.
            1 => top.signal("TSTP"),
            // Not to be noticed beforehand; a shell sets the terminal right then.
            _ => top.signal("STOP"),
        }
        wait_stopped(&top);
        if round < 2 {
            top.until("the alternate screen is left", |screen| {
                (!screen.is_alternate).then_some(())
            });
            top.assert_given_back();
        }
        top.screen.write(b"\x1b[2J");
        top.signal("CONT");
        top.until_shown("0 allocations");
        top.until("the screen is taken again", |screen| {
            screen.is_alternate.then_some(())
        });
        assert!(top.is_raw());
    }
    top.press("q");
    assert!(top.ended().success());
}

#[test]
fn another_size_is_drawn_at_once() {
    let (_subject, mut top) = start();
    top.resize(40, 10);
    top.until("the last line is that of the keys", |screen| {
        let shown = screen.text();
        let last = shown.lines().nth(9);
        last.is_some_and(|line| line.starts_with("q quit"))
            .then_some(())
    });
    top.resize(3, 2);
    top.until("something is drawn in a tiny window", |screen| {
        screen.text().contains('q').then_some(())
    });
    top.resize(150, 50);
    let shown = top.until_shown("p pause");
    assert_eq!(
        shown.lines().position(|line| line.starts_with("q quit")),
        Some(49),
        "{shown}"
    );
    top.press("q");
    assert!(top.ended().success());
}

#[test]
fn colours_are_left_out_when_nobody_wants_them() {
    let subject = Subject::start(&Setup::default());
    let url = format!("http://{}", subject.admin.expect("it is on"));
    let coloured = |more: &[&str], variable: Option<&str>| {
        let mut arguments = vec!["top", "--url", &url];
        arguments.extend(more);
        let mut top = Pty::start(&arguments, |command| {
            command.envs(variable.map(|value| ("NO_COLOR", value)));
        });
        top.until_shown("0 allocations");
        top.press("q");
        assert!(top.ended().success());
        let is_colour = |part: &str| matches!(part, "31" | "32" | "35" | "38" | "48");
        top.screen
            .styles
            .iter()
            .any(|style| style.split(';').any(is_colour))
    };
    assert!(coloured(&[], None));
    assert!(!coloured(&["--no-color"], None));
    assert!(!coloured(&[], Some("1")));
}

/// From the process's state in /proc.
fn wait_stopped(top: &Pty) {
    let begin = std::time::Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", top.pid())).expect("it lives");
        let (_, state) = stat.rsplit_once(") ").expect("a state");
        if state.starts_with('T') {
            return;
        }
        assert!(
            begin.elapsed() < crate::support::client::PATIENCE,
            "it does not stop: {stat}"
        );
        std::thread::yield_now();
    }
}

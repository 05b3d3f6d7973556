//! Real allocations: shown, sorted, filtered, looked at, ended.

use crate::gate::Gate;
use crate::pty::Pty;
use crate::support::client::{Client, Kind, Outcome, is_code, peer};
use crate::support::subject::{SECRET, Setup, Subject};
use relayd::secret::Secret;
use relayd::turn::credentials::time_limited_password;
use std::net::SocketAddr;

fn admin(subject: &Subject) -> SocketAddr {
    subject.admin.expect("it is on")
}

/// The row of the table that begins with a number and names this user.
fn row(shown: &str, user: &str) -> Option<String> {
    let is_row = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|id| id.parse::<u64>().is_ok()) && words.next() == Some(user)
    };
    shown.lines().find(is_row).map(str::to_owned)
}

#[test]
fn allocations_are_shown_filtered_and_ended_by_keys() -> Outcome {
    let subject = Subject::start(&Setup::default());
    let (mut alice, mut bob) = (subject.alice(Kind::Udp), subject.bob(Kind::Udp));
    alice.allocate()?;
    let relayed = bob.allocate()?;
    let mut top = Pty::top(admin(&subject), &[]);
    top.until("both are shown", |screen| {
        let shown = screen.text();
        row(&shown, "alice").and(row(&shown, "bob"))
    });
    let shown = top.until_shown("1 to 2 of 2 allocations");
    assert!(shown.contains(" relayd 0."), "{shown}");
    assert!(
        row(&shown, "bob").is_some_and(|row| row.contains(" udp ")),
        "{shown}"
    );

    top.press("/user=bob\r");
    top.until_shown("only user=bob");
    let shown = top.until_gone("alice");
    assert!(row(&shown, "bob").is_some(), "{shown}");

    top.press("\r");
    top.until_shown(&format!("relayed {relayed}"));
    top.press("\x1b");
    top.until_shown("only user=bob");

    top.press("x");
    top.until_shown("of bob, udp from");
    top.press("n");
    top.until_gone("Are you sure?");
    assert!(bob.refresh(600)?.error_code().is_none(), "no is no");
    top.press("x");
    top.until_shown("of bob, udp from");
    top.press("y");
    top.until_shown("has ended");
    is_code(&bob.refresh(600)?, 437)?;
    assert!(
        alice.refresh(600)?.error_code().is_none(),
        "another user's goes on"
    );
    top.press("/\x15\r");
    top.until("alice is back in the list", |screen| {
        row(&screen.text(), "alice")
    });
    top.press("q");
    assert!(top.ended().success());
    Ok(())
}

#[test]
fn the_list_is_sorted_by_the_server_as_the_keys_say() -> Outcome {
    let subject = Subject::start(&Setup::default());
    let mut clients = Vec::new();
    for busy in [false, true] {
        let mut client = if busy {
            subject.alice(Kind::Udp)
        } else {
            subject.bob(Kind::Tcp)
        };
        client.allocate()?;
        clients.push(client);
    }
    let far = peer("127.0.0.1");
    let far_addr = far.local_addr().expect("bound");
    let alice = clients.last_mut().expect("two");
    alice.permit(far_addr)?;
    alice.send_to(far_addr, &[7; 900])?;
    alice.fence()?;
    let first = |shown: &str, user: &str| {
        let rows = shown
            .lines()
            .skip_while(|line| !line.contains("trouble") || !line.contains("user"));
        rows.skip(1).take(1).any(|line| row(line, user).is_some())
    };
    let mut top = Pty::top(admin(&subject), &["--sort", "user"]);
    top.until_shown("by user (least first)");
    top.until("alice is first", |screen| {
        first(&screen.text(), "alice").then_some(())
    });
    top.press("r");
    top.until_shown("by user (most first)");
    top.until("bob is first", |screen| {
        first(&screen.text(), "bob").then_some(())
    });
    top.press("s");
    top.until_shown("bytes relayed, both ways");
    top.press("\x1b[Hj\r");
    top.until_shown("by bytes (most first)");
    top.until("who has sent is first", |screen| {
        first(&screen.text(), "alice").then_some(())
    });
    top.press("<");
    top.until_shown("by trouble");
    for (key, text) in [
        ("t", "0 tunnels"),
        ("u", "upstreams"),
        ("d", "Packets dropped"),
        ("?", "Words"),
    ] {
        top.press(key);
        top.until_shown(text);
    }
    top.press("q");
    assert!(top.ended().success());
    Ok(())
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_followed() -> Outcome {
    let subject = Subject::start(&Setup::default());
    let mut alice = subject.alice(Kind::Udp);
    alice.allocate()?;
    let gate = Gate::new(admin(&subject));
    let mut top = Pty::top(gate.address, &[]);
    top.until("alice is shown", |screen| row(&screen.text(), "alice"));
    gate.lead_to(None);
    drop(subject);
    let shown = top.until_shown("trying again");
    assert!(
        row(&shown, "alice").is_some(),
        "what was known stays: {shown}"
    );
    assert!(shown.contains(" old: "), "{shown}");
    let other = Subject::start(&Setup::default());
    let mut bob = other.bob(Kind::Tls);
    bob.allocate()?;
    gate.lead_to(other.admin);
    top.until("the other server's is shown", |screen| {
        row(&screen.text(), "bob")
    });
    let shown = top.until_gone("trying again");
    assert!(row(&shown, "alice").is_none(), "{shown}");
    top.press("\x03");
    assert!(top.ended().success());
    Ok(())
}

/// The screen refuses every control character and sequence that relayd itself does not write.
#[test]
fn a_user_name_with_escape_sequences_is_shown_and_not_obeyed() -> Outcome {
    let subject = Subject::start(&Setup::default());
    let name = "4102444800:\x1b]0;owned\x07\x1b[2Jmallory\u{9b}31m";
    let password = time_limited_password(&Secret::new(SECRET), name);
    let mut mallory = Client::new(subject.wire(Kind::Udp), name, &password);
    mallory.allocate()?;
    let mut top = Pty::top(admin(&subject), &[]);
    top.resize(180, 30);
    top.until_shown("4102444800:�]0;owned��[2Jmallory�31m");
    top.press("x");
    top.until_shown("of 4102444800:�]0;owned��[2Jmallory�31m, udp");
    top.press("y");
    top.until_shown("has ended");
    is_code(&mallory.refresh(600)?, 437)?;
    top.press("q");
    assert!(top.ended().success());
    Ok(())
}

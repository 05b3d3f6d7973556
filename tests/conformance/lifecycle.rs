//! How the server starts, drains and ends.

use super::scenario;
use super::support::client::{
    Client, Kind, Outcome, UDP, ensure, is_code, is_success, peer, peer_receive,
};
use super::support::stun::{self, Class, attr};
use super::support::subject::{SIGTERM, Setup, Subject};

/// Returns once new allocations are refused.
fn wait_for_drain(subject: &Subject) -> Outcome<Client> {
    let mut client = subject.bob(Kind::Udp);
    for _ in 0..50_000 {
        let reply = client.request(stun::ALLOCATE, |w| w.attr(attr::REQUESTED_TRANSPORT, &UDP))?;
        if reply.class == Class::Error {
            is_code(&reply, 508)?;
            return Ok(client);
        }
        is_success(client.refresh(0)?)?;
    }
    Err("new allocations are not refused".into())
}

scenario!(a_term_signal_lets_calls_go_on_and_refuses_new_ones, crate::play_relayd, Setup::default(), subject => {
    let peer = peer("127.0.0.1");
    let peer_addr = peer.local_addr().expect("bound");
    let mut calls = Vec::new();
    for kind in Kind::ALL {
        let mut client = subject.alice(kind);
        client.allocate()?;
        is_success(client.bind_channel(0x4000, peer_addr)?)?;
        calls.push((kind, client));
    }
    subject.signal(SIGTERM);
    wait_for_drain(subject)?;
    let (status, _) = subject.admin_get("/readyz")?;
    ensure(status == 503, format!("/readyz answers {status} while it drains"))?;
    for (kind, client) in &mut calls {
        client.send_channel(0x4000, b"still talking")?;
        let (got, relayed) = peer_receive(&peer).map_err(|fault| format!("{kind:?}: {fault}"))?;
        ensure(got == b"still talking", "other data")?;
        peer.send_to(b"and heard", relayed).map_err(|error| error.to_string())?;
        ensure(client.receive_data()?.2 == b"and heard", format!("{kind:?}: other data"))?;
        is_success(client.refresh(600)?)?;
        is_success(client.permit(peer_addr)?)?;
    }
    ensure(subject.is_running(), "it ended with calls going on")?;
    // The last call ends, and so does the server.
    for (_, client) in &mut calls {
        is_success(client.refresh(0)?)?;
    }
    drop(calls);
    let status = subject.wait()?;
    ensure(status.success(), format!("ended with {status}"))
});

scenario!(a_second_signal_ends_at_once, crate::play_relayd, Setup::default(), subject => {
    let mut client = subject.alice(Kind::Udp);
    client.allocate()?;
    subject.signal(SIGTERM);
    wait_for_drain(subject)?;
    ensure(subject.is_running(), "it did not wait for the call")?;
    subject.signal(SIGTERM);
    let status = subject.wait()?;
    ensure(status.success(), format!("ended with {status}"))
});

scenario!(an_idle_server_ends_on_the_first_signal, crate::play_relayd, Setup::default(), subject => {
    subject.alice(Kind::Udp).fence()?;
    subject.signal(SIGTERM);
    let status = subject.wait()?;
    ensure(status.success(), format!("ended with {status}"))
});

scenario!(a_reload_that_fails_changes_nothing, crate::play_relayd, Setup::default(), subject => {
    let mut call = subject.alice(Kind::Udp);
    call.allocate()?;
    let broken = Setup { extra: vec![("turn", "no_such_key = 1".to_owned())], ..Setup::default() };
    subject.reload(&broken);
    subject.wait_for_line("no_such_key")?;
    is_success(call.refresh(600)?)?;
    subject.bob(Kind::Tls).allocate().map(drop)
});

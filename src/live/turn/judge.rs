//! What is said about relaying by one listener, from the outcome alone. Pure.

use super::client::Step;
use super::{Listener, Transport};
use crate::config::Config;
use crate::live::certificate::HandshakeError;
use crate::live::report::{Part, Row};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A packet went there and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::live) struct Relayed {
    /// As the client was told it.
    pub relayed: SocketAddr,
    /// Of a Binding.
    pub round_trip: Duration,
    pub there_and_back: Duration,
    /// The relayed address is of the other family than the listener.
    pub other_family: bool,
    /// Nothing is left of it.
    pub deleted: bool,
}

#[derive(Debug)]
pub(in crate::live) enum Trouble {
    /// Nobody there.
    Connect(io::Error),
    Tls(HandshakeError),
    Silent {
        step: Step,
    },
    Closed {
        step: Step,
    },
    Broken {
        step: Step,
        error: io::Error,
    },
    Refused {
        step: Step,
        code: u16,
        reason: String,
    },
    /// A success without the integrity that it must have.
    Unsigned {
        step: Step,
    },
    NotTurn {
        step: Step,
    },
    /// What arrived is not what was sent.
    Changed,
    /// By a signal.
    Stopped,
}

/// `None`: it was stopped, which says nothing.
pub(in crate::live) fn row(
    config: &Config,
    listener: Listener,
    relayed: &Result<Relayed, Trouble>,
) -> Option<Row> {
    let what = format!("{} {}", listener.transport.name(), listener.address);
    match relayed {
        Ok(relayed) => Some(works(what, relayed)),
        Err(Trouble::Stopped) => None,
        Err(trouble) => {
            let detail = detail(trouble);
            Some(Row::fail(
                Part::Turn,
                what,
                detail,
                advice(config, listener, trouble),
            ))
        }
    }
}

fn works(what: String, relayed: &Relayed) -> Row {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let detail = format!(
        "relayed by {}; a packet there and back in {:.2} ms, Binding {:.2} ms",
        relayed.relayed,
        ms(relayed.there_and_back),
        ms(relayed.round_trip),
    );
    if !relayed.deleted {
        return Row::warn(
            Part::Turn,
            what,
            format!("{detail}; not deleted"),
            "The allocations of this test were not deleted: they expire by themselves, after turn.default_lifetime.",
        );
    }
    if relayed.other_family {
        return Row::ok(
            Part::Turn,
            what,
            format!("{detail}; this family has no relay address"),
        );
    }
    Row::ok(Part::Turn, what, detail)
}

fn detail(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Connect(error) => format!("not reached: {error}"),
        Trouble::Tls(error) => error.full(),
        Trouble::Silent { step } => format!("no answer in time: {}", step.name()),
        Trouble::Closed { step } => format!("the server closed the connection: {}", step.name()),
        Trouble::Broken { step, error } => format!("{}: {error}", step.name()),
        Trouble::Refused { step, code, reason } => {
            format!("{} is answered {code} {reason}", step.name())
        }
        Trouble::Unsigned { step } => format!("the answer to {} is not authentic", step.name()),
        Trouble::NotTurn { step } => format!("the answer to {} is not TURN's", step.name()),
        Trouble::Changed => "what arrived is not what was sent".to_owned(),
        Trouble::Stopped => "stopped".to_owned(),
    }
}

fn advice(config: &Config, listener: Listener, trouble: &Trouble) -> String {
    let transport = listener.transport.name();
    match trouble {
        Trouble::Connect(_) => format!(
            "Nobody serves {transport} there. Is this the file of the running server (then reload it), and does `relayd check` name this listener? A local firewall that rejects looks like this, too."
        ),
        Trouble::Tls(_) => "The TLS listener does not shake hands: look at the server's log and at its certificate, and whether another program has the port (`ss -tlnp`).".to_owned(),
        Trouble::Silent { step: Step::Binding } if listener.transport == Transport::Udp => {
            "Nothing comes back over UDP even on this machine: a local firewall (`nft list ruleset`, `iptables -L`) drops it, or another program has the port (`ss -ulnp`).".to_owned()
        }
        Trouble::Closed { step: Step::Binding } if listener.transport != Transport::Udp => {
            "It hangs up on TURN: is another program, or a TLS server before relayd, on this port? A network in listen.proxy_protocol_from has to send a PROXY header, any other must not.".to_owned()
        }
        Trouble::Silent { step: Step::There | Step::Back } => {
            "Allocations are made and packets do not arrive: a local firewall drops UDP between the relayed ports (turn.relay_ports), or server.external_ip names an address that is not this server's.".to_owned()
        }
        Trouble::Silent { .. } | Trouble::Closed { .. } | Trouble::Broken { .. } => {
            "It began and did not go on: look at the server's log (`-v`), at its load, and at the limits of turn.limits.".to_owned()
        }
        Trouble::Refused { code, step, .. } => refused(config, *code, *step),
        Trouble::Unsigned { .. } | Trouble::NotTurn { .. } => {
            "Something else than this relayd answers there: see who has the port (`ss -lunp`, `ss -ltnp`).".to_owned()
        }
        Trouble::Changed => "Somebody changes packets on the way, on this very machine: please report it with the server's version.".to_owned(),
        Trouble::Stopped => String::new(),
    }
}

fn refused(config: &Config, code: u16, step: Step) -> String {
    match (code, step) {
        (401 | 441, _) => {
            "The running server does not take this file's credentials: a user, a secret or the realm has changed since it read the file (reload it), it runs another file, or an MD5 key was made for another realm than turn.realm.".to_owned()
        }
        (403, _) => {
            "The peer is denied although it is a relayed address of this very server: is server.external_ip right?".to_owned()
        }
        (440, _) => "There is no relay address of either family: look at turn.relay_ip.".to_owned(),
        (486, _) => match config.turn.auth_secrets.is_empty() {
            true => "The user's quota is used up: this test needs two allocations (turn.limits.allocations_per_user). With a secret in turn.auth_secret it takes names of its own.".to_owned(),
            false => "turn.limits.allocations_per_user is used up.".to_owned(),
        },
        (508, _) => {
            let (low, high) = config.io.relay_ports;
            format!(
                "The server takes no more allocations: it drains (`GET /drain` of the admin listener tells), all of turn.relay_ports ({low}-{high}) are in use, or turn.limits.allocations_total or the open-files limit is reached. `relayd check` says how many fit; relayd_turn_allocations says how many there are."
            )
        }
        (420, _) => "It does not know what every TURN server knows: is it relayd?".to_owned(),
        _ => "Look at the server's log (`-v`).".to_owned(),
    }
}

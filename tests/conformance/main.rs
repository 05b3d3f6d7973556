//! Scenarios over real sockets, for a server whose insides they do not know.
//!
//! `TURN_SUBJECT=relayd` (the default) holds relayd to the contract; `TURN_SUBJECT=coturn` shows which of these promises
//! another server keeps, and that the scenarios are not written around ours. All traffic stays on loopback.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod contract;
mod lifecycle;
mod relaying;
mod streams;

use support::client::Outcome;
use support::subject::{Setup, Subject, Which, which};

/// Where coturn 4.6.1 does otherwise, and why that is not copied.
const COTURN_DIFFERS: &[(&str, &str)] = &[];

/// Plays a scenario against a server of its own.
fn play(name: &str, setup: Setup, scenario: impl FnOnce(&mut Subject) -> Outcome) {
    let differs = COTURN_DIFFERS.iter().find(|(other, _)| *other == name);
    let mut subject = Subject::start(&setup);
    let outcome = scenario(&mut subject);
    match (subject.which, differs) {
        (Which::Coturn, Some((_, why))) => match outcome {
            Err(fault) => println!("coturn differs: {fault} ({why})"),
            Ok(()) => panic!("coturn no longer differs here: {why}"),
        },
        _ => outcome.unwrap_or_else(|fault| panic!("{name}: {fault}")),
    }
}

/// As `play`, for what only relayd has: its metrics, its configuration, its one port for everything.
fn play_relayd(name: &str, setup: Setup, scenario: impl FnOnce(&mut Subject) -> Outcome) {
    match which() {
        Which::Relayd => play(name, setup, scenario),
        Which::Coturn => println!("{name}: asks for what relayd alone has"),
    }
}

/// A test that plays one scenario; its name is the promise.
macro_rules! scenario {
    ($(#[$doc:meta])* $name:ident, $subject:ident => $body:expr) => {
        scenario!($(#[$doc])* $name, crate::play, crate::support::subject::Setup::default(), $subject => $body);
    };
    ($(#[$doc:meta])* $name:ident, $play:path, $setup:expr, $subject:ident => $body:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            $play(stringify!($name), $setup, |$subject| $body);
        }
    };
}
use scenario;

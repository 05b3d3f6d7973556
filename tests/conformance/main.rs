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
const COTURN_DIFFERS: &[(&str, &str)] = &[
    (
        "allocate_success_tells_what_libwebrtc_needs",
        "it tells its version in SOFTWARE by default",
    ),
    (
        "a_challenge_offers_password_algorithms",
        "it knows nothing of RFC 8489",
    ),
    (
        "a_dual_allocation_relays_in_both_families",
        "it has the attribute numbers of a draft",
    ),
    (
        "contradicting_attributes_get_400",
        "it has the attribute numbers of a draft",
    ),
    (
        "a_second_allocate_on_a_5_tuple_gets_437",
        "it does not protect this error",
    ),
    (
        "another_user_on_an_allocation_gets_441",
        "it does not protect this error",
    ),
    (
        "a_users_quota_gets_486",
        "it gives a quota back some time after the deletion",
    ),
    (
        "no_port_left_gets_508_until_one_is_free",
        "it frees a port some time after the deletion",
    ),
    (
        "refresh_with_0_closes_the_port_and_frees_the_5_tuple_at_once",
        "it frees a port some time after the deletion",
    ),
    ("the_total_quota_gets_508", "it answers 486 to both quotas"),
    (
        "allocate_without_requested_transport_gets_400_and_an_unsupported_one_442",
        "it answers 400 to both",
    ),
    (
        "an_unknown_reservation_token_gets_508",
        "it answers 404, which no specification has",
    ),
    (
        "attributes_after_the_integrity_count_for_nothing",
        "it reads them",
    ),
    (
        "requests_without_an_allocation_get_437",
        "it looks at the peer first",
    ),
    (
        "channels_carry_payload_of_every_size_both_ways",
        "its padding is what the buffer held",
    ),
    (
        "many_clients_are_never_mixed_up",
        "its padding is what the buffer held",
    ),
    (
        "two_clients_of_one_server_call_each_other",
        "its padding is what the buffer held",
    ),
    (
        "a_closed_connection_frees_its_allocation",
        "it frees a port some time after the close",
    ),
    (
        "a_frame_of_64_kib_passes_and_a_longer_one_cannot_be_said",
        "it stops reading the connection",
    ),
    (
        "garbage_on_a_stream_closes_it_and_nothing_else",
        "it keeps the connection",
    ),
];

/// Plays a scenario against a server of its own.
fn play(name: &str, setup: Setup, scenario: impl FnOnce(&mut Subject) -> Outcome) {
    let differs = COTURN_DIFFERS.iter().find(|(other, _)| *other == name);
    let mut subject = Subject::start(&setup);
    let outcome = scenario(&mut subject);
    match (subject.which, differs) {
        (Which::Coturn, Some((_, why))) => match outcome {
            Err(fault) => println!("coturn differs: {fault} ({why})"),
            Ok(()) => println!("coturn kept this promise for once ({why})"),
        },
        _ => outcome.unwrap_or_else(|fault| {
            let log: Vec<String> = subject.log.try_iter().collect();
            panic!("{name}: {fault}\nthe server's log: {log:#?}")
        }),
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

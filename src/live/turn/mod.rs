//! Relaying through the running server itself, by every listener: two allocations, and a packet there and back between them.
//!
//! Relayed addresses of one server are always allowed as peers, so this needs nobody else, and no rule has to be opened for it.
//! What is allocated is deleted, also when the test breaks off.

mod client;
mod judge;
mod wire;

pub(super) use client::{Login, Session};
pub(super) use judge::{Relayed, Trouble, row};
pub(super) use wire::{Conversation, Stream, Wire};

use super::certificate::{Refused, Tls};
use super::report::{Part, Row};
use super::server::Server;
use super::{AT_ONCE, Setup, each, own};
use crate::addr::Family;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::sys::clock;
use crate::sys::rng::SystemRng;
use crate::tls::{ALPN_TURN, public_roots};
use crate::turn::UserKey;
use client::{ADDRESS_FAMILY_NOT_SUPPORTED, Step};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// As large as media packets are.
const PAYLOAD_BYTES: usize = 1200;
const CHANNEL: u16 = 0x4000;
/// For the deletion of what was allocated; it is tried once more within it.
const DELETION: Duration = Duration::from_secs(1);
/// A packet may be lost; each way is tried so often within a step.
const TRIES: u32 = 4;
/// How long a credential made for the test is good.
const LOGIN_S: u64 = 600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// One listener, as it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub transport: Transport,
    pub address: SocketAddr,
}

pub(super) async fn check(setup: &Rc<Setup>, server: &Rc<Server>) -> Vec<Row> {
    const WHAT: &str = "relaying";
    let untried = |why: &str| vec![Row::untried(Part::Turn, WHAT, why)];
    if server.is_absent() {
        return untried("the server does not run");
    }
    if setup.asked.file.is_none() {
        return untried(
            "the password of a first try is known to its server alone: its test page makes a call",
        );
    }
    let (listeners, mut untried_rows) = listeners(server);
    if listeners.is_empty() && untried_rows.is_empty() {
        return untried("no listener with a port that can be known");
    }
    let config = &setup.loaded.config;
    let now_s = clock::now().unix_s();
    if logins(config, now_s, 0).is_none() {
        return untried("there is no user and no secret: nobody can allocate");
    }
    if config.turn.auth_secrets.is_empty() && config.turn.limits.allocations_per_user == 1 {
        return untried(
            "turn.limits.allocations_per_user is 1 and this test needs two of one user; with a secret in turn.auth_secret it takes names of its own",
        );
    }
    // Verification is the proxy part's; here every certificate will do.
    let Some(tls) = Tls::new(public_roots()) else {
        return Vec::new();
    };
    let tests = listeners.into_iter().enumerate().map(|(index, listener)| {
        let (setup, tls) = (Rc::clone(setup), tls.clone());
        let logins = logins(config, now_s, index);
        async move {
            let logins = logins?;
            let begun = clock::now().instant();
            let relayed = relay(&setup, &tls, listener, &logins).await;
            let took = clock::now().instant().duration_since(begun);
            row(&setup.loaded.config, listener, &relayed).map(|row| row.took(took))
        }
    });
    let rows = each(tests.collect(), at_once(config)).await;
    untried_rows.splice(0..0, rows.into_iter().flatten());
    untried_rows
}

/// A user's own quota is to be enough for the test, whoever else uses it: each listener takes two allocations.
fn at_once(config: &Config) -> usize {
    match config.turn.limits.allocations_per_user {
        quota if quota > 0 && config.turn.auth_secrets.is_empty() => 1,
        _ => AT_ONCE,
    }
}

/// Those to test, and rows for those that cannot be reached from this machine.
fn listeners(server: &Server) -> (Vec<Listener>, Vec<Row>) {
    let listeners = server.listeners();
    let all = [
        (Transport::Udp, &listeners.udp),
        (Transport::Tcp, &listeners.tcp),
        (Transport::Tls, &listeners.tls),
    ];
    let (mut reached, mut rows) = (Vec::new(), Vec::new());
    for (transport, list) in all {
        for address in list {
            match own::way(*address) {
                Ok(address) => reached.push(Listener { transport, address }),
                Err(why) => {
                    let what = format!("{} {address}", transport.name());
                    rows.push(Row::untried(Part::Turn, what, why));
                }
            }
        }
    }
    (reached, rows)
}

/// Two credentials, for the two allocations of a listener: each of another name, where a secret makes them, so that no quota is in
/// the way.
fn logins(config: &Config, now_s: u64, listener: usize) -> Option<[Login; 2]> {
    if let Some(secret) = config.turn.auth_secrets.first() {
        let name = |side| format!("relayd-check-{listener}{side}");
        let login = |side| Login::time_limited(secret, now_s + LOGIN_S, &name(side));
        return Some([login('a'), login('b')]);
    }
    // A password says more than a key: it proves the realm, too.
    let is_key = |key: &UserKey| matches!(key, UserKey::Md5(_));
    let users = config.turn.users.iter();
    let (name, key) = users.min_by_key(|(name, key)| (is_key(key), (*name).clone()))?;
    let login = Login::of_user(name, key);
    Some([login.clone(), login])
}

/// Allocates twice, relays, deletes.
async fn relay(
    setup: &Setup,
    tls: &Tls,
    listener: Listener,
    logins: &[Login; 2],
) -> Result<Relayed, Trouble> {
    let step = setup.asked.step;
    let mut talks: Vec<Conversation> = Vec::new();
    for login in logins {
        let wire = setup
            .unless_stopped(open(setup, tls, listener))
            .await
            .unwrap_or(Err(Trouble::Stopped))?;
        talks.push(Conversation::new(wire, Session::new(login.clone()), step));
    }
    let [first, second] = talks.as_mut_slice() else {
        return Err(Trouble::Stopped);
    };
    let relayed = setup
        .unless_stopped(there_and_back(first, second, listener))
        .await
        .unwrap_or(Err(Trouble::Stopped));
    let mut deleted = true;
    for talk in [first, second] {
        deleted &= delete(talk).await;
    }
    relayed.map(|relayed| Relayed { deleted, ..relayed })
}

async fn open(setup: &Setup, tls: &Tls, listener: Listener) -> Result<Wire, Trouble> {
    let config = &setup.loaded.config;
    let step = setup.asked.step;
    match listener.transport {
        Transport::Udp => udp(listener.address).await.map_err(Trouble::Connect),
        Transport::Tcp => {
            let stream = own::open(listener.address, &config.listen, step).await;
            Ok(Wire::stream(stream.map_err(Trouble::Connect)?))
        }
        Transport::Tls => {
            let stream = own::open(listener.address, &config.listen, step)
                .await
                .map_err(Trouble::Connect)?;
            let shaken = tls
                .shake(stream, &config.domain, &[ALPN_TURN], Refused::GoesOn, step)
                .await;
            Ok(Wire::stream(shaken.stream.map_err(Trouble::Tls)?))
        }
    }
}

async fn udp(server: SocketAddr) -> std::io::Result<Wire> {
    let any = match Family::of(server.ip()) {
        Family::V4 => "0.0.0.0:0",
        Family::V6 => "[::]:0",
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(Wire::Udp(socket))
}

async fn there_and_back(
    first: &mut Conversation,
    second: &mut Conversation,
    listener: Listener,
) -> Result<Relayed, Trouble> {
    let begun = clock::now().instant();
    first.bind().await?;
    let round_trip = clock::now().instant().duration_since(begun);
    let own = Family::of(listener.address.ip());
    let (family, one) = match first.allocate(own).await {
        // A server with a relay address of the other family alone.
        Err(Trouble::Refused {
            code: ADDRESS_FAMILY_NOT_SUPPORTED,
            ..
        }) => (other(own), first.allocate(other(own)).await?),
        allocated => (own, allocated?),
    };
    let two = second.allocate(family).await?;
    first.permit(two).await?;
    first.bind_channel(CHANNEL, two).await?;
    second.permit(one).await?;
    let mut payload = vec![0; PAYLOAD_BYTES];
    SystemRng.fill(&mut payload);
    let begun = clock::now().instant();
    carry(first, second, Step::There, &payload, |talk| {
        talk.channel_data(CHANNEL, &payload)
    })
    .await?;
    payload.reverse();
    carry(second, first, Step::Back, &payload, |talk| {
        talk.send_indication(one, &payload)
    })
    .await?;
    Ok(Relayed {
        relayed: one,
        round_trip,
        there_and_back: clock::now().instant().duration_since(begun),
        other_family: family != own,
        deleted: false,
    })
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// Sends until the payload arrives, or the step is over.
///
/// Another packet decides nothing before the end: a permission is for a whole address (RFC 8656 §2.3), so any other allocation
/// of the same server may send here.
async fn carry(
    from: &mut Conversation,
    to: &mut Conversation,
    step: Step,
    payload: &[u8],
    message: impl Fn(&mut Conversation) -> Vec<u8>,
) -> Result<(), Trouble> {
    let wait = to.step / TRIES;
    let mut others = false;
    for _ in 0..TRIES {
        let bytes = message(from);
        from.send(&bytes, step).await?;
        let arrival = async {
            while to.payload(step).await? != payload {
                others = true;
            }
            Ok(())
        };
        if let Ok(arrived) = timeout(wait, arrival).await {
            return arrived;
        }
    }
    match others {
        true => Err(Trouble::Changed),
        false => Err(Trouble::Silent { step }),
    }
}

/// Refresh with a lifetime of 0 (RFC 8656 §7); true if nothing is left. A stream's allocation ends with it, too.
async fn delete(talk: &mut Conversation) -> bool {
    if !talk.is_allocated() {
        return true;
    }
    let deleted = timeout(DELETION, talk.delete()).await;
    matches!(deleted, Ok(Ok(()))) || talk.is_stream()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    const STEP: Duration = Duration::from_secs(2);

    fn talk() -> (Conversation, DuplexStream) {
        let (near, far) = duplex(64 << 10);
        let login = Login::of_user("", &UserKey::Password(Secret::new("")));
        let session = Session::new(login);
        (Conversation::new(Wire::stream(near), session, STEP), far)
    }

    async fn carried(arriving: &[&[u8]]) -> Result<(), Trouble> {
        let ((mut from, _server), (mut to, mut server)) = (talk(), talk());
        for payload in arriving {
            let bytes = from.channel_data(CHANNEL, payload);
            server.write_all(&bytes).await.expect("there is room");
        }
        let message = |talk: &mut Conversation| talk.channel_data(CHANNEL, b"sent");
        carry(&mut from, &mut to, Step::There, b"sent", message).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_packet_of_somebody_else_does_not_stand_for_the_one_that_was_sent() {
        let arrived = carried(&[b"else", b"sent"]).await;
        assert!(arrived.is_ok(), "{arrived:?}");
        let arrived = carried(&[b"else", b"more"]).await;
        assert!(matches!(arrived, Err(Trouble::Changed)), "{arrived:?}");
        let arrived = carried(&[]).await;
        assert!(
            matches!(arrived, Err(Trouble::Silent { step: Step::There })),
            "{arrived:?}"
        );
    }
}

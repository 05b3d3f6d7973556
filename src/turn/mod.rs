//! The TURN server core (RFC 8656, RFC 8489), sans-IO: bytes, addresses and `Now` in, values out.
//!
//! No sockets, no `async`, no clock, no global randomness, no metrics crate. One `Server` belongs to one
//! worker thread; what several workers share is in `Shared`, which is never locked for a relayed packet.
//!
//! `requests` parses, authenticates and answers; one file per method decides. `relaying` is the packet path:
//! one lookup by 5-tuple or by relay, two binary searches, no allocation, no lock, no clock. `lifecycle`
//! ends what is due. Absent: TCP relays (RFC 6062), mobility (RFC 8016).

mod allocate;
mod allocation;
mod auth;
mod binding;
mod channel;
mod channels;
mod connect;
pub mod counters;
pub mod credentials;
mod guest;
mod labels;
mod lifecycle;
mod live;
mod nonce;
pub mod output;
mod permission;
mod permissions;
pub mod policy;
pub mod ports;
mod refresh;
mod relaying;
mod requests;
pub mod settings;
mod shared;
mod survey;
mod table;
#[cfg(test)]
mod tests;
mod timers;

pub use counters::{Answer, Counters, Method, Traffic};
pub use guest::{Guest, NonceState};
pub use lifecycle::AllocationSnapshot;
pub use output::{
    AllocationEnd, AllocationStart, ChannelPath, ClientRef, DropReason, EndReason, Icmp, LinkId,
    Output, Prefix, Verdict,
};
pub use ports::{
    BindError, BindRequest, BoundRelay, PortWish, RelayId, RelayPorts, ReservationToken,
};
pub use settings::{ExternalIps, Limits, RelayAddresses, Settings, UserKey};
pub use shared::Shared;
pub(crate) use shared::hasher;
pub use survey::{AllocationView, ChannelView, PermissionView};

use crate::addr::{FiveTuple, PeerAddr};
use crate::entropy::Entropy;
use crate::stun::{Kind, classify, indication};
use crate::time::Now;
use auth::Offer;
use policy::Policy;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use table::Table;
use timers::Timers;

/// One worker's TURN server.
pub struct Server {
    settings: Arc<Settings>,
    policy: Policy,
    offer: Offer,
    shared: Arc<Shared>,
    entropy: Box<dyn Entropy>,
    table: Table,
    timers: Timers,
    outputs: VecDeque<Output>,
    counters: Counters,
    draining: bool,
    /// Set while a listener that is leaving is read.
    refusing: bool,
    /// Relay addresses of the server when the policy last judged.
    relay_ips_judged: usize,
    /// Of Data indications; unpredictable at start, different each time.
    transaction_seed: u64,
    /// The last reading of the clock, for calls that bring none.
    latest_ns: u64,
}

impl Server {
    pub fn new(
        settings: Arc<Settings>,
        shared: Arc<Shared>,
        mut entropy: Box<dyn Entropy>,
    ) -> Self {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        Self {
            policy: Policy::new(Arc::clone(&settings), Arc::clone(&shared.live)),
            offer: Offer::of(&settings),
            table: Table::new(shared::hasher(entropy.as_mut())),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
            refusing: false,
            relay_ips_judged: shared.live.len(),
            transaction_seed: u64::from_ne_bytes(seed),
            latest_ns: 0,
            settings,
            shared,
            entropy,
        }
    }

    /// Takes new settings for what comes; live allocations keep the key that they were made with.
    ///
    /// Permissions and channels are judged anew: one whose peer is denied by then relays nothing more.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.policy = Policy::new(Arc::clone(&settings), Arc::clone(&self.shared.live));
        self.offer = Offer::of(&settings);
        self.settings = settings;
        if !self.settings.call_quality {
            let (now_ns, counts) = (self.latest_ns, &mut self.counters.quality);
            for allocation in self.table.iter_mut() {
                if let Some(mut call) = allocation.quality.take() {
                    call.finish(now_ns, counts);
                }
            }
        }
        self.rejudge();
    }

    /// From now on new allocations are refused with 508; everything else goes on.
    pub fn set_draining(&mut self) {
        self.draining = true;
    }

    /// Takes [`set_draining`](Self::set_draining) back.
    pub fn set_accepting(&mut self) {
        self.draining = false;
    }

    /// Until it is called again: whether new allocations are refused with 508, for what comes by a link that is about to close.
    pub fn set_refusing(&mut self, refusing: bool) {
        self.refusing = refusing;
    }

    /// Whether an allocation was made by this link and lives. Looks at all of them.
    pub fn uses_link(&self, link: LinkId) -> bool {
        let mut all = self.table.iter();
        all.any(|(_, allocation)| allocation.client.link == link)
    }

    /// Handles one datagram, or one whole message cut from a stream (ChannelData without its padding).
    ///
    /// `link` is the driver's handle of the socket or connection the bytes came by; it comes back in every
    /// reply. After each call the driver empties `poll_output`.
    pub fn handle_client(
        &mut self,
        now: Now,
        from: &FiveTuple,
        link: LinkId,
        bytes: &[u8],
        relays: &mut impl RelayPorts,
    ) -> Verdict {
        let now_ns = self.begin(now.instant());
        let verdict = match classify(bytes) {
            Kind::ChannelData => self.relay_channel_data(now_ns, from, bytes),
            Kind::Stun if bytes.starts_with(&indication::SEND) => {
                self.relay_send(now_ns, from, bytes)
            }
            Kind::Stun => {
                let client = ClientRef {
                    link,
                    five_tuple: *from,
                };
                self.handle_message(now, now_ns, client, bytes, relays)
            }
            Kind::Other => Err(DropReason::Unrecognized),
        };
        self.count(verdict)
    }

    /// Handles one datagram that reached a relay socket.
    pub fn handle_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        from: PeerAddr,
        payload: &[u8],
    ) -> Verdict {
        let now_ns = self.begin(now.instant());
        let verdict = self.relay_to_client(now_ns, relay, from, payload);
        self.count(verdict)
    }

    /// An ICMP error for something that was sent from `relay` to `peer` (RFC 8656 §11.5, §18.13).
    pub fn handle_icmp(&mut self, now: Now, relay: RelayId, peer: PeerAddr, icmp: Icmp) {
        let now_ns = self.begin(now.instant());
        self.relay_icmp(now_ns, relay, peer, icmp);
    }

    /// The client's TCP or TLS connection is gone: its allocation is freed at once.
    pub fn handle_closed(&mut self, now: Now, client: &FiveTuple) {
        let now_ns = self.begin(now.instant());
        if let Some(slot) = self.table.slot_of(client) {
            self.end_allocation(slot, now_ns, EndReason::Disconnected);
        }
    }

    /// Expires what is due. Cheap when nothing is.
    pub fn handle_timeout(&mut self, now: Now) {
        let now_ns = self.begin(now.instant());
        self.expire(now_ns);
    }

    /// Replies and orders for the driver, in the order in which they arose.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle_timeout` wants to be called next. O(1).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shared.instant(self.timers.next_ns()?)
    }

    /// Live allocations of this worker.
    pub fn allocation_count(&self) -> usize {
        self.table.len()
    }

    /// What this server has counted since its start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Each call's beginning: the time, and a policy that knows the relay addresses of all workers.
    fn begin(&mut self, now: Instant) -> u64 {
        let now_ns = self.shared.ns(now);
        self.latest_ns = now_ns;
        if self.shared.live.len() != self.relay_ips_judged {
            self.rejudge();
        }
        now_ns
    }

    fn count(&mut self, verdict: Result<Verdict, DropReason>) -> Verdict {
        verdict.unwrap_or_else(|reason| {
            self.counters.count_drop(reason);
            Verdict::Drop(reason)
        })
    }
}

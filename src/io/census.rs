//! What the admin listener asks the workers for: which allocations there are, and to end some of them.
//!
//! A worker never stops for it: an errand waits in its inbox and is then done a slice each round, between the packets. It
//! walks [`SLOTS_PER_ROUND`] slots and remembers no more than the best `limit` of them; only those are copied, and again a
//! few each round. Absent: pages and JSON (`app`, `admin`).

use crate::addr::{FiveTuple, RelayedAddr, Transport};
use crate::io::worker::Worker;
use crate::quality;
use crate::time::Now;
use crate::turn::{self, AllocationView, ChannelView, PermissionView, Traffic};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Slots that a round looks at.
const SLOTS_PER_ROUND: u32 = 256;
/// Allocations that a round copies; each with up to `lists_max` permissions and channels.
const COPIES_PER_ROUND: usize = 32;
/// Allocations that a round ends: each closes a socket and writes a line.
const ENDS_PER_ROUND: usize = 16;
/// Errands that may wait in one worker's inbox, and as many again with the worker itself.
pub(super) const ERRANDS_MAX: usize = 64;

/// An address, a port of any address, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFilter {
    Ip(IpAddr),
    Port(u16),
    Both(SocketAddr),
}

impl AddressFilter {
    pub fn matches(self, addr: SocketAddr) -> bool {
        match self {
            Self::Ip(ip) => addr.ip() == ip,
            Self::Port(port) => addr.port() == port,
            Self::Both(both) => addr == both,
        }
    }
}

/// What an allocation must have; `None` is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub id: Option<u64>,
    pub user: Option<String>,
    pub transport: Option<Transport>,
    pub client: Option<AddressFilter>,
    pub relayed: Option<AddressFilter>,
    /// An address that it has a permission for; with a port, a peer that it has a channel to, too.
    pub peer: Option<AddressFilter>,
}

impl Filter {
    fn matches(&self, view: &AllocationView<'_>) -> bool {
        let five_tuple = view.five_tuple();
        self.id.is_none_or(|id| view.id() == id)
            && self
                .transport
                .is_none_or(|transport| five_tuple.transport == transport)
            && self
                .client
                .is_none_or(|client| client.matches(five_tuple.client.socket_addr()))
            && self
                .user
                .as_deref()
                .is_none_or(|user| view.username() == user)
            && self.relayed.is_none_or(|wanted| {
                view.relayed()
                    .any(|relayed| wanted.matches(relayed.socket_addr()))
            })
            && self.peer.is_none_or(|peer| has_peer(view, peer))
    }
}

fn has_peer(view: &AllocationView<'_>, wanted: AddressFilter) -> bool {
    let has_channel = || {
        view.channels()
            .any(|channel| wanted.matches(channel.peer.socket_addr()))
    };
    match wanted {
        AddressFilter::Ip(ip) => view.permits(ip),
        AddressFilter::Port(_) => has_channel(),
        AddressFilter::Both(both) => view.permits(both.ip()) && has_channel(),
    }
}

/// What a list is sorted by; equal ones by ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    Id,
    Age,
    Lifetime,
    User,
    Client,
    Bytes,
    Packets,
    ToPeerBytes,
    ToClientBytes,
    Trouble,
}

/// A value of what is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Number(u64),
    Text(String),
    Address(SocketAddr),
}

impl SortBy {
    fn key(self, view: &AllocationView<'_>) -> Key {
        let traffic = view.traffic();
        Key::Number(match self {
            Self::Id => view.id(),
            Self::Age => u64::MAX - view.started_ns(),
            Self::Lifetime => view.expires_ns(),
            Self::User => return Key::Text(view.username().to_owned()),
            Self::Client => return Key::Address(view.five_tuple().client.socket_addr()),
            Self::Bytes => traffic.to_peer_bytes + traffic.to_client_bytes,
            Self::Packets => traffic.to_peer_packets + traffic.to_client_packets,
            Self::ToPeerBytes => traffic.to_peer_bytes,
            Self::ToClientBytes => traffic.to_client_bytes,
            Self::Trouble => u64::from(view.trouble()),
        })
    }
}

/// Where an allocation stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub key: Key,
    pub id: u64,
    pub descending: bool,
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        let ascending = self.key.cmp(&other.key).then(self.id.cmp(&other.id));
        match self.descending {
            true => ascending.reverse(),
            false => ascending,
        }
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which allocations are wanted, and in what order.
#[derive(Clone, Debug)]
pub struct Query {
    pub filter: Filter,
    pub sort: SortBy,
    pub descending: bool,
    /// The last one of the page before.
    pub after: Option<Position>,
    pub limit: usize,
    /// Permissions and channels that are shown of each.
    pub lists_max: usize,
    /// Whether the quality is copied with its streams and its history.
    pub details: bool,
}

/// One allocation, copied out of its worker.
#[derive(Clone, Debug)]
pub struct Row {
    pub position: Position,
    pub worker: usize,
    pub username: String,
    pub five_tuple: FiveTuple,
    pub relayed: Vec<RelayedAddr>,
    pub started_at: Option<Instant>,
    pub expires_at: Option<Instant>,
    pub traffic: Traffic,
    pub permissions_total: usize,
    pub permissions: Vec<PermissionView>,
    pub channels_total: usize,
    pub channels: Vec<ChannelView>,
    pub quality: Option<quality::Report>,
}

/// An answer to a [`Query`].
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// In the order that was asked for, at most `limit`.
    pub rows: Vec<Row>,
    /// Allocations that fit the filter, whatever the page.
    pub matched: usize,
}

/// The workers are stopping, or too many errands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media workers do not answer: they are stopping, or too many requests wait for them")]
pub struct Unanswered;

/// Something for a worker to do beside its packets.
pub struct Errand {
    /// The slot to go on with; `None`: every one has been looked at.
    from: Option<u32>,
    kind: Kind,
}

enum Kind {
    List(Listing),
    End(Ending),
}

struct Listing {
    query: Arc<Query>,
    /// The worst on top.
    best: BinaryHeap<Candidate>,
    /// What `best` became when the walk was over; the next one to copy last.
    chosen: Option<Vec<Candidate>>,
    listed: Listed,
    answer: oneshot::Sender<Listed>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    position: Position,
    slot: u32,
}

struct Ending {
    filter: Arc<Filter>,
    found: Vec<(u32, u64)>,
    ended: usize,
    answer: oneshot::Sender<usize>,
}

impl Errand {
    pub fn list(query: Arc<Query>) -> (Self, oneshot::Receiver<Listed>) {
        let (answer, answered) = oneshot::channel();
        let listing = Listing {
            query,
            best: BinaryHeap::new(),
            chosen: None,
            listed: Listed::default(),
            answer,
        };
        (Self::new(Kind::List(listing)), answered)
    }

    pub fn end(filter: Arc<Filter>) -> (Self, oneshot::Receiver<usize>) {
        let (answer, answered) = oneshot::channel();
        let ending = Ending {
            filter,
            found: Vec::new(),
            ended: 0,
            answer,
        };
        (Self::new(Kind::End(ending)), answered)
    }

    fn new(kind: Kind) -> Self {
        let from = Some(0);
        Self { from, kind }
    }

    /// Nobody waits for the answer any more. What ends allocations is carried out all the same.
    fn is_abandoned(&self) -> bool {
        match &self.kind {
            Kind::List(listing) => listing.answer.is_closed(),
            Kind::End(_) => false,
        }
    }
}

/// The errands of one worker, one after the other.
#[derive(Default)]
pub struct Census {
    errands: VecDeque<Errand>,
    worker: usize,
}

impl Census {
    pub fn of_worker(worker: usize) -> Self {
        Self {
            errands: VecDeque::new(),
            worker,
        }
    }

    /// How long the worker may wait for packets: not at all while there is something to do.
    pub fn patience(&self) -> Option<Duration> {
        (!self.errands.is_empty()).then_some(Duration::ZERO)
    }

    /// Takes as many as there is room for; who asked for the others learns that they are not done.
    pub fn add(&mut self, errands: VecDeque<Errand>) {
        self.errands.extend(errands);
        if self.errands.len() > ERRANDS_MAX {
            self.errands.retain(|errand| !errand.is_abandoned());
            self.errands.truncate(ERRANDS_MAX);
        }
    }
}

impl Worker {
    /// Does one slice of the first errand.
    pub(super) fn run_errand(&mut self) {
        let Some(mut errand) = self.census.errands.pop_front() else {
            return;
        };
        if errand.is_abandoned() {
            return;
        }
        let worker = self.census.worker;
        let unfinished = match errand.kind {
            Kind::List(listing) => {
                let step = listing.step(&self.core, self.now, &mut errand.from, worker);
                step.map(Kind::List)
            }
            Kind::End(ending) => {
                let step = ending.step(&mut self.core, self.now, &mut errand.from);
                self.take_output();
                step.map(Kind::End)
            }
        };
        if let Some(kind) = unfinished {
            errand.kind = kind;
            self.census.errands.push_front(errand);
        }
    }
}

impl Listing {
    /// `None` when the answer has been given.
    fn step(
        mut self,
        core: &turn::Server,
        now: Now,
        from: &mut Option<u32>,
        worker: usize,
    ) -> Option<Self> {
        if let Some(slot) = *from {
            *from = core.visit(now.instant(), slot, SLOTS_PER_ROUND, |view| {
                self.consider(&view)
            });
            return Some(self);
        }
        let chosen = self.chosen.get_or_insert_with(|| {
            let mut chosen = std::mem::take(&mut self.best).into_sorted_vec();
            chosen.reverse();
            chosen
        });
        for _ in 0..COPIES_PER_ROUND {
            let Some(candidate) = chosen.pop() else {
                // Who asked may have gone.
                let _ = self.answer.send(self.listed);
                return None;
            };
            let view = core.view(now.instant(), candidate.slot);
            // It may have ended since, and its slot have been given away.
            if let Some(view) = view.filter(|view| view.id() == candidate.position.id) {
                let row = copy(&view, candidate.position, worker, &self.query);
                self.listed.rows.push(row);
            }
        }
        Some(self)
    }

    fn consider(&mut self, view: &AllocationView<'_>) {
        if !self.query.filter.matches(view) {
            return;
        }
        self.listed.matched += 1;
        let position = Position {
            key: self.query.sort.key(view),
            id: view.id(),
            descending: self.query.descending,
        };
        let after = &self.query.after;
        if after.as_ref().is_some_and(|after| position <= *after) {
            return;
        }
        let worst = self.best.peek();
        let is_full = self.best.len() >= self.query.limit;
        if is_full && worst.is_none_or(|worst| worst.position <= position) {
            return;
        }
        if is_full {
            self.best.pop();
        }
        let slot = view.slot;
        self.best.push(Candidate { position, slot });
    }
}

fn copy(view: &AllocationView<'_>, position: Position, worker: usize, query: &Query) -> Row {
    let lists_max = query.lists_max;
    let mut permissions_total = 0;
    let mut channels_total = 0;
    let permissions = view.permissions().inspect(|_| permissions_total += 1);
    let permissions = first(permissions, lists_max);
    let channels = view.channels().inspect(|_| channels_total += 1);
    let channels = first(channels, lists_max);
    Row {
        position,
        worker,
        username: view.username().to_owned(),
        five_tuple: view.five_tuple(),
        relayed: view.relayed().collect(),
        started_at: view.started_at(),
        expires_at: view.expires_at(),
        traffic: view.traffic(),
        permissions,
        permissions_total,
        channels,
        channels_total,
        quality: view.quality(query.details),
    }
}

/// The first `max` of all; all are gone through.
fn first<T>(mut all: impl Iterator<Item = T>, max: usize) -> Vec<T> {
    let taken = all.by_ref().take(max).collect();
    all.for_each(drop);
    taken
}

impl Ending {
    /// `None` when the answer has been given.
    fn step(mut self, core: &mut turn::Server, now: Now, from: &mut Option<u32>) -> Option<Self> {
        for (slot, id) in self
            .found
            .split_off(self.found.len().saturating_sub(ENDS_PER_ROUND))
        {
            self.ended += usize::from(core.end_in_slot(slot, id));
        }
        if !self.found.is_empty() {
            return Some(self);
        }
        let Some(slot) = *from else {
            // Who asked may have gone.
            let _ = self.answer.send(self.ended);
            return None;
        };
        let Self { filter, found, .. } = &mut self;
        *from = core.visit(now.instant(), slot, SLOTS_PER_ROUND, |view| {
            if filter.matches(&view) {
                found.push((view.slot, view.id()));
            }
        });
        Some(self)
    }
}

/// What several workers said, as one list.
pub fn merge(parts: Vec<Listed>, limit: usize) -> Listed {
    let matched = parts.iter().map(|part| part.matched).sum();
    let mut rows: Vec<Row> = parts.into_iter().flat_map(|part| part.rows).collect();
    rows.sort_by(|a, b| a.position.cmp(&b.position));
    rows.truncate(limit);
    Listed { rows, matched }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_holds_no_more_errands_than_it_has_room_for() {
        let mut census = Census::of_worker(0);
        let mut asked = Vec::new();
        let mut bring = |count: usize| {
            let mut errands = VecDeque::new();
            for _ in 0..count {
                let (errand, answered) = Errand::end(Arc::new(Filter::default()));
                errands.push_back(errand);
                asked.push(answered);
            }
            census.add(errands);
        };
        bring(ERRANDS_MAX - 1);
        bring(ERRANDS_MAX);
        assert_eq!(census.errands.len(), ERRANDS_MAX);
        for (index, answered) in asked.iter_mut().enumerate() {
            let refused = answered.try_recv() == Err(oneshot::error::TryRecvError::Closed);
            assert_eq!(refused, index >= ERRANDS_MAX, "{index}");
        }
    }
}

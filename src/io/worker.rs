//! One worker: its event loop, its timers, and the orders that it gets from the core and from other threads.
//!
//! A round is: wait, read the clock once, read what is ready, hand it to the core, send everything that came of
//! it. An error of one socket is counted and never ends the loop; nothing in it blocks.

use crate::io::arena::Arena;
use crate::io::census::Census;
use crate::io::crossing::{Crossing, Crossings};
use crate::io::handover::{Handover, OfferedSocket, SeedLane};
use crate::io::inbox::{Inbox, Order};
use crate::io::listener::Listener;
use crate::io::listeners::Listeners;
use crate::io::media::Placement;
use crate::io::metrics::{IoCounts, WorkerStats};
use crate::io::outbox::{Item, Outbox, Payload};
use crate::io::pace::{Pace, Reads};
use crate::io::relay::{RelayShared, RelaySockets};
use crate::io::runs::Runs;
use crate::io::stream::{READ_LEN, StreamEnd};
use crate::io::streams::Streams;
use crate::io::tick::Tick;
use crate::io::token::{Link, Token};
use crate::io::traced;
use crate::quality::Side;
use crate::sys::clock;
use crate::sys::cpu::ThreadClock;
use crate::sys::epoll::{Epoll, Event, Events, Interest};
use crate::sys::memory;
use crate::sys::recv::Receiver;
use crate::sys::rng::SystemRng;
use crate::sys::send::Sender;
use crate::sys::slack;
use crate::sys::timer::Timer;
use crate::time::Now;
use crate::turn::{self, AllocationEnd, AllocationStart, ClientRef, Output};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Reports taken by one wait.
const EVENTS_MAX: usize = 256;

/// The listeners, which carry every client's packets, get their turn after this many other reports.
const EVENTS_PER_LISTENER_TURN: usize = 64;

/// A round with no more reports than this has little to gather: each packet goes out before the next is read.
const FEW_EVENTS: usize = 4;

/// How often idle connections and unclaimed reservations are looked for, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// As many allocations at once are a crowd: when three quarters have gone, their memory goes back to the system.
const CROWD: usize = 1024;

/// Most time that a worker's counts stay its own while it has events.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// What a worker is made of; unlike the worker, it can be sent to its thread.
pub struct Seed {
    /// The worker's number, from 0.
    pub index: usize,
    pub listeners: Vec<Listener>,
    /// Of all workers, by number.
    pub inboxes: Arc<[Arc<Inbox>]>,
    pub crossings: Arc<Crossings>,
    pub stats: Arc<WorkerStats>,
    pub relays: Arc<RelayShared>,
    pub turn: Arc<turn::Settings>,
    pub turn_shared: Arc<turn::Shared>,
    pub placement: Arc<Placement>,
    pub stream_queue_bytes_max: usize,
    pub stream_idle_s: u64,
    pub epoll: Epoll,
    pub timer: Timer,
    /// To the workers of the process that this one takes over from.
    pub lanes: Vec<SeedLane>,
}

pub fn new_epoll() -> io::Result<(Epoll, Timer)> {
    Ok((Epoll::new()?, Timer::new()?))
}

pub struct Worker {
    pub(super) core: turn::Server,
    pub(super) now: Now,
    pub(super) relays: RelaySockets,
    pub(super) listeners: Listeners,
    pub(super) streams: Streams,
    pub(super) arena: Arena,
    pub(super) outbox: Outbox,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    /// For the ciphertext of one read.
    pub(super) scratch: Vec<u8>,
    pub(super) counts: IoCounts,
    pub(super) epoll: Rc<Epoll>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) placement: Arc<Placement>,
    pub(super) stream_queue_bytes_max: usize,
    pub(super) stream_idle: Duration,
    pub(super) turn_shared: Arc<turn::Shared>,
    /// While an upgrade is under way.
    pub(super) handover: Option<Box<Handover>>,
    pub(super) census: Census,
    pub(super) index: usize,
    pub(super) inboxes: Arc<[Arc<Inbox>]>,
    pub(super) crossing: Crossing,
    pace: Pace,
    tick: Tick,
    /// This round has few reports.
    is_quiet: bool,
    /// Packets had time to gather before this round.
    pub(super) has_rested: bool,
    /// Receive calls that brought all they asked for.
    pub(super) full_calls: u64,
    inbox: Arc<Inbox>,
    timer: Timer,
    /// When the timer will fire, at the latest.
    timer_at: Option<Instant>,
    /// Most allocations at once since memory was last given back.
    crowd: usize,
    next_tick: Option<Instant>,
    /// When the counts, which have changed, are to be published.
    publish_at: Option<Instant>,
}

impl Worker {
    pub fn new(seed: Seed) -> io::Result<Self> {
        let epoll = Rc::new(seed.epoll);
        let inbox = Arc::clone(&seed.inboxes[seed.index]);
        epoll.add(inbox.waker.as_fd(), Token::Wake.to_bits(), Interest::Read)?;
        epoll.add(seed.timer.as_fd(), Token::Timer.to_bits(), Interest::Read)?;
        for (index, seed) in seed.lanes.iter().enumerate() {
            let token = Token::Lane(index as u32).to_bits();
            epoll.add(seed.lane.as_fd(), token, Interest::Read)?;
        }
        let hasher = turn::hasher(&mut SystemRng);
        let now = clock::now();
        let turn_shared = Arc::clone(&seed.turn_shared);
        let mut worker = Self {
            core: turn::Server::new(seed.turn, seed.turn_shared, Box::new(SystemRng)),
            turn_shared,
            handover: Handover::of_successor(seed.lanes, hasher),
            now,
            relays: RelaySockets::new(seed.index, Rc::clone(&epoll), seed.relays, now.instant()),
            listeners: Listeners::default(),
            streams: Streams::default(),
            arena: Arena::default(),
            outbox: Outbox::default(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            scratch: vec![0; READ_LEN],
            counts: IoCounts::default(),
            epoll,
            stats: seed.stats,
            placement: seed.placement,
            stream_queue_bytes_max: seed.stream_queue_bytes_max,
            stream_idle: Duration::from_secs(seed.stream_idle_s),
            census: Census::of_worker(seed.index),
            index: seed.index,
            crossing: Crossing::new(seed.index, seed.crossings),
            inboxes: seed.inboxes,
            pace: Pace::new(now.instant(), Duration::MAX),
            tick: Tick::new(now.instant()),
            is_quiet: true,
            has_rested: false,
            full_calls: 0,
            inbox,
            timer: seed.timer,
            timer_at: None,
            crowd: 0,
            next_tick: None,
            publish_at: None,
        };
        for listener in seed.listeners {
            worker.open_listener(listener)?;
        }
        Ok(worker)
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut running = true;
        if let Some(clock) = ThreadClock::of_this_thread() {
            let _first = self.stats.clock.set(clock);
        }
        slack::make_sleeps_exact();
        self.pace = Pace::new(self.now.instant(), slack::sleep_cost());
        while running {
            let waited = self
                .set_timer()
                .and_then(|()| self.epoll.wait(&mut events, self.census.patience()));
            if let Err(error) = waited {
                tracing::error!(%error, "a media worker cannot wait for events");
                break;
            }
            self.now = clock::now();
            self.relays.set_now(self.now.instant());
            self.is_quiet = events.len() <= FEW_EVENTS;
            for index in 0..events.len() {
                let Some(event) = events.get(index) else {
                    break;
                };
                running &= self.handle_event(event);
                if self.is_quiet {
                    self.flush();
                }
                if index % EVENTS_PER_LISTENER_TURN == EVENTS_PER_LISTENER_TURN - 1 {
                    (0..self.listeners.len()).for_each(|listener| self.read_listener(listener));
                }
            }
            let fired = self.handle_timers();
            self.run_errand();
            self.flush();
            self.publish_in_time(fired || !events.is_empty());
            self.tick.keep_on(self.now.instant());
            let rest = self.rest();
            self.has_rested = rest.is_some();
            if let Some(rest) = rest {
                std::thread::sleep(rest);
            }
        }
        self.end();
    }

    /// How long to let packets gather before the next round.
    fn rest(&mut self) -> Option<Duration> {
        let (relays, listeners) = (&self.counts.relays, &self.counts.listeners);
        let total = Reads {
            packets: relays.received + listeners.received,
            relay_calls: relays.receive_calls,
            relay_datagrams: relays.received,
            full_calls: self.full_calls,
        };
        let streams = !self.streams.is_empty();
        self.pace.rest(self.now.instant(), total, streams)
    }

    /// False when the worker is to stop.
    fn handle_event(&mut self, event: Event) -> bool {
        match Token::from_bits(event.token) {
            Some(Token::Listener(index)) => self.read_listener(index as usize),
            Some(Token::Relay(relay)) => {
                if event.error {
                    self.take_errors(relay);
                }
                self.read_relay(relay);
            }
            Some(Token::Stream(index)) => {
                if event.writable {
                    self.write_stream(index);
                }
                if event.readable {
                    self.read_stream(index);
                }
            }
            Some(Token::Timer) => {
                self.timer.clear();
                self.timer_at = None;
            }
            Some(Token::Lane(index)) => self.handle_lane(index as usize, event.readable),
            Some(Token::Wake) => return self.take_mail(),
            None => debug_assert!(false, "only tokens are registered"),
        }
        true
    }

    fn take_mail(&mut self) -> bool {
        let mail = self.inbox.take();
        if let Some(settings) = mail.settings {
            self.core.set_settings(settings);
            self.take_output();
        }
        for change in mail.changes {
            self.change_listeners(change);
        }
        if self.listeners.is_any_leaving() {
            self.close_left_listeners();
        }
        if mail.draining {
            self.core.set_draining();
            self.publish_allocations();
        } else {
            self.core.set_accepting();
        }
        self.stats.draining.store(mail.draining, Ordering::Release);
        self.census.add(mail.errands);
        for order in mail.orders {
            match order {
                Order::Offer(to) => {
                    // Whoever asked may have given up.
                    let _ = to.send(self.offer());
                }
                Order::Give(give) => self.give(give),
                Order::WatchReservations => self.relays.watch_reservations(),
            }
        }
        for stream in mail.accepted {
            self.take_over(stream);
        }
        self.take_crossed();
        !mail.stopped
    }

    /// The listeners, for another process.
    fn offer(&mut self) -> io::Result<Vec<OfferedSocket>> {
        for index in 0..self.listeners.len() {
            if let Some(listener) = self.listeners.get_mut(index) {
                listener.runs = Runs::of_shared(&listener.socket);
            }
        }
        let offer = |(index, listener): (usize, &Listener)| {
            Ok(OfferedSocket {
                socket: listener.socket.as_fd().try_clone_to_owned()?,
                address: listener.socket.addr(),
                worker: self.index,
                index,
            })
        };
        self.listeners.open().map(offer).collect()
    }

    /// Sees to it that the next wait ends when something is due. What has become due later is found out then.
    fn set_timer(&mut self) -> io::Result<()> {
        let due = [self.core.poll_timeout(), self.next_tick, self.publish_at];
        let Some(due) = due.into_iter().flatten().min() else {
            return Ok(());
        };
        if self.timer_at.is_some_and(|at| at <= due) {
            return Ok(());
        }
        self.timer_at = Some(due);
        self.timer
            .set(due.saturating_duration_since(self.now.instant()))
    }

    /// True when something was due.
    fn handle_timers(&mut self) -> bool {
        let now = self.now.instant();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let core_is_due = is_due(self.core.poll_timeout());
        if core_is_due {
            self.core.handle_timeout(self.now);
            self.take_output();
        }
        let tick_is_due = is_due(self.next_tick);
        if tick_is_due {
            self.next_tick = None;
            self.close_idle_streams();
            self.relays.expire_reservations();
            self.look_after_leaving();
        }
        let wants_tick = !self.streams.is_empty()
            || self.relays.has_reservations()
            || self.listeners.is_any_leaving();
        if wants_tick && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
        core_is_due || tick_is_due
    }

    /// Publishes what is cheap at once, and all the counts every 100 ms while something changes.
    fn publish_in_time(&mut self, changed: bool) {
        self.publish_allocations();
        let now = self.now.instant();
        match self.publish_at {
            Some(due) if due <= now => {
                let published = self.stats.publish(&self.counts, self.core.counters());
                self.publish_at = (!published).then_some(now + PUBLISH_EVERY);
                self.look_after_memory();
            }
            None if changed => self.publish_at = Some(now + PUBLISH_EVERY),
            Some(_) | None => {}
        }
    }

    fn look_after_memory(&mut self) {
        let allocations = self.core.allocation_count();
        self.crowd = self.crowd.max(allocations);
        if self.crowd >= CROWD && allocations < self.crowd / 4 {
            self.crowd = allocations;
            memory::give_back();
        }
    }

    pub(super) fn publish_allocations(&self) {
        let allocations = self.core.allocation_count();
        self.stats.allocations.store(allocations, Ordering::Relaxed);
    }

    /// Carries out what the core has ordered.
    pub(super) fn take_output(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Reply { client, bytes } => {
                    // An indication (about an ICMP error) is as expendable as media; an answer is not.
                    let expendable = is_indication(&bytes);
                    self.queue_for_client(&client, Payload::reply(bytes), expendable);
                }
                Output::CloseRelay(relay) => {
                    self.flush_relay(relay);
                    self.relays.close(relay);
                }
                Output::Started(start) => {
                    log_start(&start);
                    self.tell_started(&start);
                    self.streams.set_allocation(&start);
                }
                Output::Ended(end) => {
                    log_end(&end);
                    traced::allocation(&end);
                    self.tell_ended(&end);
                    self.streams.clear_allocation(end.id, self.now.instant());
                }
                // For a fast path beside this driver; there is none.
                Output::PathUp(_) | Output::PathDown(_) => {}
            }
        }
    }

    pub(super) fn queue_for_client(&mut self, client: &ClientRef, payload: Payload, media: bool) {
        let five_tuple = &client.five_tuple;
        let mut item = Item::new(payload, five_tuple.client.socket_addr());
        item.media = media;
        match Link::of(client.link) {
            Link::Listener(index) => {
                let Some(listener) = self.listeners.get_mut(index as usize) else {
                    return;
                };
                item.from = listener.is_wildcard.then(|| five_tuple.server.ip());
                self.outbox
                    .push(&mut listener.chain, Token::Listener(index), item);
            }
            Link::Stream(index) => {
                let stream = self.streams.get_mut(index);
                // A slot is given away again, but not to the same client.
                let Some(stream) = stream.filter(|stream| stream.five_tuple == *five_tuple) else {
                    return;
                };
                self.outbox
                    .push(&mut stream.chain, Token::Stream(index), item);
            }
        }
    }

    /// Ends every allocation and connection.
    fn end(&mut self) {
        // Also when the loop ended by itself: from here on `take_over` gives connections back.
        self.inbox.stop();
        self.take_mail();
        self.core.shutdown();
        self.take_output();
        for index in self.streams.indices() {
            self.close_stream(index, StreamEnd::Stopped);
        }
        self.flush();
        self.stats
            .publish_finally(&self.counts, self.core.counters());
        self.stats
            .allocations
            .store(self.core.allocation_count(), Ordering::Relaxed);
    }
}

/// Class bits 01 in the message type (RFC 8489 §5).
fn is_indication(message: &[u8]) -> bool {
    matches!(message, [high, low, ..] if high & 0x01 == 0 && low & 0x10 != 0)
}

fn log_start(start: &AllocationStart) {
    tracing::debug!(
        id = start.id,
        user = start.username.as_str(),
        transport = start.five_tuple.transport.label(),
        client = %start.five_tuple.client,
        relayed = joined(&start.relayed),
        "allocation started"
    );
}

fn log_end(end: &AllocationEnd) {
    let quality = end.quality.unwrap_or_default();
    let (client, peer) = (quality.side(Side::Client), quality.side(Side::Peer));
    tracing::info!(
        id = end.id,
        user = end.username.as_str(),
        transport = end.transport.label(),
        client = %end.client,
        relayed = joined(&end.relayed),
        to_peer_packets = end.to_peer_packets,
        to_peer_bytes = end.to_peer_bytes,
        to_client_packets = end.to_client_packets,
        to_client_bytes = end.to_client_bytes,
        reason = end.reason.label(),
        duration_s = end.duration.as_secs_f64(),
        client_loss_ratio = client.loss_ratio(),
        client_jitter_ms = client.jitter_ms(),
        client_round_trip_ms = client.round_trip_ms(),
        peer_loss_ratio = peer.loss_ratio(),
        peer_jitter_ms = peer.jitter_ms(),
        peer_round_trip_ms = peer.round_trip_ms(),
        "allocation ended"
    );
}

fn joined(relayed: &[crate::addr::RelayedAddr]) -> String {
    let texts: Vec<String> = relayed.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{RelayedAddr, Transport};
    use crate::turn::EndReason;
    use std::sync::Mutex;

    /// Issue 2, item 7: one line for each ended allocation, with everything about it as fields.
    #[test]
    fn an_ended_allocation_is_one_line_with_all_its_fields() {
        let text = line(&end(None));
        assert_eq!(text.lines().count(), 1, "{text}");
        for field in [
            "INFO",
            "allocation ended",
            "id=7",
            "user=\"alice\\n2026 INFO forged\"",
            "transport=\"tls\"",
            "client=127.0.0.1:40000",
            "relayed=\"127.0.0.1:50000,[::1]:50001\"",
            "to_peer_packets=1 to_peer_bytes=2 to_client_packets=3 to_client_bytes=4",
            "reason=\"disconnected\"",
            "duration_s=1.5",
        ] {
            assert!(text.contains(field), "{field} in {text}");
        }
    }

    #[test]
    fn the_line_says_of_the_quality_what_was_measured_and_nothing_else() {
        let measured = ["loss_ratio", "jitter_ms", "round_trip_ms"];
        let text = line(&end(None));
        assert!(!measured.iter().any(|field| text.contains(field)), "{text}");
        let (mut call, mut counts) = (None, crate::quality::Counts::default());
        let peer = crate::addr::PeerAddr::new("192.0.2.1:1".parse().expect("valid"));
        for number in [1, 2, 4, 5] {
            let arrived = crate::quality::Arrived::new(Side::Peer, peer, 0);
            let packet = [0x80, 96, 0, number, 0, 0, 0, 0, 0, 0, 0, 9];
            crate::quality::measure(&mut call, &mut counts, arrived, &packet);
        }
        let text = line(&end(call.map(|call| call.summary())));
        assert!(text.contains("peer_loss_ratio=0.2"), "{text}");
        assert!(!text.contains("client_loss_ratio"), "{text}");
        assert!(!text.contains("round_trip"), "{text}");
    }

    fn end(quality: Option<crate::quality::Summary>) -> AllocationEnd {
        AllocationEnd {
            id: 7,
            username: "alice\n2026 INFO forged".to_owned(),
            transport: Transport::Tls,
            client: "127.0.0.1:40000".parse().expect("valid"),
            relayed: ["127.0.0.1:50000", "[::1]:50001"]
                .map(|addr| RelayedAddr::new(addr.parse().expect("valid")))
                .to_vec(),
            to_peer_packets: 1,
            to_peer_bytes: 2,
            to_client_packets: 3,
            to_client_bytes: 4,
            duration: Duration::from_millis(1500),
            reason: EndReason::Disconnected,
            quality,
        }
    }

    /// What the log says of it.
    fn line(end: &AllocationEnd) -> String {
        let written = Written::default();
        let writer = written.clone();
        let text = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(text, || log_end(end));
        let text = written.0.lock().expect("whole").clone();
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn indications_are_told_from_answers() {
        assert!(is_indication(&[0x00, 0x17, 0, 0]));
        for answer in [[0x01, 0x03], [0x01, 0x13], [0x01, 0x01]] {
            assert!(!is_indication(&answer));
        }
        assert!(!is_indication(&[]));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

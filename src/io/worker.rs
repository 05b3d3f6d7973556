//! One worker: its event loop, its timers, and the orders that it gets from the core and from other threads.
//!
//! A round is: wait, read the clock once, read what is ready, hand it to the core, send everything that came of
//! it. An error of one socket is counted and never ends the loop; nothing in it blocks.

use crate::io::arena::Arena;
use crate::io::inbox::Inbox;
use crate::io::listener::Listener;
use crate::io::media::Placement;
use crate::io::metrics::{IoCounts, WorkerStats};
use crate::io::outbox::{Item, Outbox, Payload};
use crate::io::relay::{RelayShared, RelaySockets};
use crate::io::stream::{READ_LEN, StreamEnd};
use crate::io::streams::Streams;
use crate::io::token::{Link, Token};
use crate::sys::clock;
use crate::sys::epoll::{Epoll, Event, Events, Interest};
use crate::sys::recv::Receiver;
use crate::sys::rng::SystemRng;
use crate::sys::send::Sender;
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

/// How often idle connections and unclaimed reservations are looked for, while there are any.
const TICK: Duration = Duration::from_secs(1);

/// What a worker is made of; unlike the worker, it can be sent to its thread.
pub struct Seed {
    pub listeners: Vec<Listener>,
    pub inbox: Arc<Inbox>,
    pub stats: Arc<WorkerStats>,
    pub relays: Arc<RelayShared>,
    pub turn: Arc<turn::Settings>,
    pub turn_shared: Arc<turn::Shared>,
    pub placement: Arc<Placement>,
    pub stream_queue_bytes_max: usize,
    pub stream_idle_s: u64,
    pub epoll: Epoll,
}

pub fn new_epoll() -> io::Result<Epoll> {
    Epoll::new()
}

pub struct Worker {
    pub(super) core: turn::Server,
    pub(super) now: Now,
    pub(super) relays: RelaySockets,
    pub(super) listeners: Vec<Listener>,
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
    inbox: Arc<Inbox>,
    next_tick: Option<Instant>,
}

impl Worker {
    pub fn new(seed: Seed) -> io::Result<Self> {
        let epoll = Rc::new(seed.epoll);
        epoll.add(
            seed.inbox.waker.as_fd(),
            Token::Wake.to_bits(),
            Interest::Read,
        )?;
        for (index, listener) in seed.listeners.iter().enumerate() {
            let token = Token::Listener(index as u32).to_bits();
            epoll.add(listener.socket.as_fd(), token, Interest::Read)?;
        }
        let now = clock::now();
        Ok(Self {
            core: turn::Server::new(seed.turn, seed.turn_shared, Box::new(SystemRng)),
            now,
            relays: RelaySockets::new(Rc::clone(&epoll), seed.relays, now.instant()),
            listeners: seed.listeners,
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
            inbox: seed.inbox,
            next_tick: None,
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut running = true;
        while running {
            let waited = self.epoll.wait(&mut events, self.timeout());
            if let Err(error) = waited {
                tracing::error!(%error, "a media worker cannot wait for events");
                break;
            }
            self.now = clock::now();
            self.relays.set_now(self.now.instant());
            for index in 0..events.len() {
                let Some(event) = events.get(index) else {
                    break;
                };
                running &= self.handle_event(event);
                if index % EVENTS_PER_LISTENER_TURN == EVENTS_PER_LISTENER_TURN - 1 {
                    (0..self.listeners.len()).for_each(|listener| self.read_listener(listener));
                }
            }
            self.handle_timers();
            self.flush();
            self.publish();
        }
        self.end();
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
        if mail.draining {
            self.core.set_draining();
        }
        for stream in mail.accepted {
            self.take_over(stream);
        }
        !mail.stopped
    }

    /// How long the next wait may be; `None` without anything to wait for but events.
    fn timeout(&self) -> Option<Duration> {
        let due = [self.core.poll_timeout(), self.next_tick];
        let due = due.into_iter().flatten().min()?;
        Some(due.saturating_duration_since(self.now.instant()))
    }

    fn handle_timers(&mut self) {
        let now = self.now.instant();
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            self.core.handle_timeout(self.now);
            self.take_output();
        }
        if self.next_tick.is_some_and(|due| due <= now) {
            self.next_tick = None;
            self.close_idle_streams();
            self.relays.expire_reservations();
        }
        let wants_tick = !self.streams.is_empty() || self.relays.has_reservations();
        if wants_tick && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
    }

    fn publish(&self) {
        let allocations = self.core.allocation_count();
        self.stats.allocations.store(allocations, Ordering::Relaxed);
        self.stats.publish(&self.counts, self.core.counters());
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
                    self.streams.set_allocation(&start);
                }
                Output::Ended(end) => {
                    log_end(&end);
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
        self.core.shutdown();
        self.take_output();
        for index in self.streams.indices() {
            self.close_stream(index, StreamEnd::Stopped);
        }
        self.flush();
        self.publish();
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
        "allocation ended"
    );
}

fn joined(relayed: &[crate::addr::RelayedAddr]) -> String {
    let texts: Vec<String> = relayed.iter().map(ToString::to_string).collect();
    texts.join(",")
}

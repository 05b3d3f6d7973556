//! The TCP and TLS connections of a worker: taking over, reading messages, writing, closing.
//!
//! Invariant: a connection is in `slots`, in `by_tuple` and in the epoll, or in none of them.

use crate::accepted::Accepted;
use crate::addr::FiveTuple;
use crate::io::outbox::{Chain, Margins, Payload};
use crate::io::stream::{FRAMES_MAX, READ_LEN, Stream, StreamEnd};
use crate::io::token::{Link, Token};
use crate::io::worker::Worker;
use crate::stun::framing::{self, Framing};
use crate::sys::epoll::Interest;
use crate::turn::{AllocationStart, Verdict};
use slab::Slab;
use std::collections::HashMap;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[derive(Default)]
pub struct Streams {
    slots: Slab<Stream>,
    by_tuple: HashMap<FiveTuple, u32>,
    /// Allocation → the connection that it belongs to.
    by_allocation: HashMap<u64, u32>,
}

impl Streams {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)
    }

    pub fn indices(&self) -> Vec<u32> {
        self.slots.iter().map(|(index, _)| index as u32).collect()
    }

    fn insert(&mut self, stream: Stream) -> u32 {
        let five_tuple = stream.five_tuple;
        let index = self.slots.insert(stream) as u32;
        self.by_tuple.insert(five_tuple, index);
        index
    }

    fn remove(&mut self, index: u32) -> Option<Stream> {
        let stream = self.slots.try_remove(index as usize)?;
        self.by_tuple.remove(&stream.five_tuple);
        if let Some(id) = stream.allocation {
            self.by_allocation.remove(&id);
        }
        Some(stream)
    }

    /// Notes that a connection has an allocation; of no effect for one over UDP.
    pub fn set_allocation(&mut self, start: &AllocationStart) {
        if !start.five_tuple.transport.is_stream() {
            return;
        }
        let Some(index) = self.by_tuple.get(&start.five_tuple).copied() else {
            return;
        };
        if let Some(stream) = self.get_mut(index) {
            stream.allocation = Some(start.id);
            stream.has_had_allocation = true;
            self.by_allocation.insert(start.id, index);
        }
    }

    pub fn clear_allocation(&mut self, id: u64, now: Instant) {
        let index = self.by_allocation.remove(&id);
        if let Some(stream) = index.and_then(|index| self.get_mut(index)) {
            stream.allocation = None;
            stream.idle_since = now;
        }
    }
}

impl Worker {
    /// Takes a connection over, and reads what came with it.
    pub(super) fn take_over(&mut self, accepted: Accepted) {
        let five_tuple = accepted.five_tuple;
        if let Some(older) = self.streams.by_tuple.get(&five_tuple).copied() {
            self.close_stream(older, StreamEnd::Replaced);
        }
        self.counts.streams_taken += 1;
        let ready = accepted.socket.set_nonblocking(true);
        let stream = Stream::new(accepted, self.stream_queue_bytes_max, self.now.instant());
        let index = self.streams.insert(stream);
        let added = ready.and_then(|()| {
            let Some(stream) = self.streams.get_mut(index) else {
                return Ok(());
            };
            self.epoll.add(
                stream.as_fd(),
                Token::Stream(index).to_bits(),
                Interest::Read,
            )
        });
        match added {
            // Bytes that were read already are reported by no readiness.
            Ok(()) => self.read_stream(index),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken over");
                self.close_stream(index, StreamEnd::SocketError);
            }
        }
    }

    pub(super) fn read_stream(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        let partial = std::mem::take(&mut stream.partial);
        self.make_room(partial.len() + READ_LEN);
        // Making room may have closed it.
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        let start = self.arena.used();
        let room = self.arena.next(partial.len() + READ_LEN);
        let Some((head, room)) = room.split_at_mut_checked(partial.len()) else {
            debug_assert!(false, "the longest message is shorter than the arena");
            return;
        };
        head.copy_from_slice(&partial);
        let outcome = stream.read(room, &mut self.scratch);
        let end = start + partial.len() + outcome.len;
        self.arena.take(end - start);
        let handled = self.handle_messages(index, start..end, partial);
        match handled.and(outcome.end.map_or(Ok(()), Err)) {
            Ok(()) => self.update_interest(index),
            Err(end) => self.close_stream(index, end),
        }
    }

    /// Hands the whole messages in `received` to the core and keeps the rest; `buffer` is reused for that.
    fn handle_messages(
        &mut self,
        index: u32,
        received: Range<usize>,
        buffer: Vec<u8>,
    ) -> Result<(), StreamEnd> {
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        stream.partial = buffer;
        let five_tuple = stream.five_tuple;
        let mut at = received.start;
        loop {
            let left = self.arena.get(at..received.end);
            if self.is_garbage(index, left) {
                return Err(StreamEnd::Unparseable);
            }
            let (len, padded_len) = match framing::next(left) {
                Ok(Framing::Message { len, padded_len }) if padded_len > 0 => (len, padded_len),
                Ok(Framing::Incomplete | Framing::Message { .. }) => break,
                Err(error) => {
                    tracing::debug!(%error, "a client's stream is out of step");
                    return Err(StreamEnd::Unparseable);
                }
            };
            let end = received.end.min(at + padded_len);
            let margins = Margins {
                front: 0,
                back: end.saturating_sub(at + len),
            };
            self.handle_message(index, &five_tuple, at..at + len, margins)?;
            at = end;
        }
        let rest = self.arena.get(at..received.end);
        // Handling a message never closes its own connection.
        let kept = self
            .streams
            .get_mut(index)
            .is_none_or(|stream| stream.keep_partial(rest));
        if kept {
            Ok(())
        } else {
            Err(StreamEnd::Unparseable)
        }
    }

    /// Most text protocols begin like ChannelData, and would be waited for to their supposed length.
    fn is_garbage(&self, index: u32, bytes: &[u8]) -> bool {
        let stream = self.streams.slots.get(index as usize);
        let is_channel_data = matches!(bytes.first(), Some(0x40..=0x7f));
        is_channel_data && stream.is_some_and(|stream| !stream.has_had_allocation)
    }

    fn handle_message(
        &mut self,
        index: u32,
        from: &FiveTuple,
        message: Range<usize>,
        margins: Margins,
    ) -> Result<(), StreamEnd> {
        let link = Link::Stream(index).id();
        let bytes = self.arena.get(message.clone());
        let verdict = self
            .core
            .handle_client(self.now, from, link, bytes, &mut self.relays);
        self.take_output();
        if let Verdict::Drop(reason) = &verdict
            && reason.closes_stream()
        {
            return Err(StreamEnd::Unparseable);
        }
        self.carry_out(verdict, Payload::Arena(message), margins);
        Ok(())
    }

    pub(super) fn write_stream(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        match stream.send_queued() {
            Ok(()) => self.update_interest(index),
            Err(end) => self.close_stream(index, end),
        }
    }

    pub(super) fn flush_stream(&mut self, index: u32) {
        match self.send_chain(index) {
            Ok(()) => self.update_interest(index),
            Err(end) => self.close_stream(index, end),
        }
    }

    /// Sends what this round has queued for a connection, many frames to a write.
    fn send_chain(&mut self, index: u32) -> Result<(), StreamEnd> {
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(());
        };
        let chain = std::mem::replace(&mut stream.chain, Chain::EMPTY);
        let mut items = self.outbox.chain(chain);
        loop {
            let mut frames = [IoSlice::new(&[]); FRAMES_MAX];
            let mut media = [false; FRAMES_MAX];
            let mut count = 0;
            for item in items.by_ref().take(FRAMES_MAX) {
                frames[count] = IoSlice::new(item.payload.bytes(&self.arena));
                media[count] = item.media;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let dropped = stream.send(&frames[..count], &media[..count])?;
            self.counts.stream_frames_dropped += dropped;
        }
    }

    /// Asks to be told when a blocked connection takes more, and no longer when it is not blocked.
    fn update_interest(&mut self, index: u32) {
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        let blocked = stream.is_blocked();
        if blocked == stream.waits_for_write {
            return;
        }
        let interest = if blocked {
            Interest::ReadWrite
        } else {
            Interest::Read
        };
        let token = Token::Stream(index).to_bits();
        match self.epoll.modify(stream.as_fd(), token, interest) {
            Ok(()) => stream.waits_for_write = blocked,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be watched");
                self.close_stream(index, StreamEnd::SocketError);
            }
        }
    }

    /// Ends a connection and, at once, its allocation.
    pub(super) fn close_stream(&mut self, index: u32, end: StreamEnd) {
        // The last answers, as far as the socket takes them; it is closed in any case.
        if end != StreamEnd::SocketError {
            let _ = self.send_chain(index);
        }
        let Some(stream) = self.streams.remove(index) else {
            return;
        };
        tracing::debug!(client = %stream.five_tuple.client, end = end.label(), "connection ended");
        self.counts.count_stream_end(end);
        self.core.handle_closed(self.now, &stream.five_tuple);
        self.take_output();
        self.placement.leave(&stream.five_tuple);
        self.stats.streams.fetch_sub(1, Ordering::Relaxed);
        stream.close();
    }

    pub(super) fn close_idle_streams(&mut self) {
        let (now, idle) = (self.now.instant(), self.stream_idle);
        let is_idle = |stream: &Stream| {
            stream.allocation.is_none() && now.saturating_duration_since(stream.idle_since) >= idle
        };
        let slots = &self.streams.slots;
        let found = slots.iter().filter(|(_, stream)| is_idle(stream));
        let found: Vec<u32> = found.map(|(index, _)| index as u32).collect();
        for index in found {
            self.close_stream(index, StreamEnd::Idle);
        }
    }
}

//! What waits for a client that reads slowly: whole frames, bounded.
//!
//! Beyond the bound the oldest media goes first; a frame that has been sent in part stays, or the stream
//! would lose its step. Replies are never dropped: when they alone exceed the bound, the connection is given up.

use std::collections::VecDeque;
use std::io::IoSlice;

/// What a frame takes beside its bytes: its record and the allocator's. Empty frames have a cost too.
const FRAME_COST: usize = 64;

/// Records that an empty queue keeps room for.
const IDLE_FRAMES: usize = 16;

struct Frame {
    bytes: Vec<u8>,
    /// Bytes already sent; only the first frame of the queue may have some.
    sent: usize,
    media: bool,
}

impl Frame {
    fn left(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// What it counts for against the bound.
    fn cost(&self) -> usize {
        self.bytes.len() + FRAME_COST
    }
}

#[derive(Default)]
pub struct WriteQueue {
    frames: VecDeque<Frame>,
    /// Costs of all frames, what is sent of the first included.
    bytes: usize,
    reply_bytes: usize,
}

/// Replies alone exceed the bound: the client does not read and goes on asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepliesOverflow;

impl WriteQueue {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends a frame of which `sent` bytes are on their way already; returns how many media frames had to go.
    pub fn push(
        &mut self,
        bytes: &[u8],
        sent: usize,
        media: bool,
        bytes_max: usize,
    ) -> Result<u64, RepliesOverflow> {
        debug_assert!(sent == 0 || self.frames.is_empty());
        let frame = Frame {
            bytes: bytes.to_vec(),
            sent,
            media,
        };
        self.bytes += frame.cost();
        if !media {
            self.reply_bytes += frame.cost();
        }
        self.frames.push_back(frame);
        let mut dropped = 0;
        while self.bytes > bytes_max && self.drop_oldest_media() {
            dropped += 1;
        }
        if self.reply_bytes > bytes_max {
            return Err(RepliesOverflow);
        }
        Ok(dropped)
    }

    fn drop_oldest_media(&mut self) -> bool {
        let may_go = |frame: &Frame| frame.media && frame.sent == 0;
        let Some(at) = self.frames.iter().position(may_go) else {
            return false;
        };
        let gone = self.frames.remove(at);
        self.bytes -= gone.map_or(0, |frame| frame.cost());
        true
    }

    /// The front of the queue as slices for one write; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame.left());
            count += 1;
        }
        count
    }

    /// Forgets what a write has taken.
    pub fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.frames.front_mut() {
            let left = first.left().len();
            if written < left {
                first.sent += written;
                return;
            }
            written -= left;
            self.bytes -= first.cost();
            if !first.media {
                self.reply_bytes -= first.cost();
            }
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > IDLE_FRAMES {
            self.frames.shrink_to(IDLE_FRAMES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_media_goes_first_and_replies_stay() {
        let mut queue = WriteQueue::default();
        for (byte, media) in [(1, true), (2, false), (3, true), (4, true)] {
            assert_eq!(queue.push(&[byte; 10], 0, media, bound(4, 40)), Ok(0));
        }
        assert_eq!(queue.push(&[5; 15], 0, true, bound(4, 40)), Ok(2));
        assert_eq!(firsts(&queue), [2, 4, 5]);
    }

    #[test]
    fn a_frame_sent_in_part_is_finished() {
        let mut queue = WriteQueue::default();
        assert_eq!(queue.push(&[1; 10], 4, true, bound(2, 20)), Ok(0));
        assert_eq!(queue.push(&[2; 10], 0, true, bound(2, 20)), Ok(0));
        assert_eq!(queue.push(&[3; 10], 0, true, bound(2, 20)), Ok(1));
        assert_eq!(firsts(&queue), [1, 3]);
        queue.advance(6);
        assert_eq!(firsts(&queue), [3]);
        queue.advance(10);
        assert!(queue.is_empty());
        assert_eq!((queue.bytes, queue.reply_bytes), (0, 0));
    }

    #[test]
    fn replies_that_alone_exceed_the_bound_end_the_connection() {
        let mut queue = WriteQueue::default();
        assert_eq!(queue.push(&[1; 30], 0, true, bound(1, 40)), Ok(0));
        assert_eq!(queue.push(&[2; 40], 0, false, bound(1, 40)), Ok(1));
        assert_eq!(
            queue.push(&[3; 1], 0, false, bound(1, 40)),
            Err(RepliesOverflow)
        );
    }

    /// A peer that sends empty datagrams must not make a silent client's queue many times its bound.
    #[test]
    fn the_smallest_frames_are_bounded_by_the_memory_that_they_take() {
        let mut queue = WriteQueue::default();
        let bytes_max = 256 << 10;
        for _ in 0..100_000 {
            queue.push(&[0; 4], 0, true, bytes_max).expect("media only");
        }
        let held = queue.frames.capacity() * size_of::<Frame>() + queue.frames.len() * 32;
        assert!(held <= 2 * bytes_max, "{held}");
        queue.advance(usize::MAX);
        assert!(queue.frames.capacity() <= IDLE_FRAMES, "given back");
    }

    proptest! {
        /// Whatever is written and whenever: what leaves is whole frames, in order, all replies among them.
        #[test]
        fn what_leaves_is_whole_frames_in_order(
            steps in prop::collection::vec((1usize..60, any::<bool>(), 0usize..80), 1..60),
        ) {
            let mut queue = WriteQueue::default();
            let mut out = Vec::new();
            let mut replies = Vec::new();
            for (number, (len, media, written)) in steps.into_iter().enumerate() {
                let mut frame = vec![number as u8; len];
                frame[0] = len as u8;
                if queue.push(&frame, 0, media, bound(3, 150)).is_err() {
                    return Ok(());
                }
                prop_assert!(queue.bytes <= bound(4, 210), "at most one frame in part beyond the bound");
                if !media {
                    replies.push(frame);
                }
                take(&mut queue, written, &mut out);
            }
            take(&mut queue, usize::MAX, &mut out);
            prop_assert!(queue.is_empty());
            let mut numbers = Vec::new();
            let mut rest = &out[..];
            while let Some(len) = rest.first() {
                let (frame, tail) = rest.split_at(usize::from(*len));
                if frame.len() > 1 {
                    numbers.push(frame[1]);
                    prop_assert!(frame[1..].iter().all(|byte| *byte == frame[1]));
                }
                if replies.first().is_some_and(|reply| reply == frame) {
                    replies.remove(0);
                }
                rest = tail;
            }
            prop_assert!(numbers.is_sorted());
            prop_assert!(replies.is_empty());
        }
    }

    fn bound(frames: usize, bytes: usize) -> usize {
        bytes + frames * FRAME_COST
    }

    fn take(queue: &mut WriteQueue, written: usize, out: &mut Vec<u8>) {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = queue.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        let written = written.min(bytes.len());
        out.extend(&bytes[..written]);
        queue.advance(written);
    }

    fn firsts(queue: &WriteQueue) -> Vec<u8> {
        queue.frames.iter().map(|frame| frame.bytes[0]).collect()
    }
}

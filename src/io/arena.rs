//! The buffer of one round: everything received in it lies here until it is sent, so nothing is copied.
//!
//! Space is given from front to back and all at once taken back after a flush. Datagrams take slots of one
//! size, stream reads take what they need.

use crate::sys::recv::SlotLayout;
use crate::turn::output::PREFIX_LEN_MAX;
use std::ops::Range;

/// Slots of received datagrams: room in front for the longest prefix, behind for padding. An odd number of
/// cache lines, so that the first lines of neighbours do not compete for the same set.
pub const LAYOUT: SlotLayout = SlotLayout {
    stride: 33 * 64,
    headroom: 64,
    tailroom: 4,
};

const _: () = assert!(LAYOUT.headroom >= PREFIX_LEN_MAX && LAYOUT.payload_max() >= 1500);

/// Fits into a second-level cache while a round is of ordinary size.
const ARENA_BYTES: usize = 512 * LAYOUT.stride;

pub struct Arena {
    bytes: Vec<u8>,
    used: usize,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            bytes: vec![0; ARENA_BYTES],
            used: 0,
        }
    }
}

impl Arena {
    /// Bytes that can be taken before the next reset.
    pub fn free(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Where the next bytes taken begin.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The next `len` bytes, or fewer at the end; they are not taken yet.
    pub fn next(&mut self, len: usize) -> &mut [u8] {
        let end = self.bytes.len().min(self.used + len);
        &mut self.bytes[self.used..end]
    }

    /// Keeps the next `len` bytes until the reset.
    pub fn take(&mut self, len: usize) {
        self.used = self.bytes.len().min(self.used + len);
    }

    /// Takes everything back; nothing that was received is used any more.
    pub fn reset(&mut self) {
        self.used = 0;
    }

    pub fn get(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    pub fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.bytes.get_mut(range).unwrap_or_default()
    }
}

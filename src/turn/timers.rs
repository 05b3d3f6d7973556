//! When each allocation next wants attention: one heap per server, one entry in force per allocation.
//!
//! An entry is in force while its allocation says the same time; others are left behind and are skipped, or
//! thrown out together when they are the majority. So renewing a lifetime costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Stale entries that are not worth a sweep.
const STALE_MIN: usize = 64;

/// (when in nanoseconds, slot in the table, allocation ID)
type Entry = (u64, u32, u64);

#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Timers {
    pub fn set(&mut self, at_ns: u64, slot: u32, id: u64) {
        self.heap.push(Reverse((at_ns, slot, id)));
    }

    pub fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, _, _))| *at_ns)
    }

    /// Takes the first entry that is due at `now_ns`.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Entry> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops stale entries from the front, and all of them when they outnumber the `live` ones.
    pub fn tidy(&mut self, live: usize, is_in_force: impl Fn(&Entry) -> bool) {
        if self.heap.len() > 2 * live + STALE_MIN {
            self.heap.retain(|Reverse(entry)| is_in_force(entry));
            self.heap.shrink_to(2 * live + STALE_MIN);
        }
        while let Some(Reverse(entry)) = self.heap.peek() {
            if is_in_force(entry) {
                return;
            }
            self.heap.pop();
        }
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

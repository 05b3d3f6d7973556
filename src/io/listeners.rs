//! The UDP listeners of one worker, which come and go while it serves.
//!
//! A listener is a group: one socket for each worker, joined by SO_REUSEPORT. The kernel chooses among them by a hash of the
//! addresses and by their number, so a group closes as a whole: as long as one worker has an allocation that came by it, no
//! worker closes its socket, or that allocation's packets would reach another worker. Until then a *leaving* listener
//! serves what it has and refuses new allocations.
//!
//! Absent: which group is to come or go (`groups`).

use crate::io::inbox::Inbox;
use crate::io::listener::Listener;
use crate::io::token::{Link, Token};
use crate::io::worker::Worker;
use crate::sys::epoll::Interest;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Names one group of sockets for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u32);

/// What a worker is told when the configuration has changed.
pub struct Change {
    pub add: Vec<Listener>,
    pub leave: Vec<(GroupId, Arc<Leave>)>,
    /// Leaving ones that are wanted again.
    pub revive: Vec<GroupId>,
    pub streams: StreamSettings,
    /// Dropped once the worker acts by all of this.
    pub applied: Box<dyn Send>,
}

/// What connections are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Of connections taken over from here on, in bytes.
    pub queue_bytes_max: usize,
    pub idle: Duration,
}

/// A worker's sockets by their index, which is their name in tokens and links.
#[derive(Default)]
pub struct Listeners {
    slots: Vec<Option<Listener>>,
}

impl Listeners {
    /// Indices go up to here; some may be free.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn get(&self, index: usize) -> Option<&Listener> {
        self.slots.get(index)?.as_ref()
    }

    /// Those that are open, with their indices.
    pub fn open(&self) -> impl Iterator<Item = (usize, &Listener)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Listener> {
        self.slots.get_mut(index)?.as_mut()
    }

    pub fn is_any_leaving(&self) -> bool {
        let mut open = self.slots.iter().flatten();
        open.any(|listener| listener.leaving.is_some())
    }

    /// Returns the index.
    pub fn insert(&mut self, listener: Listener) -> u32 {
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[index] = Some(listener);
        index as u32
    }

    fn close(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = None;
        }
    }

    /// More than one where fewer workers took over from more.
    fn of_group(&mut self, group: GroupId) -> impl Iterator<Item = &mut Listener> {
        let open = self.slots.iter_mut().flatten();
        open.filter(move |listener| listener.group == group)
    }

    fn indices_of(&self, group: GroupId) -> Vec<usize> {
        let of_group = self.open().filter(|(_, listener)| listener.group == group);
        of_group.map(|(index, _)| index).collect()
    }
}

impl Worker {
    /// Watches one more listener.
    ///
    /// One of a former process is watched once that process has let it go.
    pub(super) fn open_listener(&mut self, listener: Listener) -> std::io::Result<()> {
        let is_read = listener.is_read;
        let index = self.listeners.insert(listener);
        let listener = self.listeners.get_mut(index as usize);
        let Some(listener) = listener.filter(|_| is_read) else {
            return Ok(());
        };
        let token = Token::Listener(index).to_bits();
        let added = self
            .epoll
            .add(listener.socket.as_fd(), token, Interest::Read);
        if added.is_err() {
            self.listeners.close(index as usize);
        }
        added
    }

    pub(super) fn change_listeners(&mut self, change: Change) {
        for group in change.revive {
            for listener in self.listeners.of_group(group) {
                listener.leaving = None;
            }
        }
        for (group, leave) in change.leave {
            let mut open = 0;
            for listener in self.listeners.of_group(group) {
                let leave = Arc::clone(&leave);
                // The worker has one voice: that of its first socket.
                let is_first = open == 0;
                listener.leaving = Some(Leaving {
                    leave,
                    idle: false,
                    is_first,
                });
                open += 1;
            }
            if open == 0 {
                // It could not be watched, or other workers alone have it; nobody is to wait for it.
                leave.set_idle();
                leave.set_closed();
            }
        }
        for listener in change.add {
            let address = listener.socket.addr();
            if let Err(error) = self.open_listener(listener) {
                tracing::error!(%error, %address, "a worker cannot watch a new listener");
            }
        }
        self.stream_queue_bytes_max = change.streams.queue_bytes_max;
        self.stream_idle = change.streams.idle;
        self.look_after_leaving();
        drop(change.applied);
    }

    /// Looks which of the leaving listeners have no call here any more. Looks at every allocation, so not often.
    pub(super) fn look_after_leaving(&mut self) {
        for index in 0..self.listeners.len() {
            let Some(listener) = self.listeners.get(index) else {
                continue;
            };
            let waits = |leaving: &Leaving| leaving.is_first && !leaving.idle;
            if !listener.leaving.as_ref().is_some_and(waits) {
                continue;
            }
            let group = self.listeners.indices_of(listener.group);
            let is_used = |index: &usize| {
                let link = Link::Listener(*index as u32).id();
                self.core.uses_link(link) || self.serves_former(*index)
            };
            if group.iter().any(is_used) {
                continue;
            }
            let listener = self.listeners.get_mut(index);
            if let Some(leaving) = listener.and_then(|listener| listener.leaving.as_mut()) {
                leaving.idle = leaving.leave.set_idle();
            }
        }
        self.close_left_listeners();
    }

    /// Closes the listeners that no worker needs any more.
    pub(super) fn close_left_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let Some(listener) = self.listeners.get_mut(index) else {
                continue;
            };
            let leaving = listener.leaving.as_ref();
            let Some(leaving) = leaving.filter(|leaving| leaving.leave.is_over()) else {
                continue;
            };
            let (leave, is_first) = (Arc::clone(&leaving.leave), leaving.is_first);
            let address = listener.socket.addr();
            // Another process may have the same socket open, and then closing it here does not end the watch.
            if listener.is_read && self.epoll.remove(listener.socket.as_fd()).is_err() {
                debug_assert!(false, "what is read is watched");
            }
            // What waits to be sent by it goes first.
            self.flush();
            self.listeners.close(index);
            if is_first && leave.set_closed() {
                tracing::info!(%address, "listener closed: the last call that came by it has ended");
            }
        }
    }
}

/// A worker's part in a group that closes.
pub struct Leaving {
    leave: Arc<Leave>,
    /// This worker has said that it needs the group no more.
    idle: bool,
    /// It speaks for the worker's sockets of the group.
    is_first: bool,
}

/// A group that is to close: how far its workers are.
pub struct Leave {
    state: Mutex<State>,
    changed: Condvar,
    /// Of the workers, to be woken when the last one has become idle.
    inboxes: Vec<Arc<Inbox>>,
}

struct State {
    /// Workers that have an allocation which came by the group, or have not looked yet.
    busy: usize,
    /// Sockets that are not closed.
    open: usize,
    /// It is wanted again.
    kept: bool,
}

impl Leave {
    pub fn new(inboxes: Vec<Arc<Inbox>>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                busy: inboxes.len(),
                open: inboxes.len(),
                kept: false,
            }),
            changed: Condvar::new(),
            inboxes,
        })
    }

    /// Keeps the group open; false when it closes already.
    pub fn keep(&self) -> bool {
        let mut state = self.state();
        state.kept = state.busy > 0;
        state.kept
    }

    /// Undoes [`keep`](Self::keep).
    pub fn let_go(&self) {
        self.state().kept = false;
    }

    /// True once no worker needs it, whether or not its sockets are closed.
    pub fn is_over(&self) -> bool {
        self.state().busy == 0
    }

    /// Waits until every socket of a group that closes is closed; false when the time is up.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), timeout, |state| state.open > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.open == 0
    }

    /// One worker needs the group no more; false while it is being kept: to be said again then.
    fn set_idle(&self) -> bool {
        let mut state = self.state();
        if state.kept {
            return false;
        }
        state.busy = state.busy.saturating_sub(1);
        let last = state.busy == 0;
        drop(state);
        if last {
            self.inboxes.iter().for_each(|inbox| inbox.waker.wake());
        }
        true
    }

    /// True for the last socket.
    fn set_closed(&self) -> bool {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        let last = state.open == 0;
        drop(state);
        self.changed.notify_all();
        last
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What other threads hand to a worker: connections, settings, orders. Cold, so a lock and an eventfd do.

use crate::accepted::Accepted;
use crate::io::census::{ERRANDS_MAX, Errand, Unanswered};
use crate::io::handover::{Give, OfferedSocket};
use crate::io::listeners::Change;
use crate::sys::epoll::Waker;
use crate::turn;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that may wait for a worker. It takes all of them in one round, so more means it is stuck.
const ACCEPTED_MAX: usize = 1024;

pub struct Inbox {
    state: Mutex<State>,
    /// The worker owes a sign of life.
    owes: AtomicBool,
    pub waker: Waker,
}

#[derive(Default)]
struct State {
    accepted: VecDeque<Accepted>,
    errands: VecDeque<Errand>,
    settings: Option<Arc<turn::Settings>>,
    /// One for each reload, and a reload waits for its change to be taken.
    changes: Vec<Change>,
    orders: Vec<Order>,
    draining: bool,
    stopped: bool,
}

/// What a worker is to do in an upgrade.
pub enum Order {
    /// Say which listeners there are.
    Offer(Sender<io::Result<Vec<OfferedSocket>>>),
    Give(Give),
    /// Some reservation was adopted and wants to be looked after.
    WatchReservations,
}

/// Everything that had come in.
pub struct Mail {
    pub accepted: VecDeque<Accepted>,
    pub errands: VecDeque<Errand>,
    pub settings: Option<Arc<turn::Settings>>,
    pub changes: Vec<Change>,
    pub orders: Vec<Order>,
    pub draining: bool,
    pub stopped: bool,
}

impl Inbox {
    pub fn new(waker: Waker) -> Self {
        Self {
            state: Mutex::default(),
            owes: AtomicBool::new(false),
            waker,
        }
    }

    /// Gives the connection back when the worker has stopped or too many wait.
    pub fn put(&self, stream: Accepted) -> Result<(), Accepted> {
        let mut state = self.lock();
        if state.stopped || state.accepted.len() >= ACCEPTED_MAX {
            return Err(stream);
        }
        state.accepted.push_back(stream);
        drop(state);
        self.waker.wake();
        Ok(())
    }

    pub fn set_settings(&self, settings: Arc<turn::Settings>) {
        self.lock().settings = Some(settings);
        self.waker.wake();
    }

    /// A worker that has stopped drops it.
    pub fn order(&self, order: Order) {
        let mut state = self.lock();
        if !state.stopped {
            state.orders.push(order);
        }
        drop(state);
        self.waker.wake();
    }

    /// Settings, where they have changed, and everything else that a reload changes: taken together.
    pub fn change(&self, settings: Option<Arc<turn::Settings>>, change: Change) {
        let mut state = self.lock();
        state.settings = settings.or(state.settings.take());
        state.changes.push(change);
        drop(state);
        self.waker.wake();
    }

    pub fn set_draining(&self, draining: bool) {
        self.lock().draining = draining;
        self.waker.wake();
    }

    /// An error when the worker has stopped or too many wait.
    pub fn ask(&self, errand: Errand) -> Result<(), Unanswered> {
        let mut state = self.lock();
        if state.stopped || state.errands.len() >= ERRANDS_MAX {
            return Err(Unanswered);
        }
        state.errands.push_back(errand);
        drop(state);
        self.waker.wake();
        Ok(())
    }

    /// The last order: nothing is taken after it.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.waker.wake();
    }

    /// Wakes the worker once; it owes an answer until its loop has come round to its mail.
    pub fn ask_for_life(&self) {
        self.owes.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    pub fn owes_life(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    pub fn take(&self) -> Mail {
        self.waker.clear();
        self.owes.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        Mail {
            accepted: std::mem::take(&mut state.accepted),
            errands: std::mem::take(&mut state.errands),
            settings: state.settings.take(),
            changes: std::mem::take(&mut state.changes),
            orders: std::mem::take(&mut state.orders),
            draining: state.draining,
            stopped: state.stopped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

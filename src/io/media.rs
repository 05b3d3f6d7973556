//! The face of the media plane: bind everything, start the workers, hand them connections and orders.

use crate::accepted::Accepted;
use crate::addr::FiveTuple;
use crate::io::inbox::Inbox;
use crate::io::listener::{self, Listener};
use crate::io::metrics::{Metrics, WorkerStats};
use crate::io::ports::{PortPool, Reservations};
use crate::io::relay::RelayShared;
use crate::io::worker::{self, Worker};
use crate::io::{BindError, Settings};
use crate::sys::epoll::Waker;
use crate::sys::inherit::Inherited;
use crate::sys::rng::SystemRng;
use crate::turn;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Bound, not yet running.
pub struct Media {
    seeds: Vec<worker::Seed>,
    udp_addresses: Vec<SocketAddr>,
    shared: Arc<HandleShared>,
}

/// Controls the running media plane; all clones mean the same one.
#[derive(Clone)]
pub struct MediaHandle {
    shared: Arc<HandleShared>,
}

struct HandleShared {
    workers: Vec<WorkerFace>,
    stats: Arc<[Arc<WorkerStats>]>,
    placement: Arc<Placement>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct WorkerFace {
    inbox: Arc<Inbox>,
    stats: Arc<WorkerStats>,
}

impl Media {
    /// Binds every UDP listener for every worker.
    pub fn bind(
        settings: &Settings,
        turn: Arc<turn::Settings>,
        shared: Arc<turn::Shared>,
    ) -> Result<Self, BindError> {
        Self::bind_beside(settings, turn, shared, &mut Inherited::default())
    }

    /// Uses the sockets that are there already, and binds the rest.
    pub fn bind_beside(
        settings: &Settings,
        turn: Arc<turn::Settings>,
        shared: Arc<turn::Shared>,
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let workers = settings.workers.max(1);
        let buffer_bytes = settings.listener_buffer_bytes;
        let listeners = listener::bind(&settings.udp, workers, buffer_bytes, inherited)?;
        let addr = |listener: &Listener| listener.socket.addr();
        let udp_addresses = listeners.iter().take(1).flatten().map(addr).collect();
        let relays = Arc::new(RelayShared {
            ports: PortPool::new(
                settings.relay_ports,
                settings.relay_sockets_max,
                Box::new(SystemRng),
            ),
            reservations: Reservations::default(),
            buffer_bytes: settings.relay_buffer_bytes,
        });
        let placement = Arc::new(Placement::default());
        let mut seeds = Vec::with_capacity(workers);
        let mut faces = Vec::with_capacity(workers);
        for (index, listeners) in listeners.into_iter().enumerate() {
            let failed = |source| BindError::Worker {
                worker: index,
                source,
            };
            let inbox = Arc::new(Inbox::new(Waker::new().map_err(failed)?));
            let stats = Arc::new(WorkerStats::default());
            faces.push(WorkerFace {
                inbox: Arc::clone(&inbox),
                stats: Arc::clone(&stats),
            });
            seeds.push(worker::Seed {
                listeners,
                inbox,
                stats,
                relays: Arc::clone(&relays),
                turn: Arc::clone(&turn),
                turn_shared: Arc::clone(&shared),
                placement: Arc::clone(&placement),
                stream_queue_bytes_max: settings.stream_queue_bytes_max,
                stream_idle_s: settings.stream_idle_s,
                epoll: worker::new_epoll().map_err(failed)?,
            });
        }
        let stats = faces.iter().map(|face| Arc::clone(&face.stats)).collect();
        let shared = HandleShared {
            workers: faces,
            stats,
            placement,
            threads: Mutex::default(),
        };
        Ok(Self {
            seeds,
            udp_addresses,
            shared: Arc::new(shared),
        })
    }

    /// The UDP listeners with their real ports, in the order of the settings.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.udp_addresses.clone()
    }

    /// Starts one thread for each worker.
    pub fn start(self) -> MediaHandle {
        let handle = MediaHandle {
            shared: self.shared,
        };
        for (index, seed) in self.seeds.into_iter().enumerate() {
            let name = format!("media-{index}");
            let run = move || match Worker::new(seed) {
                Ok(worker) => worker.run(),
                Err(error) => tracing::error!(%error, "a media worker could not start"),
            };
            match std::thread::Builder::new().name(name).spawn(run) {
                Ok(thread) => handle.threads().push(thread),
                Err(error) => tracing::error!(%error, "no thread for a media worker"),
            }
        }
        handle
    }
}

impl MediaHandle {
    /// Gives a connection to the worker with the fewest; back when that worker's inbox is full or stopped.
    ///
    /// A 5-tuple that some worker still has goes to that worker, which ends the older connection first.
    pub fn take_over(&self, stream: Accepted) -> Result<(), Accepted> {
        let fewest = || {
            let streams = |face: &WorkerFace| face.stats.streams.load(Ordering::Relaxed);
            let workers = self.shared.workers.iter().enumerate();
            workers
                .min_by_key(|(_, face)| streams(face))
                .map_or(0, |(index, _)| index)
        };
        let five_tuple = stream.five_tuple;
        let index = self.shared.placement.enter(five_tuple, fewest);
        let worker = &self.shared.workers[index];
        worker.stats.streams.fetch_add(1, Ordering::Relaxed);
        worker.inbox.put(stream).inspect_err(|_| {
            self.shared.placement.leave(&five_tuple);
            worker.stats.streams.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// For what comes from here on; live allocations keep the key that they were made with.
    pub fn set_settings(&self, settings: Arc<turn::Settings>) {
        for worker in &self.shared.workers {
            worker.inbox.set_settings(Arc::clone(&settings));
        }
    }

    /// Refuses new allocations from here on; everything else goes on.
    pub fn drain(&self) {
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.inbox.drain());
    }

    /// Ends every allocation and connection; the threads end.
    pub fn stop(&self) {
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.inbox.stop());
    }

    /// Waits for the threads to end, after `stop`.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a media worker has panicked");
            }
        }
    }

    /// Whether every worker has heard of `drain`: only then does `allocation_count` hold all that there will be.
    pub fn is_draining(&self) -> bool {
        let draining = |stats: &Arc<WorkerStats>| stats.draining.load(Ordering::Acquire);
        self.shared.stats.iter().all(draining)
    }

    /// Live allocations of all workers.
    pub fn allocation_count(&self) -> usize {
        self.sum(|stats| &stats.allocations)
    }

    /// Live connections of all workers, and those that wait to be taken over.
    pub fn stream_count(&self) -> usize {
        self.sum(|stats| &stats.streams)
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::new(Arc::clone(&self.shared.stats))
    }

    fn sum(&self, of: fn(&WorkerStats) -> &AtomicUsize) -> usize {
        let all = self
            .shared
            .stats
            .iter()
            .map(|stats| of(stats).load(Ordering::Relaxed));
        all.sum()
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.shared
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which worker has which connection: a 5-tuple stays with one worker while any connection has it.
#[derive(Default)]
pub struct Placement {
    workers: Mutex<HashMap<FiveTuple, Place>>,
}

struct Place {
    worker: usize,
    /// Connections with this 5-tuple, the one being replaced included.
    connections: u32,
}

impl Placement {
    fn enter(&self, five_tuple: FiveTuple, choose: impl FnOnce() -> usize) -> usize {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = workers.entry(five_tuple).or_insert_with(|| Place {
            worker: choose(),
            connections: 0,
        });
        place.connections += 1;
        place.worker
    }

    /// One connection with this 5-tuple has ended.
    pub fn leave(&self, five_tuple: &FiveTuple) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut place) = workers.entry(*five_tuple) else {
            return;
        };
        place.get_mut().connections -= 1;
        if place.get().connections == 0 {
            place.remove();
        }
    }
}

//! The face of the media plane: bind everything, start the workers, hand them connections and orders.

use crate::accepted::Accepted;
use crate::addr::FiveTuple;
use crate::io::census::{self, Errand, Filter, Listed, Query, Unanswered};
use crate::io::coturn::CoturnMetrics;
use crate::io::crossing::Crossings;
use crate::io::groups::{Groups, Orders, Plan};
use crate::io::handover::{self, Give, OfferedSocket};
use crate::io::inbox::{Inbox, Order};
use crate::io::listener;
use crate::io::listeners::{Change, GroupId, StreamSettings};
use crate::io::local::LocalRelays;
use crate::io::metrics::{Metrics, WorkerNumbers, WorkerStats};
use crate::io::ports::{Held, PortPool, PortUse, Reservations};
use crate::io::relay::RelayShared;
use crate::io::worker::{self, Worker};
use crate::io::{BindError, Settings};
use crate::sys::clock;
use crate::sys::epoll::Waker;
use crate::sys::inherit::Inherited;
use crate::sys::lane::Lane;
use crate::sys::rng::SystemRng;
use crate::sys::socket::UdpSocket;
use crate::turn::{self, ReservationToken};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

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
    relays: Arc<RelayShared>,
    workers: Vec<WorkerFace>,
    stats: Arc<[Arc<WorkerStats>]>,
    placement: Arc<Placement>,
    /// In force, for metrics.
    realm: Arc<ArcSwap<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    groups: Mutex<Groups>,
}

/// A port that is kept for a client who has its token (EVEN-PORT).
pub struct OfferedReservation {
    pub token: [u8; 8],
    pub socket: OwnedFd,
    pub address: SocketAddr,
    pub left: Duration,
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
        let wanted: Vec<_> = (0..)
            .zip(&settings.udp)
            .map(|(place, address)| listener::Wanted {
                address: *address,
                group: GroupId(place),
                beside_own: false,
            })
            .collect();
        let buffer_bytes = settings.listener_buffer_bytes;
        let (listeners, udp_addresses) = listener::bind(&wanted, workers, buffer_bytes, inherited)?;
        let relays = Arc::new(RelayShared {
            ports: PortPool::new(
                settings.relay_ports,
                settings.relay_sockets_max,
                Box::new(SystemRng),
            ),
            reservations: Reservations::default(),
            local: LocalRelays::default(),
            buffer_bytes: settings.relay_buffer_bytes,
        });
        let placement = Arc::new(Placement::default());
        let crossings = Arc::new(Crossings::new(workers));
        let mut inboxes = Vec::with_capacity(workers);
        for worker in 0..workers {
            let waker = Waker::new().map_err(|source| BindError::Worker { worker, source })?;
            inboxes.push(Arc::new(Inbox::new(waker)));
        }
        let inboxes: Arc<[Arc<Inbox>]> = inboxes.into();
        let mut seeds = Vec::with_capacity(workers);
        let mut faces = Vec::with_capacity(workers);
        for (index, listeners) in listeners.into_iter().enumerate() {
            let failed = |source| BindError::Worker {
                worker: index,
                source,
            };
            let inbox = Arc::clone(&inboxes[index]);
            let stats = Arc::new(WorkerStats::default());
            faces.push(WorkerFace {
                inbox: Arc::clone(&inbox),
                stats: Arc::clone(&stats),
            });
            let (epoll, timer) = worker::new_epoll().map_err(failed)?;
            seeds.push(worker::Seed {
                index,
                listeners,
                lanes: Vec::new(),
                inboxes: Arc::clone(&inboxes),
                crossings: Arc::clone(&crossings),
                stats,
                relays: Arc::clone(&relays),
                turn: Arc::clone(&turn),
                turn_shared: Arc::clone(&shared),
                placement: Arc::clone(&placement),
                stream_queue_bytes_max: settings.stream_queue_bytes_max,
                stream_idle_s: settings.stream_idle_s,
                epoll,
                timer,
            });
        }
        let stats = faces.iter().map(|face| Arc::clone(&face.stats)).collect();
        let shared = HandleShared {
            relays,
            groups: Mutex::new(Groups::new(&settings.udp, &udp_addresses, inboxes.to_vec())),
            workers: faces,
            stats,
            placement,
            realm: Arc::new(ArcSwap::from_pointee(turn.realm.clone())),
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

    /// Joins the workers to those of a process that had as many as `former`; returns the other ends of the lanes.
    pub fn join_former(&mut self, former: usize) -> Result<Vec<OwnedFd>, BindError> {
        let (own, others) = handover::lanes(self.seeds.len(), former.max(1))?;
        for (seed, lanes) in self.seeds.iter_mut().zip(own) {
            seed.lanes = lanes;
        }
        Ok(others.into_iter().map(Lane::into_fd).collect())
    }

    /// The listeners that were taken over, as (worker, place) in the former process.
    pub fn taken_over(&self) -> Vec<(usize, usize)> {
        let listeners = self.seeds.iter().flat_map(|seed| &seed.listeners);
        let former = listeners.filter_map(|listener| listener.former);
        former.map(|former| (former.worker, former.index)).collect()
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
        self.shared.realm.store(Arc::new(settings.realm.clone()));
        for worker in &self.shared.workers {
            worker.inbox.set_settings(Arc::clone(&settings));
        }
    }

    /// The UDP listeners with their real ports, in the order of the settings.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.groups().addresses()
    }

    /// Every UDP address that is open, also those that only live calls keep so.
    pub fn open_udp_addresses(&self) -> Vec<SocketAddr> {
        self.groups().open_addresses()
    }

    /// Binds the UDP listeners that are in `settings` and not open; nothing changes until [`change`](Self::change).
    pub fn plan(&self, settings: &Settings) -> Result<Plan, BindError> {
        self.groups().plan(settings)
    }

    /// Takes the listeners of a plan for its own; the workers hear of it by [`change`](Self::change), which must follow.
    pub fn adopt(&self, plan: Plan) -> Vec<Orders> {
        self.groups().commit(plan)
    }

    /// Puts listeners and settings in force: `turn` where it has changed, and of `settings` what concerns connections.
    /// `applied` makes what each worker drops once it acts by them.
    pub fn change(
        &self,
        orders: Vec<Orders>,
        turn: Option<&Arc<turn::Settings>>,
        settings: &Settings,
        applied: impl Fn() -> Box<dyn Send>,
    ) {
        let streams = StreamSettings {
            queue_bytes_max: settings.stream_queue_bytes_max,
            idle: Duration::from_secs(settings.stream_idle_s),
        };
        if let Some(turn) = turn {
            self.shared.realm.store(Arc::new(turn.realm.clone()));
        }
        for (worker, orders) in self.shared.workers.iter().zip(orders) {
            let Orders { add, leave, revive } = orders;
            let change = Change {
                add,
                leave,
                revive,
                streams,
                applied: applied(),
            };
            worker.inbox.change(turn.cloned(), change);
        }
    }

    /// Refuses new allocations from here on; everything else goes on.
    pub fn drain(&self) {
        self.set_draining(true);
    }

    /// Takes a `drain` back.
    pub fn accept(&self) {
        self.set_draining(false);
    }

    fn set_draining(&self, draining: bool) {
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.inbox.set_draining(draining));
    }

    /// Asks every worker which allocations it has; they answer between their packets.
    pub async fn list(&self, query: Query) -> Result<Listed, Unanswered> {
        let limit = query.limit;
        let query = Arc::new(query);
        let parts = self.ask(|| Errand::list(Arc::clone(&query))).await?;
        Ok(census::merge(parts, limit))
    }

    /// Ends the allocations that fit; tells how many there were.
    pub async fn end_allocations(&self, filter: Filter) -> Result<usize, Unanswered> {
        let filter = Arc::new(filter);
        let ended = self.ask(|| Errand::end(Arc::clone(&filter))).await?;
        Ok(ended.into_iter().sum())
    }

    /// Gives an errand to every worker, then waits for all of them.
    async fn ask<T>(
        &self,
        errand: impl Fn() -> (Errand, oneshot::Receiver<T>),
    ) -> Result<Vec<T>, Unanswered> {
        let mut waiting = Vec::with_capacity(self.shared.workers.len());
        for worker in &self.shared.workers {
            let (errand, answered) = errand();
            worker.inbox.ask(errand)?;
            waiting.push(answered);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answered in waiting {
            answers.push(answered.await.map_err(|_| Unanswered)?);
        }
        Ok(answers)
    }

    /// Asks every worker for a sign of life, which wakes it once.
    pub fn ask_for_life(&self) {
        let workers = self.shared.workers.iter();
        workers.for_each(|worker| worker.inbox.ask_for_life());
    }

    /// Workers that have not come round to their mail since they were asked, by index: stuck, or ended by themselves.
    pub fn silent_workers(&self) -> impl Iterator<Item = usize> {
        let workers = self.shared.workers.iter().enumerate();
        workers.filter_map(|(index, worker)| worker.inbox.owes_life().then_some(index))
    }

    /// Ends every allocation and connection; the threads end.
    pub fn stop(&self) {
        self.shared
            .workers
            .iter()
            .for_each(|worker| worker.inbox.stop());
    }

    /// The UDP listeners of all workers, for another process to read. Each worker has until `patience` is over.
    pub fn offer(&self, patience: Duration) -> io::Result<Vec<OfferedSocket>> {
        let mut all = Vec::new();
        for worker in &self.shared.workers {
            let (sender, offered) = channel();
            worker.inbox.order(Order::Offer(sender));
            all.extend(offered.recv_timeout(patience).map_err(io::Error::other)??);
        }
        Ok(all)
    }

    /// Gives listeners away, as (worker, place). The result hears once from each worker that reads its own no more.
    ///
    /// `lanes` are those that [`Media::join_former`] of the other process has returned.
    pub fn give(
        &self,
        lanes: Vec<OwnedFd>,
        listeners: &[(usize, usize)],
    ) -> io::Result<Receiver<()>> {
        let workers = &self.shared.workers;
        if lanes.len() < workers.len() {
            return Err(io::Error::other("fewer lanes than workers"));
        }
        let mut ends: Vec<Vec<Lane>> = workers.iter().map(|_| Vec::new()).collect();
        for (index, lane) in lanes.into_iter().enumerate() {
            ends[index % workers.len()].push(Lane::received(lane)?);
        }
        let (done, all_done) = channel();
        for (index, (worker, lanes)) in workers.iter().zip(ends).enumerate() {
            let own = listeners.iter().filter(|(worker, _)| *worker == index);
            worker.inbox.order(Order::Give(Give {
                lanes,
                listeners: own.map(|(_, place)| *place).collect(),
                done: done.clone(),
            }));
        }
        Ok(all_done)
    }

    pub fn worker_count(&self) -> usize {
        self.shared.workers.len()
    }

    /// Takes out every reserved port that nobody has claimed, for another process.
    pub fn take_reservations(&self) -> io::Result<Vec<OfferedReservation>> {
        let kept = self
            .shared
            .relays
            .reservations
            .take_all(clock::now().instant());
        let offer = |(token, held, left): (ReservationToken, Held<UdpSocket>, Duration)| {
            Ok(OfferedReservation {
                token: token.0,
                socket: held.socket.as_fd().try_clone_to_owned()?,
                address: held.lease.addr(),
                left,
            })
        };
        kept.into_iter().map(offer).collect()
    }

    /// Keeps reserved ports of another process; how many could be kept.
    pub fn adopt_reservations(&self, offered: Vec<OfferedReservation>) -> usize {
        let relays = &self.shared.relays;
        let mut adopted = 0;
        for offered in offered {
            let socket = UdpSocket::adopt_relay(offered.socket.into(), offered.address);
            let (Ok(socket), Some(lease)) = (socket, relays.ports.exactly(offered.address)) else {
                continue;
            };
            let expires_at = clock::now().instant() + offered.left;
            let token = ReservationToken(offered.token);
            relays
                .reservations
                .keep(token, Held { socket, lease }, expires_at);
            adopted += 1;
        }
        if let Some(worker) = self.shared.workers.first().filter(|_| adopted > 0) {
            worker.inbox.order(Order::WatchReservations);
        }
        adopted
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

    /// What each worker has counted, in their order.
    pub fn worker_numbers(&self) -> Vec<WorkerNumbers> {
        let stats = self.shared.stats.iter();
        stats.map(|stats| stats.numbers()).collect()
    }

    /// The ports of each address that a relay has been bound to since the start.
    pub fn relay_ports(&self) -> Vec<PortUse> {
        self.shared.relays.ports.used()
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::new(Arc::clone(&self.shared.stats))
    }

    /// The same numbers under coturn's names.
    pub fn coturn_metrics(&self) -> CoturnMetrics {
        CoturnMetrics::new(
            Arc::clone(&self.shared.stats),
            Arc::clone(&self.shared.realm),
        )
    }

    fn sum(&self, of: fn(&WorkerStats) -> &AtomicUsize) -> usize {
        let all = self
            .shared
            .stats
            .iter()
            .map(|stats| of(stats).load(Ordering::Relaxed));
        all.sum()
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.shared
            .groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

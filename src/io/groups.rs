//! Which UDP listeners the settings want, beside those that are open: planned first, put in force afterwards.
//!
//! Invariant: a plan that is dropped leaves every listener as it was.

use crate::addr::Family;
use crate::io::inbox::Inbox;
use crate::io::listener::{self, Listener};
use crate::io::listeners::{GroupId, Leave};
use crate::io::{BindError, Settings};
use crate::sys::inherit::Inherited;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a plan waits for sockets that are about to be closed.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// Every group that is open, as the settings or calls keep it.
pub struct Groups {
    all: Vec<Group>,
    next: u32,
    inboxes: Vec<Arc<Inbox>>,
}

struct Group {
    id: GroupId,
    /// As the settings had it: the port may be 0.
    asked: SocketAddr,
    bound: SocketAddr,
    state: State,
}

#[derive(Clone)]
enum State {
    /// In the settings; its place there.
    Wanted(usize),
    /// Not in the settings, but a part of one that is: `127.0.0.1:3478` beside `0.0.0.0:3478`. The kernel prefers it for its
    /// address, so that closing it would move live calls between the workers. It serves on.
    Covered,
    Leaving(Arc<Leave>),
}

/// What is to become of the groups. Everything that can fail has been done.
pub struct Plan {
    states: Vec<(GroupId, State)>,
    new: Vec<Group>,
    /// For each worker.
    sockets: Vec<Vec<Listener>>,
    leave: Vec<(GroupId, Arc<Leave>)>,
    revive: Vec<(GroupId, Arc<Leave>)>,
}

/// The orders that follow from a plan, for one worker.
pub struct Orders {
    pub add: Vec<Listener>,
    pub leave: Vec<(GroupId, Arc<Leave>)>,
    pub revive: Vec<GroupId>,
}

impl Groups {
    /// The listeners that the workers start with, in the order of the settings.
    pub fn new(asked: &[SocketAddr], bound: &[SocketAddr], inboxes: Vec<Arc<Inbox>>) -> Self {
        let pairs = asked.iter().zip(bound).enumerate();
        let all: Vec<Group> = pairs
            .map(|(place, (asked, bound))| Group {
                id: GroupId(place as u32),
                asked: *asked,
                bound: *bound,
                state: State::Wanted(place),
            })
            .collect();
        Self {
            next: all.len() as u32,
            all,
            inboxes,
        }
    }

    /// The addresses in the settings as they are bound, in the order of the settings.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut wanted: Vec<(usize, SocketAddr)> = self
            .all
            .iter()
            .filter_map(|group| match group.state {
                State::Wanted(place) => Some((place, group.bound)),
                State::Covered | State::Leaving(_) => None,
            })
            .collect();
        wanted.sort_by_key(|(place, _)| *place);
        wanted.into_iter().map(|(_, bound)| bound).collect()
    }

    /// Of all groups, in no order.
    pub fn open_addresses(&self) -> Vec<SocketAddr> {
        let open = self.all.iter().filter(|group| match &group.state {
            State::Leaving(leave) => !leave.is_over(),
            State::Wanted(_) | State::Covered => true,
        });
        open.map(|group| group.bound).collect()
    }

    /// Finds or binds a group for every address of the settings.
    pub fn plan(&mut self, settings: &Settings) -> Result<Plan, BindError> {
        self.forget_closed(&settings.udp)?;
        let mut plan = Plan {
            states: Vec::new(),
            new: Vec::new(),
            sockets: self.inboxes.iter().map(|_| Vec::new()).collect(),
            leave: Vec::new(),
            revive: Vec::new(),
        };
        let mut missing = Vec::new();
        for (place, address) in settings.udp.iter().enumerate() {
            match self.find(*address, &plan) {
                Some(group) => {
                    if let State::Leaving(leave) = &group.state {
                        plan.revive.push((group.id, Arc::clone(leave)));
                    }
                    plan.states.push((group.id, State::Wanted(place)));
                }
                None => missing.push((place, *address)),
            }
        }
        self.bind(&missing, settings, &mut plan)?;
        self.dismiss(settings, &mut plan);
        Ok(plan)
    }

    /// Puts a plan in force; returns the orders for each worker.
    pub fn commit(&mut self, mut plan: Plan) -> Vec<Orders> {
        for (id, state) in std::mem::take(&mut plan.states) {
            if let Some(group) = self.all.iter_mut().find(|group| group.id == id) {
                group.state = state;
            }
        }
        self.next += plan.new.len() as u32;
        self.all.append(&mut plan.new);
        let revive: Vec<GroupId> = plan.revive.drain(..).map(|(id, _)| id).collect();
        let sockets = std::mem::take(&mut plan.sockets);
        let orders = sockets.into_iter().map(|add| Orders {
            add,
            leave: plan.leave.clone(),
            revive: revive.clone(),
        });
        orders.collect()
    }

    /// A group that closes can be used no more: one that is wanted again is waited for, so that it can be bound.
    fn forget_closed(&mut self, wanted: &[SocketAddr]) -> Result<(), BindError> {
        for group in &self.all {
            let State::Leaving(leave) = &group.state else {
                continue;
            };
            let in_the_way = wanted.iter().any(|address| overlap(*address, group.bound));
            if leave.is_over() && in_the_way && !leave.wait_closed(CLOSING_MAX) {
                return Err(BindError::Closing { addr: group.bound });
            }
        }
        self.all.retain(|group| match &group.state {
            State::Leaving(leave) => !leave.is_over(),
            State::Wanted(_) | State::Covered => true,
        });
        Ok(())
    }

    /// An open group for an address, that the plan has not given away yet. One that leaves is kept.
    fn find(&self, address: SocketAddr, plan: &Plan) -> Option<&Group> {
        let is_free = |group: &&Group| plan.states.iter().all(|(id, _)| *id != group.id);
        let fits = |group: &&Group| group.asked == address || group.bound == address;
        let mut fitting: Vec<&Group> = self.all.iter().filter(is_free).filter(fits).collect();
        fitting.sort_by_key(|group| matches!(group.state, State::Leaving(_)));
        fitting.into_iter().find(|group| match &group.state {
            State::Wanted(_) | State::Covered => true,
            State::Leaving(leave) => leave.keep(),
        })
    }

    fn bind(
        &self,
        missing: &[(usize, SocketAddr)],
        settings: &Settings,
        plan: &mut Plan,
    ) -> Result<(), BindError> {
        let own: Vec<SocketAddr> = self.all.iter().map(|group| group.bound).collect();
        let (mut addresses, mut next) = (Vec::new(), self.next);
        for (_, address) in missing {
            let beside_own = own.iter().any(|other| overlap(*address, *other));
            addresses.push(listener::Wanted {
                address: *address,
                group: GroupId(next),
                beside_own,
            });
            next += 1;
        }
        let workers = self.inboxes.len();
        let buffer_bytes = settings.listener_buffer_bytes;
        let nothing = &mut Inherited::default();
        let (sockets, bound) = listener::bind(&addresses, workers, buffer_bytes, nothing)?;
        plan.sockets = sockets;
        let new = missing.iter().zip(&addresses).zip(bound);
        let new = new.map(|(((place, asked), wanted), bound)| Group {
            id: wanted.group,
            asked: *asked,
            bound,
            state: State::Wanted(*place),
        });
        plan.new = new.collect();
        Ok(())
    }

    /// What the settings have no more: covered by another listener, or leaving.
    fn dismiss(&self, settings: &Settings, plan: &mut Plan) {
        for group in &self.all {
            if plan.states.iter().any(|(id, _)| *id == group.id) {
                continue;
            }
            let covers = |address: &SocketAddr| overlap(*address, group.bound);
            let is_covered = !group.bound.ip().is_unspecified() && settings.udp.iter().any(covers);
            match (&group.state, is_covered) {
                (State::Wanted(_), true) => plan.states.push((group.id, State::Covered)),
                (State::Wanted(_) | State::Covered, false) => {
                    let leave = Leave::new(self.inboxes.clone());
                    plan.leave.push((group.id, Arc::clone(&leave)));
                    plan.states.push((group.id, State::Leaving(leave)));
                }
                (State::Covered, true) | (State::Leaving(_), _) => {}
            }
        }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // Empty after a commit.
        self.revive.iter().for_each(|(_, leave)| leave.let_go());
    }
}

/// True where both would be asked for some packet: the same address, or a wildcard and a part of it.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = Family::of(a.ip()) == Family::of(b.ip());
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_family && same_ip
}

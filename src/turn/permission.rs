//! CreatePermission (RFC 8656 §10): all of its peers or none.

use crate::addr::PeerAddr;
use crate::stun::Reply;
use crate::turn::Server;
use crate::turn::auth::Caller;
use crate::turn::counters::Answer;
use crate::turn::policy::Standing;
use crate::turn::requests::{Refusal, Request};
use std::net::{IpAddr, SocketAddr};

impl Server {
    pub(super) fn create_permission(
        &mut self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        let slot = self.own_slot(request, caller)?;
        let peers: Vec<_> = request.message.peers().collect::<Result<_, _>>()?;
        if peers.is_empty() {
            return Err(Answer::BadRequest.into());
        }
        let peers: Vec<_> = peers.into_iter().map(|peer| self.internal(peer)).collect();
        self.check_families(slot, request, &peers)?;
        let ips: Vec<_> = peers.iter().map(|peer| peer.ip()).collect();
        let judged: Vec<_> = ips.iter().map(|ip| (*ip, self.policy.judge(*ip))).collect();
        if !judged
            .iter()
            .all(|(_, standing)| standing.permits_some_port())
        {
            return Err(Answer::Forbidden.into());
        }
        self.install_permissions(slot, request.now_ns, &judged)?;
        self.update_paths(slot, request.now_ns);
        Ok(Reply::success(&request.message))
    }

    pub(super) fn internal(&self, peer: SocketAddr) -> PeerAddr {
        self.policy.internal(PeerAddr::new(peer))
    }

    /// 443 for a peer that the allocation has no relayed address of the same family for.
    pub(super) fn check_families(
        &self,
        slot: u32,
        request: &Request,
        peers: &[PeerAddr],
    ) -> Result<(), Refusal> {
        let allocation = self.table.get(slot).ok_or(Answer::AllocationMismatch)?;
        let has_relay = |peer: &PeerAddr| allocation.relay(peer.family(), request.now_ns).is_some();
        if peers.iter().all(has_relay) {
            Ok(())
        } else {
            Err(Answer::FamilyMismatch.into())
        }
    }

    /// Makes or renews all of them; 508 where they are too many.
    pub(super) fn install_permissions(
        &mut self,
        slot: u32,
        now_ns: u64,
        judged: &[(IpAddr, Standing)],
    ) -> Result<(), Refusal> {
        let allocation = self.table.get_mut(slot).ok_or(Answer::AllocationMismatch)?;
        let ips: Vec<_> = judged.iter().map(|(ip, _)| *ip).collect();
        if !allocation.permissions.have_room_for(&ips, now_ns) {
            return Err(Answer::InsufficientCapacity.into());
        }
        let mut expires_ns = u64::MAX;
        for (ip, standing) in judged {
            expires_ns = allocation.permissions.install(*ip, *standing, now_ns);
        }
        self.attend_by(slot, expires_ns);
        Ok(())
    }
}

//! Connect and ConnectionBind (RFC 6062), for allocations that are never TCP: every one is refused.

use crate::stun::Reply;
use crate::turn::Server;
use crate::turn::auth::Caller;
use crate::turn::counters::Answer;
use crate::turn::requests::{Refusal, Request};

impl Server {
    /// 437 without an allocation, and in the end with one too: a UDP allocation does not suit (RFC 8656 §19).
    /// Before that, what RFC 6062 §5.2 checks.
    pub(super) fn connect(&mut self, request: &Request, caller: &Caller) -> Result<Reply, Refusal> {
        let slot = self.own_slot(request, caller)?;
        let peer = request.message.peers().next();
        let peer = self.internal(peer.ok_or(Answer::BadRequest)??);
        self.check_families(slot, request, &[peer])?;
        let standing = self.policy.judge(peer.ip());
        if !self.policy.permits(standing, peer) {
            return Err(Answer::Forbidden.into());
        }
        Err(Answer::AllocationMismatch.into())
    }

    /// 437 without an allocation; with one, 400: the connection controls it already, and no CONNECTION-ID is
    /// pending (RFC 6062 §5.4).
    pub(super) fn connection_bind(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match self.live_slot(&request.client.five_tuple, request.now_ns) {
            Some(_) => Err(Answer::BadRequest.into()),
            None => Err(Answer::AllocationMismatch.into()),
        }
    }
}

//! ChannelBind (RFC 8656 §12.2): binds a channel, and makes or renews the permission for its peer.

use crate::stun::Reply;
use crate::stun::channel_data::NUMBERS;
use crate::turn::Server;
use crate::turn::auth::Caller;
use crate::turn::channels::BindRefusal;
use crate::turn::counters::Answer;
use crate::turn::requests::{Refusal, Request};
use turn_types::attribute::ChannelNumber;

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        request: &Request,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        let slot = self.own_slot(request, caller)?;
        let number = request.message.get::<ChannelNumber>()?;
        let number = number.ok_or(Answer::BadRequest)?.channel();
        let peer = request.message.peers().next();
        let peer = self.internal(peer.ok_or(Answer::BadRequest)??);
        if !NUMBERS.contains(&number) {
            return Err(Answer::BadRequest.into());
        }
        self.check_families(slot, request, &[peer])?;
        let standing = self.policy.judge(peer.ip());
        if !self.policy.permits(standing, peer) {
            return Err(Answer::Forbidden.into());
        }
        let now_ns = request.now_ns;
        let allocation = self.table.get_mut(slot).ok_or(Answer::AllocationMismatch)?;
        allocation
            .channels
            .check(number, peer, now_ns)
            .map_err(|refusal| match refusal {
                BindRefusal::Conflict => Answer::BadRequest,
                BindRefusal::Full => Answer::InsufficientCapacity,
            })?;
        self.install_permissions(slot, now_ns, &[(peer.ip(), standing)])?;
        let allocation = self.table.get_mut(slot).ok_or(Answer::AllocationMismatch)?;
        let expires_ns = allocation.channels.bind(number, peer, now_ns);
        self.attend_by(slot, expires_ns);
        self.update_paths(slot, now_ns);
        Ok(Reply::success(&request.message))
    }
}

//! Binding (RFC 8489 §3): tells a client its server-reflexive address. Open to everybody.

use crate::stun::Reply;
use crate::turn::Server;
use crate::turn::requests::{Refusal, Request, check_attributes};
use stun_types::attribute::XorMappedAddress;

impl Server {
    pub(super) fn binding(&self, request: &Request) -> Result<Reply, Refusal> {
        check_attributes(&request.message)?;
        let mut reply = Reply::success(&request.message);
        let client = request.client.five_tuple.client.socket_addr();
        let mapped = XorMappedAddress::new(client, reply.transaction_id());
        reply.add(&mapped);
        Ok(reply)
    }
}

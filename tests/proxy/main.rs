//! The signalling proxy's contract, held against the real binary: a recording TLS origin behind it, exact bytes before it.

#[path = "../support/web/mod.rs"]
mod web;

mod azure;
mod bodies;
mod certificates;
mod cors;
mod framing;
mod headers;
mod http2;
mod limits;
mod recorded;
mod redirects;
mod routes;
mod service;
mod upstreams;
mod vendors;
mod websockets;

use web::certs::{Authority, Leaf};
use web::origin::{Origin, Seen, Then, Wire};
use web::relayd::Relayd;

/// Names that the origins' certificates are for.
const NAMES: [&str; 4] = [
    "*.example.com",
    "*.example.net",
    "*.skype.com",
    "*.communication.microsoft.com",
];

/// An upstream authority and a certificate of it for [`NAMES`].
struct World {
    ca: Authority,
    leaf: Leaf,
}

impl World {
    fn new() -> Self {
        let ca = Authority::new("upstream test root");
        let leaf = ca.leaf(&NAMES);
        Self { ca, leaf }
    }

    fn origin(&self, handler: impl Fn(&Seen, &mut Wire) -> Then + Send + Sync + 'static) -> Origin {
        Origin::start(&self.leaf, move |seen, wire, _| handler(seen, wire))
    }
}

/// An origin that answers everything with 200, and a proxy that reaches `hosts` there.
fn plain(hosts: &[&str]) -> (Origin, Relayd) {
    let world = World::new();
    let origin = Origin::plain(&world.leaf);
    let relayd = Relayd::before(&world.ca, origin.addr, hosts);
    (origin, relayd)
}

/// An origin that answers with `handler`, and a proxy that reaches `hosts` there.
fn serving(
    hosts: &[&str],
    handler: impl Fn(&Seen, &mut Wire) -> Then + Send + Sync + 'static,
) -> (Origin, Relayd) {
    let world = World::new();
    let origin = world.origin(handler);
    let relayd = Relayd::before(&world.ca, origin.addr, hosts);
    (origin, relayd)
}

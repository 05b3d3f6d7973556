//! `[tracing]` of the real binary: which spans it sends to a collector, what they say, and what becomes of them and of what
//! they are about when the collector is slow, away or of another opinion.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod calls;
mod collector;
mod parents;
mod requests;
mod settings;
mod trouble;

use collector::Collector;
use std::net::SocketAddr;
use web::certs::Authority;
use web::origin::{Origin, Seen, Then, Wire, ok};
use web::relayd::{Relayd, Setup, reach};

const HOST: &str = "api.example.com";
/// With what must never arrive at a collector.
const TARGET: &str = "/api.example.com/v2/calls?token=TOP-SECRET";

/// An upstream, relayd before it, and a collector beside it.
struct World {
    origin: Origin,
    collector: Collector,
    relayd: Relayd,
}

impl World {
    /// `lines` are more of `[tracing]`.
    fn new(lines: &str) -> Self {
        Self::answering(lines, |_, wire| ok(wire, "fine"))
    }

    fn answering(
        lines: &str,
        handler: impl Fn(&Seen, &mut Wire) -> Then + Send + Sync + 'static,
    ) -> Self {
        let ca = Authority::new("upstream test root");
        let leaf = ca.leaf(&["*.example.com"]);
        let origin = Origin::start(&leaf, move |seen, wire, _| handler(seen, wire));
        let collector = Collector::start();
        let relayd = start(&ca, origin.addr, &table(collector.addr, lines));
        Self {
            origin,
            collector,
            relayd,
        }
    }
}

fn table(collector: SocketAddr, lines: &str) -> String {
    format!("[tracing]\nendpoint = \"http://{collector}\"\n{lines}\n")
}

fn start(ca: &Authority, origin: SocketAddr, tables: &str) -> Relayd {
    Relayd::start(Setup {
        proxy: reach(&[HOST, "other.example.com"], origin),
        upstream_ca: Some(ca),
        tables: format!("[turn.peers]\nallow = [\"127.0.0.1\"]\n{tables}"),
        files: vec![
            ("key", "Bearer TOP-SECRET-KEY\n".to_owned()),
            ("collector-ca.pem", ca.pem.clone()),
        ],
        ..Setup::default()
    })
}

/// Spans of one result, as relayd counts them.
fn counted(relayd: &Relayd, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    relayd.metric("relayd_tracing_spans_total", &[&label])
}

/// Reloads with another file and waits for what comes of it.
fn reload(relayd: &Relayd, change: impl FnOnce(String) -> String, line: &str) {
    let before = relayd.log().matches(line).count();
    relayd.reload(change);
    let deadline = std::time::Instant::now() + web::PATIENCE;
    while relayd.log().matches(line).count() <= before {
        assert!(std::time::Instant::now() < deadline, "no {line}");
        // The question to the server is the wait.
        relayd.admin("/healthz");
    }
}

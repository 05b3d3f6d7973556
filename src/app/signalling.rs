//! The signalling threads: a `current_thread` runtime each, with listeners and an upstream pool of its own.

use crate::accepted::Accepted;
use crate::io::MediaHandle;
use crate::listen::{self, ConnectionInfo, Handler, HttpStream, ThreadListeners};
use crate::proxy::{self, Local, Proxy};
use crate::tls;
use anyhow::Context as _;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tracing::debug;

/// What every signalling thread needs.
#[derive(Clone)]
pub struct Shared {
    pub tls: Option<Arc<tls::Store>>,
    pub listen: Arc<listen::Shared>,
    pub proxy: Arc<Proxy>,
    pub media: MediaHandle,
    /// Turns true when the server stops accepting.
    pub draining: watch::Receiver<bool>,
    /// Turns true when what still runs is to end.
    pub ended: watch::Receiver<bool>,
}

/// Starts one thread; its runtime is made here, so that a failure is still a failure to start.
pub fn spawn(
    index: usize,
    listeners: ThreadListeners,
    shared: Shared,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make a signalling thread's runtime")?;
    thread::Builder::new()
        .name(format!("signal-{index}"))
        .spawn(move || LocalSet::new().block_on(&runtime, run(listeners, shared)))
        .context("cannot start a signalling thread")
}

async fn run(listeners: ThreadListeners, shared: Shared) {
    let mut ended = shared.ended.clone();
    let handler = Rc::new(Demuxed {
        local: Local::new(Arc::clone(&shared.proxy)),
        media: shared.media.clone(),
        draining: shared.draining.clone(),
    });
    listen::run(
        listeners,
        shared.tls,
        shared.listen,
        handler,
        shared.draining,
    )
    .await;
    // Requests and tunnels are tasks of this thread: it lives until they may be cut off.
    let _ = ended.wait_for(|ended| *ended).await;
}

struct Demuxed {
    local: Rc<Local>,
    media: MediaHandle,
    draining: watch::Receiver<bool>,
}

impl Handler for Demuxed {
    fn turn(&self, accepted: Accepted) {
        if let Err(refused) = self.media.take_over(accepted) {
            debug!(
                transport = refused.five_tuple.transport.label(),
                "no media worker takes the connection"
            );
        }
    }

    fn http(&self, stream: HttpStream, info: ConnectionInfo) {
        let ConnectionInfo {
            client,
            server,
            tls,
            h2,
            guard,
            ..
        } = info;
        let local = Rc::clone(&self.local);
        let draining = self.draining.clone();
        spawn_local(async move {
            let info = proxy::ConnectionInfo {
                client,
                server,
                tls,
                h2,
            };
            local.serve(stream, info, draining).await;
            drop(guard);
        });
    }
}

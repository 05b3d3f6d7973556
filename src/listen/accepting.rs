//! One thread's listeners: an accept loop for each, and how they come and go while the thread serves.

use super::bind::{Bound, ThreadListeners};
use super::{Handler, Shared, Tls, accept, demux};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Listeners that come and go in one step.
pub struct Change {
    pub open: ThreadListeners,
    /// No connection is accepted there any more; those that were are not touched.
    pub close: Vec<Bound>,
    /// Dropped once it is done.
    pub applied: Box<dyn Send>,
}

/// Accepts on one thread's listeners until `stop` turns true (or its sender is gone).
///
/// Runs inside a `LocalSet`. Connections that have not shown what they are by then are closed; those that were handed
/// over are no longer this function's.
pub async fn run<H: Handler + 'static>(
    listeners: ThreadListeners,
    mut changes: mpsc::Receiver<Change>,
    tls: Tls,
    shared: Arc<Shared>,
    handler: Rc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let context = Rc::new(demux::Context {
        tls,
        shared,
        handler,
    });
    let mut accepting = Accepting {
        context,
        stop: stop.clone(),
        loops: JoinSet::new(),
        open: Vec::new(),
    };
    accepting.open(listeners);
    loop {
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            Some(ended) = accepting.loops.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an accept loop failed");
                }
            }
            Some(change) = changes.recv() => accepting.apply(change),
        }
    }
    while accepting.loops.join_next().await.is_some() {}
}

struct Accepting<H> {
    context: Rc<demux::Context<H>>,
    stop: watch::Receiver<bool>,
    loops: JoinSet<()>,
    /// A listener is closed when its sender is dropped.
    open: Vec<(Bound, oneshot::Sender<()>)>,
}

impl<H: Handler + 'static> Accepting<H> {
    fn apply(&mut self, change: Change) {
        // Opened first: where the two overlap, there is no moment without a listener.
        let closed = |(bound, _): &(Bound, oneshot::Sender<()>)| change.close.contains(bound);
        let mut leaving: Vec<_> = self.open.extract_if(.., |open| closed(open)).collect();
        self.open(change.open);
        leaving.clear();
        drop(change.applied);
    }

    fn open(&mut self, listeners: ThreadListeners) {
        for (listener, bound) in listeners.into_tokio() {
            let (open, leave) = oneshot::channel();
            self.open.push((bound, open));
            self.loops.spawn_local(accept::run(
                listener,
                bound.asked.port,
                Rc::clone(&self.context),
                self.stop.clone(),
                leave,
            ));
        }
    }
}

//! The accept loop of one listener: take connections, refuse those past a limit, survive running out of files.

use super::bind::{BACKLOG, Port};
use super::demux::{self, Context};
use super::metrics::{AcceptFailure, Reason};
use super::{ConnectionGuard, Handler};
use crate::addr;
use socket2::SockRef;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Pause after an accept that failed for want of something, so that a full server does not spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts until `stop`, and owns every connection that has not shown what it is. Once `leave` is gone, the listener is closed
/// and those connections go on.
pub(super) async fn run<H: Handler + 'static>(
    listener: TcpListener,
    port: Port,
    context: Rc<Context<H>>,
    mut stop: watch::Receiver<bool>,
    mut leave: oneshot::Receiver<()>,
) {
    let listener = Arc::new(listener);
    context.shared.note_listening(&listener, port);
    let mut reserve = Reserve::new();
    let mut pending = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            _ = &mut leave => None,
            Some(ended) = pending.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => Some(accepted),
        };
        let Some(accepted) = accepted else {
            let listener = only(listener).await;
            finish(listener, port, &context, &mut pending, &mut stop).await;
            return end(&context, pending).await;
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = addr::plain(peer);
                if let Some((stream, guard)) = admit(&context, stream, peer) {
                    let context = Rc::clone(&context);
                    pending.spawn_local(demux::serve(context, stream, peer, port, guard));
                }
            }
            Err(error) => {
                let pause = failed(&context, &error, &listener, &mut reserve);
                if pause {
                    tokio::select! {
                        _ = stop.wait_for(|&stop| stop) => break,
                        () = tokio::time::sleep(BACK_OFF) => {}
                    }
                }
            }
        }
    }
    drop(listener);
    end(&context, pending).await;
}

/// The listener by itself: who else has it is copying its descriptor, which takes no time.
async fn only(mut listener: Arc<TcpListener>) -> TcpListener {
    loop {
        match Arc::try_unwrap(listener) {
            Ok(listener) => return listener,
            Err(shared) => listener = shared,
        }
        tokio::task::yield_now().await;
    }
}

/// Closes what has not shown what it is, or, where another process accepts, leaves it to its deadlines.
async fn end<H>(context: &Context<H>, mut pending: JoinSet<()>) {
    if context.shared.is_handed_over() {
        while pending.join_next().await.is_some() {}
        return;
    }
    let open = u64::try_from(pending.len()).unwrap_or(u64::MAX);
    context.shared.metrics.refused(Reason::Stopped, open);
    pending.shutdown().await;
}

/// Takes what is connected already, closes the listener, and waits for what has not shown what it is: its deadlines are near.
async fn finish<H: Handler + 'static>(
    listener: TcpListener,
    port: Port,
    context: &Rc<Context<H>>,
    pending: &mut JoinSet<()>,
    stop: &mut watch::Receiver<bool>,
) {
    // Asked of the kernel itself: the runtime may not have heard of the last ones yet.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..BACKLOG {
        let Ok((stream, peer)) = listener.accept() else {
            break;
        };
        let ready = stream.set_nonblocking(true);
        let Ok(stream) = ready.and_then(|()| TcpStream::from_std(stream)) else {
            continue;
        };
        let peer = addr::plain(peer);
        if let Some((stream, guard)) = admit(context, stream, peer) {
            let context = Rc::clone(context);
            pending.spawn_local(demux::serve(context, stream, peer, port, guard));
        }
    }
    drop(listener);
    let all = async { while pending.join_next().await.is_some() {} };
    tokio::select! {
        _ = stop.wait_for(|&stop| stop) => {}
        () = all => {}
    }
}

/// Counts the connection, or closes it at once. A proxy's connections count for its clients, once they are known.
fn admit<H>(
    context: &Context<H>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(TcpStream, ConnectionGuard)> {
    let shared = &context.shared;
    shared.metrics.accepted();
    let guard = shared.admit().and_then(|mut guard| {
        if !shared.is_proxy(peer.ip()) {
            guard.attribute(peer.ip())?;
        }
        Ok(guard)
    });
    match guard {
        Ok(guard) => Some((stream, guard)),
        Err(reason) => {
            shared.metrics.refused(reason, 1);
            tracing::debug!(%peer, reason = reason.label(), "connection refused");
            reset(&stream);
            None
        }
    }
}

/// Makes the close of `stream` a reset, which leaves nothing behind in the kernel.
pub(super) fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot reset a connection");
    }
}

/// Counts a failed accept; true where the next one should wait.
fn failed<H>(
    context: &Context<H>,
    error: &io::Error,
    listener: &TcpListener,
    reserve: &mut Reserve,
) -> bool {
    let cause = classify(error);
    context.shared.metrics.accept_failed(cause);
    match cause {
        // accept(2): Linux passes on errors of the connection that was to be accepted. Waiting would let one client
        // that resets its connections slow down all others.
        AcceptFailure::Aborted => {
            tracing::debug!(%error, "a connection was gone before it was accepted");
            false
        }
        AcceptFailure::FileLimit => {
            tracing::warn!(%error, "no file descriptor is left for a connection; raise the open-files limit");
            reserve.shed(listener);
            true
        }
        AcceptFailure::Other => {
            tracing::warn!(%error, "cannot accept connections");
            true
        }
    }
}

fn classify(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => AcceptFailure::FileLimit,
        Some(
            libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::ENETDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::EPERM,
        ) => AcceptFailure::Aborted,
        Some(_) | None => AcceptFailure::Other,
    }
}

/// One file descriptor kept back, so that a client is told when there is none left, instead of hanging in the backlog.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Gives the reserve up for one connection, closes that connection, and takes the reserve back.
    fn shed(&mut self, listener: &TcpListener) {
        drop(self.0.take());
        // One poll: Ready at once, or there is nothing to shed.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        if let Poll::Ready(Ok((stream, _))) = listener.poll_accept(&mut cx) {
            reset(&stream);
        }
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn exhausted_files_and_lost_connections_are_told_apart() {
        let cause = |code| classify(&io::Error::from_raw_os_error(code));
        assert_eq!(cause(libc::EMFILE), AcceptFailure::FileLimit);
        assert_eq!(cause(libc::ENFILE), AcceptFailure::FileLimit);
        assert_eq!(cause(libc::ECONNABORTED), AcceptFailure::Aborted);
        assert_eq!(cause(libc::ENOBUFS), AcceptFailure::Other);
    }

    #[tokio::test]
    async fn shedding_closes_the_waiting_client_and_keeps_the_reserve() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let _accepted = TcpStream::connect(address).await.expect("it listens");
        let mut waiting = TcpStream::connect(address).await.expect("it listens");
        // `accept` leaves the listener ready, as it does when it fails with EMFILE.
        listener.accept().await.expect("two are waiting");
        let mut reserve = Reserve::new();
        reserve.shed(&listener);
        assert!(reserve.0.is_some());
        let error = waiting.read_u8().await.expect_err("it was shed");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

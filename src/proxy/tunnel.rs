//! A WebSocket after its 101: raw bytes both ways, until both sides have ended or nothing has come for too long.
//!
//! An idle tunnel owns no copy buffer. Each read goes into one scratch buffer of the thread and from there straight into the
//! other side; only what that side does not take at once is kept, and then nothing more is read in that direction. So a
//! direction holds at most [`SCRATCH_BYTES`] plus what came early with the handshake.
//!
//! The end of one side is passed on as a half-close; the other direction goes on, for [`HALF_CLOSED_IDLE`] of silence at most.

use super::open_tunnels::{Carried, OpenTunnel};
use super::timer::Deadline;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// One TLS record's worth: a larger read would be cut into records again.
const SCRATCH_BYTES: usize = 16 << 10;

/// Silence after which a tunnel with one side closed ends.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// Reads of one direction before the other one gets its turn.
const READS_PER_TURN: u8 = 8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Why a tunnel ended; the log text and the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// Both sides have closed, the client first.
    Client,
    /// Both sides have closed, the upstream first.
    Upstream,
    ClientError,
    UpstreamError,
    Idle,
    /// The operator ended it, by the admin listener.
    Revoked,
    /// relayd itself stopped.
    Stopped,
}

impl End {
    pub(super) const ALL: [Self; 7] = [
        Self::Client,
        Self::Upstream,
        Self::ClientError,
        Self::UpstreamError,
        Self::Idle,
        Self::Revoked,
        Self::Stopped,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Client => "client closed",
            Self::Upstream => "upstream closed",
            Self::ClientError => "client connection failed",
            Self::UpstreamError => "upstream connection failed",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::Stopped => "stopped",
        }
    }
}

/// One side of a tunnel and what had been read from it before the tunnel began.
pub(super) struct Side<S> {
    pub(super) stream: S,
    pub(super) early: Vec<u8>,
}

/// Carries bytes between the two until it ends; drops both then.
pub(super) async fn run<C, U>(
    client: Side<C>,
    upstream: Side<U>,
    idle: Duration,
    open: &OpenTunnel,
) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let carried = &open.carried;
    let mut tunnel = Tunnel {
        client: client.stream,
        upstream: upstream.stream,
        to_upstream: Direction::new(client.early, &carried.to_upstream),
        to_client: Direction::new(upstream.early, &carried.to_client),
        open,
        carried,
        deadline: Deadline::after(idle),
        idle,
        first: None,
    };
    tokio::select! {
        biased;
        () = open.ended.notified() => End::Revoked,
        end = poll_fn(|cx| tunnel.poll(cx)) => end,
    }
}

struct Tunnel<'a, C, U> {
    client: C,
    upstream: U,
    to_upstream: Direction<'a>,
    to_client: Direction<'a>,
    open: &'a OpenTunnel,
    carried: &'a Carried,
    deadline: Deadline,
    idle: Duration,
    /// Which side closed first.
    first: Option<End>,
}

impl<C, U> Tunnel<'_, C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let before = self.carried.total();
        let up = self
            .to_upstream
            .poll(cx, &mut self.client, &mut self.upstream);
        let down = self
            .to_client
            .poll(cx, &mut self.upstream, &mut self.client);
        if let Poll::Ready(Err(failed)) = up {
            return Poll::Ready(failed.end(End::ClientError, End::UpstreamError));
        }
        if let Poll::Ready(Err(failed)) = down {
            return Poll::Ready(failed.end(End::UpstreamError, End::ClientError));
        }
        if self.first.is_none() {
            self.first = match (up.is_ready(), down.is_ready()) {
                (true, _) => Some(End::Client),
                (false, true) => Some(End::Upstream),
                (false, false) => None,
            };
            if self.first.is_some() {
                self.idle = self.idle.min(HALF_CLOSED_IDLE);
                self.deadline.set(self.idle);
            }
        }
        if let (Some(end), Poll::Ready(Ok(())), Poll::Ready(Ok(()))) = (self.first, up, down) {
            return Poll::Ready(end);
        }
        if self.carried.total() != before {
            let now = Instant::now();
            self.open.touch(now.into_std());
            self.deadline.set_from(now, self.idle);
        }
        ready!(self.deadline.poll(cx));
        Poll::Ready(self.first.unwrap_or(End::Idle))
    }
}

/// Which side of a direction failed.
#[derive(Clone, Copy, Debug)]
enum Failed {
    Reading,
    Writing,
}

impl Failed {
    fn end(self, from: End, to: End) -> End {
        match self {
            Self::Reading => from,
            Self::Writing => to,
        }
    }
}

struct Direction<'a> {
    /// What the receiving side did not take yet begins at `written`.
    pending: Vec<u8>,
    written: usize,
    /// Bytes handed to the receiving side.
    carried: &'a AtomicU64,
    flush: bool,
    source_ended: bool,
    done: bool,
}

impl<'a> Direction<'a> {
    fn new(early: Vec<u8>, carried: &'a AtomicU64) -> Self {
        Self {
            pending: early,
            written: 0,
            carried,
            flush: false,
            source_ended: false,
            done: false,
        }
    }

    fn count(&self, bytes: usize) {
        // Only this thread writes it: a load and a store do.
        let before = self.carried.load(Ordering::Relaxed);
        let after = before.wrapping_add(bytes as u64);
        self.carried.store(after, Ordering::Relaxed);
    }

    /// Moves what can be moved; ready when the source has ended and its end has been passed on.
    fn poll<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Poll<Result<(), Failed>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..READS_PER_TURN {
            ready!(self.poll_pending(cx, to))?;
            if self.source_ended {
                ready!(self.poll_flush(cx, to))?;
                // The peer may be gone already; there is nobody left to tell.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            if self.poll_move(cx, from, to)?.is_pending() {
                ready!(self.poll_flush(cx, to))?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was kept; ready when nothing is left.
    fn poll_pending<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<Result<(), Failed>> {
        while let Some(rest) = self
            .pending
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(taken @ 1..)) => {
                    self.written += taken;
                    self.count(taken);
                    self.flush = true;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failed::Writing)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.written > 0 {
            self.pending = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands over; pending when there is nothing to read.
    fn poll_move<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Result<Poll<()>, Failed>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(from).poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(Poll::Pending),
                // A browser that goes away does not always say close_notify first.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Poll::Ready(Err(_)) => return Err(Failed::Reading),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buf.filled();
            if bytes.is_empty() {
                self.source_ended = true;
                return Ok(Poll::Ready(()));
            }
            let taken = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(Ok(taken @ 1..)) => taken,
                Poll::Ready(Ok(0) | Err(_)) => return Err(Failed::Writing),
                Poll::Pending => 0,
            };
            self.count(taken);
            self.flush = true;
            if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                self.pending = rest.to_vec();
            }
            Ok(Poll::Ready(()))
        })
    }

    fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<Result<(), Failed>> {
        if self.flush {
            match ready!(Pin::new(to).poll_flush(cx)) {
                Ok(()) => self.flush = false,
                Err(_) => return Poll::Ready(Err(Failed::Writing)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::open_tunnels::OpenTunnels;
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(3600);
    const CLIENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    fn side(stream: DuplexStream, early: &[u8]) -> Side<DuplexStream> {
        Side {
            stream,
            early: early.to_vec(),
        }
    }

    /// How it ended, and what it carried to the upstream and to the client.
    fn spawn(
        client: Side<DuplexStream>,
        upstream: Side<DuplexStream>,
        idle: Duration,
    ) -> tokio::task::JoinHandle<(End, u64, u64)> {
        tokio::task::spawn_local(async move {
            let open = OpenTunnels::default().open(CLIENT, String::new(), String::new());
            let end = run(client, upstream, idle, &open).await;
            (end, open.bytes_to_upstream(), open.bytes_to_client())
        })
    }

    #[test]
    fn bytes_that_came_early_on_either_side_go_first() {
        block_on(async {
            let (mut client, inner_client) = duplex(64);
            let (mut upstream, inner_upstream) = duplex(64);
            let tunnel = spawn(
                side(inner_client, b"early from client,"),
                side(inner_upstream, b"early from upstream,"),
                LONG,
            );
            client.write_all(b"later").await.expect("written");
            upstream.write_all(b"later").await.expect("written");
            client.shutdown().await.expect("shut down");
            upstream.shutdown().await.expect("shut down");
            let (mut at_client, mut at_upstream) = (String::new(), String::new());
            client.read_to_string(&mut at_client).await.expect("read");
            upstream
                .read_to_string(&mut at_upstream)
                .await
                .expect("read");
            assert_eq!(at_client, "early from upstream,later");
            assert_eq!(at_upstream, "early from client,later");
            let (_, to_upstream, to_client) = tunnel.await.expect("joined");
            assert_eq!((to_upstream, to_client), (23, 25));
        });
    }

    #[test]
    fn a_half_close_is_passed_on_and_the_other_direction_goes_on() {
        block_on(async {
            let (mut client, inner_client) = duplex(64);
            let (mut upstream, inner_upstream) = duplex(64);
            let tunnel = spawn(side(inner_client, b""), side(inner_upstream, b""), LONG);
            client.shutdown().await.expect("shut down");
            assert_eq!(upstream.read(&mut [0; 8]).await.expect("the end"), 0);
            upstream.write_all(b"still here").await.expect("written");
            drop(upstream);
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("read");
            assert_eq!(text, "still here");
            assert_eq!(tunnel.await.expect("joined").0, End::Client);
        });
    }

    #[test]
    fn a_receiver_that_takes_little_at_a_time_gets_every_byte_in_order() {
        block_on(async {
            let (client, inner_client) = duplex(1 << 20);
            let (upstream, inner_upstream) = duplex(7);
            let tunnel = spawn(side(inner_client, b""), side(inner_upstream, b""), LONG);
            let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
            let (_client_read, mut client_write) = tokio::io::split(client);
            let (mut upstream_read, upstream_write) = tokio::io::split(upstream);
            let copy = sent.clone();
            let writer = tokio::task::spawn_local(async move {
                client_write.write_all(&copy).await.expect("written");
                client_write.shutdown().await.expect("shut down");
            });
            let mut got = Vec::new();
            upstream_read.read_to_end(&mut got).await.expect("read");
            writer.await.expect("joined");
            assert_eq!(got, sent);
            drop((upstream_read, upstream_write));
            assert_eq!(tunnel.await.expect("joined").1, 200_000);
        });
    }

    #[test]
    fn a_silent_tunnel_ends_as_idle() {
        block_on(async {
            let (_client, inner_client) = duplex(64);
            let (_upstream, inner_upstream) = duplex(64);
            let idle = Duration::from_millis(5);
            let tunnel = spawn(side(inner_client, b""), side(inner_upstream, b""), idle);
            assert_eq!(tunnel.await.expect("joined").0, End::Idle);
        });
    }

    #[test]
    fn a_tunnel_that_is_ended_from_outside_closes_both_sides_and_says_so() {
        block_on(async {
            let (mut client, inner_client) = duplex(64);
            let (mut upstream, inner_upstream) = duplex(64);
            let open = OpenTunnels::default().open(CLIENT, String::new(), String::new());
            let running = std::sync::Arc::clone(&open);
            let tunnel = tokio::task::spawn_local(async move {
                let (client, upstream) = (side(inner_client, b""), side(inner_upstream, b""));
                run(client, upstream, LONG, &running).await
            });
            client.write_all(b"12345").await.expect("written");
            upstream.read_exact(&mut [0; 5]).await.expect("carried");
            assert_eq!(open.bytes_to_upstream(), 5);
            open.end();
            assert_eq!(tunnel.await.expect("joined"), End::Revoked);
            assert_eq!(client.read(&mut [0; 8]).await.expect("the end"), 0);
            assert_eq!(upstream.read(&mut [0; 8]).await.expect("the end"), 0);
        });
    }
}

//! The client's side of an HTTP/1 connection as hyper sees it: strict framing, and the times that hyper has no clock for.
//!
//! - A head with broken framing ([`Framing`]) is cut off at the offending byte, which is replaced so that hyper answers 400
//!   and closes; nothing behind it is served.
//! - A head must be complete within `request_header`; an idle connection ends after `idle`; a client that takes no bytes of
//!   an answer for `body_idle` is let go. A time that is over looks to hyper like a client that went away.
//! - A client that half-closes after its request gets [`HALF_CLOSE_GRACE`] for the answer: long enough for a script that
//!   shuts down its side, short enough that the long poll of a closed tab does not live on upstream.
//!
//! After an upgrade [`Guard::into_inner`] gives the stream back untouched.

use super::framing::{Framing, RefusedAt};
use super::timer::Deadline;
use super::{Limits, Timeouts};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a request goes on after its client has shut down its sending side.
pub(super) const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);

/// What a connection is doing: written by the service, read by the guard and by the connection's loop.
#[derive(Debug, Default)]
pub(super) struct Activity {
    under_way: Cell<u32>,
    begun: Cell<u64>,
}

impl Activity {
    /// Requests whose answer has not been handed over completely.
    pub(super) fn under_way(&self) -> u32 {
        self.under_way.get()
    }

    /// Requests since the connection began.
    pub(super) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Counts one request until the returned value is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        UnderWay(Rc::clone(self))
    }
}

/// One request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// What the read deadline is measured for; another value means another start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Head(u64),
    Idle(u64),
    Grace,
}

pub(super) struct Guard<S> {
    stream: S,
    activity: Rc<Activity>,
    framing: Framing,
    header_time: Duration,
    idle_time: Duration,
    write_time: Duration,
    waiting: Option<Waiting>,
    read_deadline: Option<Deadline>,
    write_deadline: Option<Deadline>,
    write_blocked: bool,
    /// What hyper reads next instead of the stream: the end of a refused head.
    instead: &'static [u8],
    /// Nothing more is read from the stream: refused, out of time, or at its end.
    ended: bool,
    half_closed: bool,
}

impl<S> Guard<S> {
    pub(super) fn new(
        stream: S,
        activity: Rc<Activity>,
        timeouts: &Timeouts,
        limits: &Limits,
    ) -> Self {
        Self {
            stream,
            activity,
            framing: Framing::new(limits.header_bytes.saturating_mul(2)),
            header_time: timeouts.request_header,
            idle_time: timeouts.idle,
            write_time: timeouts.body_idle,
            waiting: None,
            read_deadline: None,
            write_deadline: None,
            write_blocked: false,
            instead: b"",
            ended: false,
            half_closed: false,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Which deadline the read side is under, and how long it is.
    fn due(&self) -> Option<(Waiting, Duration)> {
        let begun = self.activity.begun();
        let under_way = self.activity.under_way() > 0;
        if self.half_closed {
            return under_way.then_some((Waiting::Grace, HALF_CLOSE_GRACE));
        }
        if self.framing.in_head() || (begun == 0 && self.framing.between_messages()) {
            return Some((Waiting::Head(begun), self.header_time));
        }
        let idle = !under_way && self.framing.between_messages();
        idle.then_some((Waiting::Idle(begun), self.idle_time))
    }

    /// Ready when the read side is out of time.
    fn poll_read_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((waiting, time)) = self.due() else {
            self.waiting = None;
            return Poll::Pending;
        };
        let deadline = self
            .read_deadline
            .get_or_insert_with(|| Deadline::after(time));
        if self.waiting != Some(waiting) {
            self.waiting = Some(waiting);
            deadline.set(time);
        }
        deadline.poll(cx)
    }

    /// Ready with an error when the client has taken nothing for too long.
    fn poll_write_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let time = self.write_time;
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Deadline::after(time));
        if !self.write_blocked {
            self.write_blocked = true;
            deadline.set(time);
        }
        ready!(deadline.poll(cx));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes no bytes",
        ))
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.write_blocked = false;
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_write_time(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.instead.is_empty() {
            let (now, later) = this
                .instead
                .split_at(this.instead.len().min(buf.remaining()));
            buf.put_slice(now);
            this.instead = later;
            return Poll::Ready(Ok(()));
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        if !this.half_closed {
            let before = buf.filled().len();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    this.inspect(buf, before);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => {
                    if !this.framing.between_messages() {
                        this.ended = true;
                        return Poll::Ready(Ok(()));
                    }
                    this.half_closed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if this.half_closed && this.activity.under_way() == 0 {
            this.ended = true;
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_read_time(cx));
        this.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl<S> Guard<S> {
    /// Follows what has been read; a refused byte and all behind it never reach hyper.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let Err(RefusedAt(at)) = self.framing.advance(fresh) else {
            return;
        };
        buf.set_filled(before + at + 1);
        if let Some(refused) = buf.filled_mut().last_mut() {
            // NUL is no part of any line, so that hyper's parser answers 400 to it.
            *refused = 0;
        }
        // hyper parses a head that came in pieces only once it sees an empty line.
        self.instead = b"\r\n\r\n";
        self.ended = true;
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(cx, result)
    }
}

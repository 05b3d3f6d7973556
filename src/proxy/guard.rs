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
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a request goes on after its client has shut down its sending side.
pub(super) const HALF_CLOSE_GRACE: Duration = Duration::from_secs(5);

/// What a connection is doing: written by the service, read by the guard and by the connection's loop.
#[derive(Debug)]
pub(super) struct Activity {
    under_way: Cell<u32>,
    begun: Cell<u64>,
    moved: Cell<Instant>,
    half_closed: Cell<Option<Instant>>,
    /// Who wants to know that no request is under way any more.
    waker: RefCell<Option<Waker>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            under_way: Cell::default(),
            begun: Cell::default(),
            moved: Cell::new(Instant::now()),
            half_closed: Cell::default(),
            waker: RefCell::default(),
        }
    }
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

    /// When a request last began, moved or ended.
    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    pub(super) fn touch(&self) {
        self.moved.set(Instant::now());
    }

    /// When the client shut down its sending side: from then on it may be gone.
    pub(super) fn half_closed(&self) -> Option<Instant> {
        self.half_closed.get()
    }

    /// Wakes this task once no request is under way.
    fn wake_when_idle(&self, cx: &Context<'_>) {
        self.waker.replace(Some(cx.waker().clone()));
    }

    /// Counts one request until the returned value is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        self.touch();
        UnderWay(Rc::clone(self))
    }
}

/// One request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Activity>);

impl UnderWay {
    pub(super) fn touch(&self) {
        self.0.touch();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.touch();
        if self.0.under_way() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

/// What the read side waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The rest of a head.
    Head,
    /// The next request, or the end of those under way.
    Idle,
    /// The answer to a client that sends nothing more.
    Grace,
    /// The rest of a body, which has a clock of its own.
    Body,
}

pub(super) struct Guard<S> {
    stream: S,
    activity: Rc<Activity>,
    framing: Framing,
    header_time: Duration,
    idle_time: Duration,
    write_time: Duration,
    /// The deadline that is under way, and when it began.
    waiting: (Waiting, Instant),
    read_deadline: Option<Deadline>,
    write_deadline: Option<Deadline>,
    write_blocked: bool,
    /// What hyper reads next instead of the stream: the end of a refused head.
    instead: &'static [u8],
    /// Nothing more is read from the stream: refused, out of time, or at its end.
    ended: bool,
    half_closed: bool,
    timed_out: bool,
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
            framing: Framing::new(limits.parsed_bytes().saturating_mul(2)),
            header_time: timeouts.request_header,
            idle_time: timeouts.idle,
            write_time: timeouts.body_idle,
            waiting: (Waiting::Head, Instant::now()),
            read_deadline: None,
            write_deadline: None,
            write_blocked: false,
            instead: b"",
            ended: false,
            half_closed: false,
            timed_out: false,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Whether the connection ended because one of its times was over.
    pub(super) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Whether the client may still be sending something that will never be read.
    pub(super) fn unread(&self) -> bool {
        !self.framing.between_messages()
    }

    /// What is waited for, without regard to since when.
    fn awaited(&self) -> Waiting {
        if self.half_closed {
            return Waiting::Grace;
        }
        if self.framing.in_head() || self.activity.begun() == 0 {
            return Waiting::Head;
        }
        match self.framing.between_messages() {
            true => Waiting::Idle,
            false => Waiting::Body,
        }
    }

    /// Ready when the read side is out of time.
    fn poll_read_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let awaited = self.awaited();
        if self.waiting.0 != awaited {
            self.waiting = (awaited, Instant::now());
        }
        let (since, time) = match awaited {
            Waiting::Head => (self.waiting.1, self.header_time),
            Waiting::Grace => {
                self.activity.wake_when_idle(cx);
                (self.waiting.1, HALF_CLOSE_GRACE)
            }
            // hyper does not come back to read when a request ends: the timer runs meanwhile, and is set right when it fires.
            Waiting::Idle if self.activity.under_way() == 0 => {
                (self.activity.moved(), self.idle_time)
            }
            Waiting::Idle => (Instant::now(), self.idle_time),
            Waiting::Body => return Poll::Pending,
        };
        let deadline = self
            .read_deadline
            .get_or_insert_with(|| Deadline::after(time));
        deadline.set_from(since, time);
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
        self.timed_out = true;
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
                    this.activity.half_closed.set(Some(Instant::now()));
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
        this.timed_out = true;
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

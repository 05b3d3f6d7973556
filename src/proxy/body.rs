//! Bodies on their way through: streamed frame by frame, never gathered.
//!
//! A request body is counted, limited and timed; up to `limits.replay_bytes` a copy of it is kept, so that a
//! 307, a 308 or a retry can send it again. A response body is counted and timed, gives its connection back to the pool when
//! it is complete, and writes the request's log line when it is gone.

use super::guard::Activity;
use super::metrics::Metrics;
use super::pool::Lease;
use super::record::Record;
use super::timer::Deadline;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client has sent none of its request body for {0:?}")]
    ClientSilent(Duration),
    #[error("the client broke off its request body")]
    Client(#[source] hyper::Error),
    #[error("the upstream has sent none of its response body for {0:?}")]
    UpstreamSilent(Duration),
    #[error("the upstream broke off its response body")]
    Upstream(#[source] hyper::Error),
}

/// How far a request body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Untouched,
    UnderWay,
    Complete,
    TooLarge,
    Silent,
    Broken,
}

/// What the one who sends a request learns about its body, which hyper owns meanwhile.
pub(super) struct Upload {
    progress: Cell<Progress>,
    /// When it last moved.
    moved: Cell<Instant>,
    bytes: Cell<u64>,
    kept: RefCell<Option<VecDeque<Bytes>>>,
    has_reached: Cell<bool>,
}

impl Upload {
    pub(super) fn progress(&self) -> Progress {
        self.progress.get()
    }

    pub(super) fn moved(&self) -> Instant {
        self.moved.get()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether there was a connection to send it on, since the hop began.
    pub(super) fn has_reached(&self) -> bool {
        self.has_reached.get()
    }

    pub(super) fn begin_hop(&self) {
        self.has_reached.set(false);
    }

    pub(super) fn reach(&self) {
        self.has_reached.set(true);
    }

    /// The whole body once more, if it was complete and small enough to be kept.
    pub(super) fn again(&self) -> Option<RequestBody> {
        if self.progress.get() != Progress::Complete {
            return None;
        }
        let frames = self.kept.borrow().clone()?;
        Some(RequestBody::kept(frames))
    }
}

/// A request body on its way to the upstream.
pub(super) enum RequestBody {
    Empty,
    Kept { frames: VecDeque<Bytes>, left: u64 },
    Client(Box<ClientBody>),
}

pub(super) struct ClientBody {
    body: Incoming,
    upload: Rc<Upload>,
    activity: Rc<Activity>,
    bounds: UploadBounds,
    deadline: Option<Deadline>,
}

/// What a request body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadBounds {
    /// 0: no limit.
    pub(super) bytes_max: u64,
    /// Bodies up to this size are kept, in bytes.
    pub(super) keep_bytes_max: usize,
    pub(super) silence_max: Duration,
}

impl RequestBody {
    pub(super) fn new(
        body: Incoming,
        bounds: UploadBounds,
        activity: &Rc<Activity>,
    ) -> (Self, Rc<Upload>) {
        let empty = body.is_end_stream();
        let small = body.size_hint().lower() <= bounds.keep_bytes_max as u64;
        let upload = Rc::new(Upload {
            progress: Cell::new(if empty {
                Progress::Complete
            } else {
                Progress::Untouched
            }),
            moved: Cell::new(Instant::now()),
            bytes: Cell::new(0),
            kept: RefCell::new(small.then(VecDeque::new)),
            has_reached: Cell::new(false),
        });
        if empty {
            return (Self::Empty, upload);
        }
        let client = ClientBody {
            body,
            upload: Rc::clone(&upload),
            activity: Rc::clone(activity),
            bounds,
            deadline: None,
        };
        (Self::Client(Box::new(client)), upload)
    }

    fn kept(frames: VecDeque<Bytes>) -> Self {
        let left = frames.iter().map(|frame| frame.len() as u64).sum();
        if left == 0 {
            return Self::Empty;
        }
        Self::Kept { frames, left }
    }
}

impl ClientBody {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let upload = &self.upload;
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if upload.progress.get() == Progress::Untouched {
                    upload.progress.set(Progress::UnderWay);
                }
                let (moved, wait) = (upload.moved.get(), self.bounds.silence_max);
                let deadline = self.deadline.get_or_insert_with(|| Deadline::after(wait));
                deadline.set_from(moved, wait);
                ready!(deadline.poll(cx));
                upload.progress.set(Progress::Silent);
                return Poll::Ready(Some(Err(BodyError::ClientSilent(wait))));
            }
        };
        upload.moved.set(Instant::now());
        self.activity.touch();
        match frame {
            Some(Ok(frame)) => {
                let trailers = frame.is_trailers();
                if let Some(data) = frame.data_ref() {
                    self.count(data)?;
                }
                self.upload
                    .progress
                    .set(if trailers || self.body.is_end_stream() {
                        Progress::Complete
                    } else {
                        Progress::UnderWay
                    });
                if trailers {
                    // A kept body has no place for them.
                    *self.upload.kept.borrow_mut() = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                upload.progress.set(Progress::Broken);
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            None => {
                upload.progress.set(Progress::Complete);
                Poll::Ready(None)
            }
        }
    }

    fn count(&self, data: &Bytes) -> Result<(), BodyError> {
        let upload = &self.upload;
        let bytes = upload.bytes.get().saturating_add(data.len() as u64);
        upload.bytes.set(bytes);
        let UploadBounds {
            bytes_max,
            keep_bytes_max,
            ..
        } = self.bounds;
        if bytes_max > 0 && bytes > bytes_max {
            upload.progress.set(Progress::TooLarge);
            return Err(BodyError::TooLarge(bytes_max));
        }
        let mut kept = upload.kept.borrow_mut();
        if bytes > keep_bytes_max as u64 {
            *kept = None;
        } else if let Some(kept) = kept.as_mut() {
            // A frame shares the read buffer it came in; a small one would hold a large buffer.
            kept.push_back(Bytes::copy_from_slice(data));
        }
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Kept { frames, left } => {
                let frame = frames.pop_front();
                if let Some(frame) = &frame {
                    *left = left.saturating_sub(frame.len() as u64);
                }
                Poll::Ready(frame.map(|frame| Ok(Frame::data(frame))))
            }
            Self::Client(client) => client.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept { left, .. } => *left == 0,
            Self::Client(client) => client.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept { left, .. } => SizeHint::with_exact(*left),
            Self::Client(client) => client.body.size_hint(),
        }
    }
}

/// A response body on its way to the client.
pub(super) struct ResponseBody {
    source: Source,
    record: Option<Box<Record>>,
}

enum Source {
    Own(Option<Bytes>),
    Upstream {
        body: Incoming,
        lease: Option<Lease>,
        silence_max: Duration,
        deadline: Option<Deadline>,
        /// The deadline counts from the latest frame.
        waiting: bool,
    },
}

impl ResponseBody {
    pub(super) fn own(bytes: Bytes) -> Self {
        Self {
            source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())),
            record: None,
        }
    }

    pub(super) fn upstream(body: Incoming, lease: Option<Lease>, silence_max: Duration) -> Self {
        let mut source = Source::Upstream {
            body,
            lease,
            silence_max,
            deadline: None,
            waiting: false,
        };
        source.settle();
        Self {
            source,
            record: None,
        }
    }

    /// The log line and the count that are due when this body is gone.
    pub(super) fn recorded(mut self, record: Box<Record>) -> Self {
        self.record = Some(record);
        self
    }

    fn complete(&mut self) {
        if let Some(record) = &mut self.record {
            record.complete();
        }
    }
}

impl Source {
    /// Gives the connection back once nothing more of this body is to come.
    fn settle(&mut self) -> bool {
        let Self::Upstream { body, lease, .. } = self else {
            return false;
        };
        if !body.is_end_stream() {
            return false;
        }
        if let Some(lease) = lease.take() {
            lease.give_back();
        }
        true
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (body, lease, silence_max, deadline, waiting) = match self {
            Self::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Upstream {
                body,
                lease,
                silence_max,
                deadline,
                waiting,
            } => (body, lease, *silence_max, deadline, waiting),
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                *waiting = false;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Upstream(error)))),
            Poll::Ready(None) => {
                if let Some(lease) = lease.take() {
                    lease.give_back();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                let deadline = deadline.get_or_insert_with(|| Deadline::after(silence_max));
                if !*waiting {
                    *waiting = true;
                    deadline.set(silence_max);
                }
                ready!(deadline.poll(cx));
                Poll::Ready(Some(Err(BodyError::UpstreamSilent(silence_max))))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(this.source.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(record), Some(data)) = (&mut this.record, frame.data_ref()) {
                    record.add(data.len());
                }
                this.source.settle();
                if this.is_end_stream() || frame.is_trailers() {
                    this.complete();
                }
            }
            Some(Err(error)) => {
                if let Some(record) = &mut this.record {
                    record.broken(error);
                }
            }
            None => this.complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Upstream { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper drops a body without polling it when it is empty from the start.
        if self.is_end_stream() {
            self.complete();
        }
    }
}

/// Shared by every part that counts.
pub(super) type Counts = Arc<Metrics>;

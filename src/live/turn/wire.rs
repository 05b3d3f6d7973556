//! One client's connection, and requests over it: sends, waits, repeats over UDP, answers a challenge once.

use super::client::{self, Ask, Meaning, Session, Step};
use super::judge::Trouble;
use crate::addr::Family;
use crate::stun::framing::{self, Framing};
use crate::stun::{channel_data, padding};
use crate::sys::rng::SystemRng;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// RFC 8489 §6.2.1 begins with 500 ms for the internet; this is the same machine, or a server near by.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A stale nonce may be answered once more after the first challenge.
const ROUNDS_MAX: usize = 3;
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Of a stream's buffer; a message of this client is far smaller.
const BUFFERED_BYTES_MAX: usize = 128 << 10;

pub(in crate::live) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(in crate::live) enum Wire {
    Udp(UdpSocket),
    Stream {
        stream: Box<dyn Stream>,
        /// Read and not used yet.
        buffered: Vec<u8>,
    },
}

impl Wire {
    pub(super) fn stream(stream: impl Stream + 'static) -> Self {
        Self::Stream {
            stream: Box::new(stream),
            buffered: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).await.map(drop),
            Self::Stream { stream, .. } => {
                // RFC 8656 §12.5: ChannelData is padded on streams; STUN messages need none.
                let mut padded = bytes.to_vec();
                padded.resize(bytes.len() + padding(bytes.len()), 0);
                stream.write_all(&padded).await?;
                stream.flush().await
            }
        }
    }

    /// One whole message, ChannelData without its padding. Nothing is lost when it is dropped half-way.
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
                let count = socket.recv(&mut bytes).await?;
                bytes.truncate(count);
                Ok(bytes)
            }
            Self::Stream { stream, buffered } => loop {
                if let Some(message) = cut(buffered)? {
                    return Ok(message);
                }
                if buffered.len() > BUFFERED_BYTES_MAX || stream.read_buf(buffered).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

fn cut(buffered: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    match framing::next(buffered).map_err(io::Error::other)? {
        Framing::Incomplete => Ok(None),
        Framing::Message { len, padded_len } => {
            let mut message: Vec<u8> = buffered.drain(..padded_len.min(buffered.len())).collect();
            message.truncate(len);
            Ok(Some(message))
        }
    }
}

/// A client with its connection.
pub(in crate::live) struct Conversation {
    wire: Wire,
    session: Session,
    /// For each request, and for each way of a packet.
    pub(super) step: Duration,
    /// There may be an allocation.
    allocated: bool,
}

impl Conversation {
    pub(in crate::live) fn new(wire: Wire, session: Session, step: Duration) -> Self {
        Self {
            wire,
            session,
            step,
            allocated: false,
        }
    }

    pub(super) fn is_allocated(&self) -> bool {
        self.allocated
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.wire, Wire::Stream { .. })
    }

    /// How the server sees this client.
    pub(in crate::live) async fn bind(&mut self) -> Result<SocketAddr, Trouble> {
        let answer = self.request(Ask::Binding).await?;
        let step = Step::Binding;
        client::mapped_address(&answer).ok_or(Trouble::NotTurn { step })
    }

    /// The relayed address, as clients are told it.
    pub(super) async fn allocate(&mut self, family: Family) -> Result<SocketAddr, Trouble> {
        // From the first byte on: the answer may be what is lost.
        self.allocated = true;
        let answer = self.request(Ask::Allocate(family)).await;
        if let Err(Trouble::Refused { .. }) = &answer {
            self.allocated = false;
        }
        let answer = answer?;
        let step = Step::Allocate;
        client::relayed_address(&answer).ok_or(Trouble::NotTurn { step })
    }

    pub(super) async fn permit(&mut self, peer: SocketAddr) -> Result<(), Trouble> {
        self.request(Ask::CreatePermission(peer)).await.map(drop)
    }

    pub(super) async fn bind_channel(
        &mut self,
        number: u16,
        peer: SocketAddr,
    ) -> Result<(), Trouble> {
        self.request(Ask::ChannelBind(number, peer)).await.map(drop)
    }

    pub(super) async fn delete(&mut self) -> Result<(), Trouble> {
        match self.request(Ask::Delete).await {
            // RFC 8656 §7.3: there is none.
            Ok(_) | Err(Trouble::Refused { code: 437, .. }) => self.allocated = false,
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    pub(super) fn channel_data(&mut self, number: u16, payload: &[u8]) -> Vec<u8> {
        let header = channel_data::header(number, payload.len()).unwrap_or_default();
        [&header, payload].concat()
    }

    pub(super) fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        client::send_indication(client::new_id(&mut SystemRng), peer, payload)
    }

    pub(super) async fn send(&mut self, bytes: &[u8], step: Step) -> Result<(), Trouble> {
        self.wire
            .send(bytes)
            .await
            .map_err(|error| lost(error, step))
    }

    /// The next payload that was relayed to this client.
    pub(super) async fn payload(&mut self, step: Step) -> Result<Vec<u8>, Trouble> {
        loop {
            let bytes = self
                .wire
                .receive()
                .await
                .map_err(|error| lost(error, step))?;
            if let Some(data) = channel_data::parse(&bytes) {
                return Ok(bytes.get(data.payload).unwrap_or_default().to_vec());
            }
            if let Some(payload) = client::indicated(&bytes) {
                return Ok(payload.to_vec());
            }
        }
    }

    /// The answer, which is a success.
    async fn request(&mut self, ask: Ask) -> Result<Vec<u8>, Trouble> {
        for _ in 0..ROUNDS_MAX {
            if let Some(answer) = self.exchange(ask).await? {
                return Ok(answer);
            }
        }
        let step = ask.step();
        Err(Trouble::NotTurn { step })
    }

    /// `None`: it is to be asked again, with the credentials that the server wants.
    async fn exchange(&mut self, ask: Ask) -> Result<Option<Vec<u8>>, Trouble> {
        let step = ask.step();
        let id = client::new_id(&mut SystemRng);
        let request = self.session.request(ask, id);
        let end = Instant::now() + self.step;
        let mut wait = match self.is_stream() {
            true => self.step,
            false => FIRST_WAIT,
        };
        // Not before the end: over UDP the loss may be of the answer alone.
        while Instant::now() < end {
            self.send(&request, step).await?;
            let until = end.min(Instant::now() + wait);
            wait *= 2;
            while let Ok(received) = timeout_at(until, self.wire.receive()).await {
                let bytes = received.map_err(|error| lost(error, step))?;
                match self.session.judge(ask, id, &bytes) {
                    Meaning::NotIt => {}
                    Meaning::Success => return Ok(Some(bytes)),
                    Meaning::Again => return Ok(None),
                    Meaning::Refused(trouble) => return Err(trouble),
                }
            }
        }
        Err(Trouble::Silent { step })
    }
}

fn lost(error: io::Error, step: Step) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Trouble::Closed { step },
        // ICMP over UDP, a reset over TCP.
        io::ErrorKind::ConnectionRefused => Trouble::Connect(error),
        _ => Trouble::Broken { step, error },
    }
}

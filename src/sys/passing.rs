//! Texts and open descriptors between two processes, over a unix socket (`SCM_RIGHTS`, unix(7)).
//!
//! A text is cut into messages that the kernel takes whole; descriptors go before it. Waiting is bounded.

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// First byte of a message: descriptors, a piece of text, the last piece.
const DESCRIPTORS: u8 = 1;
const PIECE: u8 = 2;
const LAST: u8 = 3;

const PIECE_LEN: usize = 32 << 10;
/// The kernel takes 253 at once (`SCM_MAX_FD`).
const FDS_MAX: usize = 128;
/// Longest text, in bytes, and most descriptors with it: more is not from a relayd.
const TEXT_LEN_MAX: usize = 64 << 20;
const FDS_TOTAL_MAX: usize = 64 << 10;

const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
const CONTROL_WORDS: usize = (HEADER_LEN + FDS_MAX * size_of::<i32>()).div_ceil(8) + 1;

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel {
    socket: Socket,
}

/// A text and what came with it.
#[derive(Debug)]
pub struct Parcel {
    pub text: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// This end, and the other for a process that is about to be started.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET.cloexec(), None)?;
        Ok((Self { socket: one }, other.into()))
    }

    /// The end that this process got as its standard input.
    pub fn standard_input() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let socket = Socket::from(fd);
        if (socket.domain()?, socket.r#type()?) != (Domain::UNIX, Type::SEQPACKET) {
            return Err(io::Error::other("standard input is another kind of socket"));
        }
        Ok(Self { socket })
    }

    /// How long one message may take to be sent or to come; `None`: for ever.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        // A duration of zero would mean for ever.
        let patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        self.socket.set_read_timeout(patience)?;
        self.socket.set_write_timeout(patience)
    }

    /// How long one message may take to be sent: for a conversation whose other direction waits for ever.
    pub fn set_send_patience(&self, patience: Duration) -> io::Result<()> {
        let patience = patience.max(Duration::from_millis(1));
        self.socket.set_write_timeout(Some(patience))
    }

    /// Ends the conversation for both sides, also for a thread that waits.
    pub fn close(&self) {
        // One that is closed already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for descriptors in descriptors.chunks(FDS_MAX) {
            self.send_descriptors(descriptors)?;
        }
        let mut pieces = text.chunks(PIECE_LEN).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let kind = if pieces.peek().is_some() { PIECE } else { LAST };
            let mut message = Vec::with_capacity(1 + piece.len());
            message.push(kind);
            message.extend_from_slice(piece);
            self.socket.send_with_flags(&message, libc::MSG_NOSIGNAL)?;
            if kind == LAST {
                return Ok(());
            }
        }
    }

    /// Waits for the next text; `None` when the other process has ended or closed its end.
    pub fn receive(&self) -> io::Result<Option<Parcel>> {
        let mut parcel = Parcel {
            text: Vec::new(),
            descriptors: Vec::new(),
        };
        let mut buffer = vec![0; PIECE_LEN + 1];
        loop {
            let len = self.receive_message(&mut buffer, &mut parcel.descriptors)?;
            let Some((kind, piece)) = buffer.get(..len).and_then(<[u8]>::split_first) else {
                return Ok(None);
            };
            parcel.text.extend_from_slice(piece);
            let too_much =
                parcel.text.len() > TEXT_LEN_MAX || parcel.descriptors.len() > FDS_TOTAL_MAX;
            match *kind {
                _ if too_much => return Err(io::Error::other("too much for one message")),
                LAST => return Ok(Some(parcel)),
                DESCRIPTORS | PIECE => {}
                _ => return Err(io::Error::other("a message of an unknown kind")),
            }
        }
    }

    fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut control = [0u64; CONTROL_WORDS];
        let len = HEADER_LEN + size_of_val(descriptors);
        write_control(&mut control, len, descriptors);
        let kind = [DESCRIPTORS];
        let mut vector = libc::iovec {
            iov_base: kind.as_ptr().cast_mut().cast(),
            iov_len: kind.len(),
        };
        // SAFETY: a header of null pointers and zero lengths is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = len as _;
        // SAFETY: the header leads to a vector of one byte and to `len` bytes of control data, which all outlive the call.
        let sent = unsafe {
            libc::sendmsg(
                self.socket.as_raw_fd(),
                &raw const header,
                libc::MSG_NOSIGNAL,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn receive_message(&self, buffer: &mut [u8], into: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut control = [0u64; CONTROL_WORDS];
        let mut vector = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: a header of null pointers and zero lengths is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the header leads to `buffer` and `control` with their true lengths; both outlive the call.
        let len = unsafe {
            libc::recvmsg(
                self.socket.as_raw_fd(),
                &raw mut header,
                libc::MSG_CMSG_CLOEXEC,
            )
        };
        if len < 0 {
            return Err(io::Error::last_os_error());
        }
        for number in read_control(&control, header.msg_controllen as usize) {
            // SAFETY: the kernel has just opened this descriptor for this process, and nobody else knows of it.
            into.push(unsafe { OwnedFd::from_raw_fd(number) });
        }
        if header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
            return Err(io::Error::other(
                "descriptors were lost on the way: the open-files limit is too low for all of them",
            ));
        }
        Ok(len as usize)
    }
}

/// One control message that carries descriptors.
fn write_control(control: &mut [u64], len: usize, descriptors: &[BorrowedFd<'_>]) {
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&len.to_ne_bytes());
    bytes.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    bytes.extend_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    for descriptor in descriptors {
        bytes.extend_from_slice(&descriptor.as_raw_fd().to_ne_bytes());
    }
    for (word, piece) in control.iter_mut().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..piece.len()].copy_from_slice(piece);
        *word = u64::from_ne_bytes(whole);
    }
}

/// The descriptors of the first control message; the kernel sends one.
fn read_control(control: &[u64], len: usize) -> Vec<i32> {
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let whole = bytes.get(..len).unwrap_or(&bytes);
    let Some((header, _)) = whole.split_at_checked(HEADER_LEN) else {
        return Vec::new();
    };
    let word = size_of::<usize>();
    let message_len = header[..word].try_into().map_or(0, usize::from_ne_bytes);
    let kind = |at: usize| header[at..at + 4].try_into().map_or(0, i32::from_ne_bytes);
    if (kind(word), kind(word + 4)) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Vec::new();
    }
    let data = whole.get(HEADER_LEN..message_len).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.try_into().map_or(-1, i32::from_ne_bytes);
    data.chunks_exact(4)
        .map(number)
        .filter(|number| *number >= 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom, Write};

    fn both() -> (Channel, Channel) {
        let (one, other) = Channel::pair().expect("made");
        let other = Channel {
            socket: Socket::from(other),
        };
        for end in [&one, &other] {
            end.set_patience(Some(Duration::from_secs(20)))
                .expect("set");
        }
        (one, other)
    }

    #[test]
    fn long_texts_and_many_descriptors_arrive_as_they_were_sent() {
        let (one, other) = both();
        let text: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let name = format!("relayd-passing-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::create_new(&path).expect("made");
        file.write_all(b"shared").expect("written");
        let read = std::fs::File::open(&path).expect("opened");
        std::fs::remove_file(&path).expect("ours");
        let sent = text.clone();
        let sender = std::thread::spawn(move || {
            one.send(&sent, &vec![read.as_fd(); 300]).expect("sent");
            one.send(b"", &[]).expect("sent");
            one
        });
        let parcel = other.receive().expect("received").expect("a text");
        assert_eq!(parcel.text, text);
        assert_eq!(parcel.descriptors.len(), 300);
        let last = parcel.descriptors.into_iter().next_back().expect("300");
        let mut last = std::fs::File::from(last);
        let mut content = String::new();
        last.seek(SeekFrom::Start(0)).expect("a file");
        last.read_to_string(&mut content).expect("readable");
        assert_eq!(content, "shared");
        let empty = other.receive().expect("received").expect("a text");
        assert!(empty.text.is_empty() && empty.descriptors.is_empty());
        drop(sender.join().expect("sent"));
        assert!(other.receive().expect("the end").is_none());
        assert!(other.send(b"anyone?", &[]).is_err());
    }

    #[test]
    fn nobody_is_waited_for_longer_than_was_said() {
        let (_one, other) = both();
        other.set_patience(Some(Duration::ZERO)).expect("set");
        let kind = other.receive().map_err(|error| error.kind()).err();
        assert_eq!(kind, Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn messages_of_no_known_kind_are_an_error() {
        let (one, other) = both();
        one.socket.send(&[77, 1, 2]).expect("sent");
        assert!(other.receive().is_err());
    }

    #[test]
    fn broken_control_data_holds_no_descriptors() {
        for words in [vec![], vec![u64::MAX; 3], vec![20, 0, 7]] {
            assert!(read_control(&words, 1000).is_empty());
        }
    }
}

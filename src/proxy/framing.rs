//! What hyper forgives and a proxy must not: message framing of HTTP/1 requests, read along as the bytes come in.
//!
//! Refused (RFC 9112 §2.2, §6.1, §6.3): a line that ends in a bare LF, Content-Length beside Transfer-Encoding, either of them
//! twice, a length that is not digits, a transfer coding other than `chunked`, a folded line. hyper drops a Content-Length
//! that stands beside Transfer-Encoding before anyone can see it, so this looks at the bytes and not at the parsed headers.
//!
//! Invariant: between two messages the state is [`State::Line`] of a head. Everything else about a message is hyper's work.
//! No I/O here.

/// Where in the byte stream the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the head; `first`: no byte of the request line has been seen yet.
    Line { first: bool },
    /// In a body; this many bytes to go.
    Sized(u64),
    /// In the line that holds a chunk's size.
    ChunkSize,
    /// In a chunk; this many bytes to go, its CRLF included.
    Chunk(u64),
    /// In the trailer section.
    Trailer,
    /// Behind a request that asked for another protocol: no more HTTP is served.
    Opaque,
    /// Behind a refused byte.
    Refused,
}

/// What the head that is being read has announced.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    announced: Announced,
    /// The begin of a line whose end has not come yet.
    line: Vec<u8>,
    line_bytes_max: usize,
}

/// The framing is broken at this offset of the bytes that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefusedAt(pub(super) usize);

impl Framing {
    /// Lines longer than `line_bytes_max` are refused; hyper's own limit on the head is meant to be reached first.
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            state: State::Line { first: true },
            announced: Announced::default(),
            line: Vec::new(),
            line_bytes_max,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        match self.state {
            State::Line { first } => !first || !self.line.is_empty(),
            State::Sized(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::Trailer
            | State::Opaque
            | State::Refused => false,
        }
    }

    /// Whether the last message is complete, so that the end of the stream takes nothing from it.
    pub(super) fn between_messages(&self) -> bool {
        matches!(self.state, State::Line { first: true }) && self.line.is_empty()
    }

    /// Reads on. After a refusal nothing is to be read any more.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), RefusedAt> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Sized(left) => at += self.skip(left, rest, State::Line { first: true }),
                State::Chunk(left) => at += self.skip(left, rest, State::ChunkSize),
                State::Opaque | State::Refused => return Ok(()),
                State::Line { .. } | State::ChunkSize | State::Trailer => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        return self.keep(rest).ok_or(RefusedAt(bytes.len() - 1));
                    };
                    let (line, _) = rest.split_at(end + 1);
                    at += line.len();
                    if self.line(line).is_none() {
                        self.state = State::Refused;
                        return Err(RefusedAt(at - 1));
                    }
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, left: u64, rest: &[u8], then: State) -> usize {
        let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - taken as u64;
        self.state = match (left, self.state) {
            (0, _) => then,
            (left, State::Chunk(_)) => State::Chunk(left),
            (left, _) => State::Sized(left),
        };
        taken
    }

    fn keep(&mut self, part: &[u8]) -> Option<()> {
        if self.line.len() + part.len() > self.line_bytes_max {
            self.state = State::Refused;
            return None;
        }
        self.line.extend_from_slice(part);
        Some(())
    }

    /// Takes a line's end, LF included; `None` refuses it.
    fn line(&mut self, end: &[u8]) -> Option<()> {
        if self.line.is_empty() {
            return self.whole_line(end);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end);
        let taken = self.whole_line(&line);
        line.clear();
        self.line = line;
        taken
    }

    fn whole_line(&mut self, line: &[u8]) -> Option<()> {
        let line = line.strip_suffix(b"\r\n")?;
        match self.state {
            // RFC 9112 §2.2: an empty line before the request line is ignored.
            State::Line { first: true } if line.is_empty() => {}
            State::Line { first: true } => self.state = State::Line { first: false },
            State::Line { first: false } if line.is_empty() => self.end_head(),
            State::Line { first: false } => self.field(line)?,
            State::ChunkSize => self.chunk_size(line)?,
            State::Trailer if line.is_empty() => self.state = State::Line { first: true },
            State::Trailer => {}
            State::Sized(_) | State::Chunk(_) | State::Opaque | State::Refused => {}
        }
        Some(())
    }

    fn end_head(&mut self) {
        let announced = std::mem::take(&mut self.announced);
        self.state = match announced {
            Announced { upgrade: true, .. } => State::Opaque,
            Announced { chunked: true, .. } => State::ChunkSize,
            Announced {
                length: Some(length @ 1..),
                ..
            } => State::Sized(length),
            Announced { .. } => State::Line { first: true },
        };
    }

    fn field(&mut self, line: &[u8]) -> Option<()> {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        if matches!(name.first(), None | Some(b' ' | b'\t')) {
            return None;
        }
        let value = || value.get(1..).unwrap_or_default().trim_ascii();
        // Lengths first: most names are none of these three.
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.announced.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.announced.chunked || self.announced.length.is_some() {
                    return None;
                }
                self.announced.length = Some(decimal(value())?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let chunked = value().eq_ignore_ascii_case(b"chunked");
                if self.announced.chunked || self.announced.length.is_some() || !chunked {
                    return None;
                }
                self.announced.chunked = true;
            }
            _ => {}
        }
        Some(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Option<()> {
        let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
        let text = std::str::from_utf8(digits).ok()?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.state = match u64::from_str_radix(text, 16).ok()? {
            0 => State::Trailer,
            size => State::Chunk(size.checked_add(2)?),
        };
        Some(())
    }
}

/// RFC 9110 §8.6: digits and nothing else, no sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE_MAX: usize = 1 << 10;

    fn refused(input: &str) -> Option<usize> {
        let mut framing = Framing::new(LINE_MAX);
        framing
            .advance(input.as_bytes())
            .err()
            .map(|RefusedAt(at)| at)
    }

    #[test]
    fn ordinary_messages_in_a_row_pass() {
        let input = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\ncd\
            \r\nPOST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
            3;ext=1\r\na\nb\r\n0\r\nX-Trailer: 1\r\n\r\n\
            GET /last HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let mut framing = Framing::new(LINE_MAX);
        assert_eq!(framing.advance(input.as_bytes()), Ok(()));
        assert!(framing.between_messages());
    }

    /// RFC 9112 §2.2, §6.1, §6.3: what a front and a back could read differently.
    #[test]
    fn ambiguous_framing_is_refused_at_the_line_that_makes_it_so() {
        for (head, line) in [
            ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"),
            ("Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"),
            ("Content-Length: 5\r\n", "content-length: 5\r\n"),
            (
                "Transfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked\r\n",
            ),
            ("", "Transfer-Encoding: gzip, chunked\r\n"),
            ("", "Transfer-Encoding: identity\r\n"),
            ("", "Content-Length: +5\r\n"),
            ("", "Content-Length: 5, 5\r\n"),
            ("", "Content-Length: \r\n"),
            ("", "Content-Length: 0x5\r\n"),
            ("", "Content-Length: 99999999999999999999\r\n"),
            ("", "X-Fine: but a bare LF\n"),
            ("X-Folded: a\r\n", " b: c\r\n"),
            ("", "no colon\r\n"),
        ] {
            let start = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}");
            let input = format!("{start}{line}\r\n");
            assert_eq!(
                refused(&input),
                Some(start.len() + line.len() - 1),
                "{input:?}"
            );
        }
        assert_eq!(refused("GET / HTTP/1.1\nHost: a\r\n\r\n"), Some(14));
    }

    #[test]
    fn a_chunk_size_that_is_no_number_is_refused() {
        for size in [
            "",
            "-1",
            "g",
            "1_0",
            "ffffffffffffffff",
            "1ffffffffffffffff",
        ] {
            let input = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n"
            );
            assert!(refused(&input).is_some(), "{size:?}");
        }
    }

    #[test]
    fn bytes_behind_an_upgrade_are_not_looked_at() {
        let input = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n\x01\n\n\n";
        assert_eq!(refused(input), None);
    }

    #[test]
    fn a_line_without_end_is_refused_at_its_bound() {
        let mut framing = Framing::new(LINE_MAX);
        assert_eq!(framing.advance(&[b'a'; LINE_MAX]), Ok(()));
        assert_eq!(framing.advance(b"a"), Err(RefusedAt(0)));
    }

    proptest! {
        /// Reads tear messages anywhere; the verdict must not depend on where.
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_are_cut(
            lines in proptest::collection::vec(prop_oneof![
                Just("GET / HTTP/1.1\r\n"), Just("Host: a\r\n"), Just("\r\n"), Just("\n"),
                Just("Content-Length: 3\r\n"), Just("Transfer-Encoding: chunked\r\n"),
                Just("2\r\nab\r\n"), Just("0\r\n"), Just("abc"), Just("Upgrade: websocket\r\n"),
            ], 0..12),
            cut in 1_usize..9,
        ) {
            let input = lines.concat();
            let mut pieces = Framing::new(LINE_MAX);
            let mut in_pieces = None;
            for (index, piece) in input.as_bytes().chunks(cut).enumerate() {
                if let Err(RefusedAt(at)) = pieces.advance(piece) {
                    in_pieces = Some(index * cut + at);
                    break;
                }
            }
            prop_assert_eq!(refused(&input), in_pieces);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Framing::new(64).advance(&bytes);
        }
    }
}

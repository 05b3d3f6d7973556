//! HTTP/1.1 messages as bytes: just enough to read them whole and to see them as they were sent.

use super::PATIENCE;
use std::io::{self, Read};

/// A start line, header lines as they came, and a body.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub chunked: bool,
    /// Lines after the last chunk.
    pub trailers: Vec<String>,
}

impl Message {
    /// Every value of a header, in any case of its name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(same)
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The one value of a header; `None` if it is absent.
    pub fn one(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [] => None,
            [value] => Some(value),
            ref several => panic!("{name} stands there {} times", several.len()),
        }
    }

    pub fn status(&self) -> u16 {
        let code = self
            .start
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// Bytes that were read and not used yet, before a stream.
#[derive(Default)]
pub struct Reader {
    pub left: Vec<u8>,
}

impl Reader {
    /// Reads one message. `None`: the stream ended before its first byte.
    ///
    /// `bodiless` is for the answer to HEAD.
    pub fn message(
        &mut self,
        stream: &mut impl Read,
        bodiless: bool,
    ) -> io::Result<Option<Message>> {
        let Some(mut message) = self.head(stream)? else {
            return Ok(None);
        };
        self.body(stream, &mut message, bodiless)?;
        Ok(Some(message))
    }

    /// Reads the body that belongs to a head.
    pub fn body(
        &mut self,
        stream: &mut impl Read,
        message: &mut Message,
        bodiless: bool,
    ) -> io::Result<()> {
        let answer = message.start.starts_with("HTTP/");
        let status = if answer { message.status() } else { 0 };
        if bodiless || matches!(status, 100..=199 | 204 | 304) {
            return Ok(());
        }
        message.chunked = message
            .all("transfer-encoding")
            .iter()
            .any(|v| v.eq_ignore_ascii_case("chunked"));
        let length = message
            .all("content-length")
            .first()
            .and_then(|v| v.parse::<usize>().ok());
        message.body = match (message.chunked, length) {
            (true, _) => self.chunks(stream, &mut message.trailers)?,
            (false, Some(length)) => self.exactly(stream, length)?,
            (false, None) if answer => self.until_end(stream)?,
            (false, None) => Vec::new(),
        };
        Ok(())
    }

    pub fn head(&mut self, stream: &mut impl Read) -> io::Result<Option<Message>> {
        let end = loop {
            if let Some(at) = find(&self.left, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more(stream)? {
                if self.left.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the head has no end",
                ));
            }
        };
        let head: Vec<u8> = self.left.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        let headers = lines.map(split).collect();
        Ok(Some(Message {
            start,
            headers,
            ..Message::default()
        }))
    }

    pub fn exactly(&mut self, stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
        while self.left.len() < length {
            if !self.more(stream)? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the body is too short",
                ));
            }
        }
        Ok(self.left.drain(..length).collect())
    }

    fn chunks(
        &mut self,
        stream: &mut impl Read,
        trailers: &mut Vec<String>,
    ) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(stream)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                loop {
                    match self.line(stream)? {
                        line if line.is_empty() => break,
                        line => trailers.push(line),
                    }
                }
                return Ok(body);
            }
            body.extend(self.exactly(stream, size)?);
            self.exactly(stream, 2)?;
        }
    }

    fn line(&mut self, stream: &mut impl Read) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.left, b"\r\n") {
                let line: Vec<u8> = self.left.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.more(stream)? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the line has no end",
                ));
            }
        }
    }

    pub fn until_end(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        while self.more(stream)? {}
        Ok(std::mem::take(&mut self.left))
    }

    /// False at the end of the stream. A peer that closes without close_notify has ended it too.
    pub fn more(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk) {
            Ok(n) => {
                self.left.extend_from_slice(&chunk[..n]);
                Ok(n > 0)
            }
            Err(e) => match e.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Ok(false),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Err(io::Error::other(format!("nothing came for {PATIENCE:?}")))
                }
                _ => Err(e),
            },
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

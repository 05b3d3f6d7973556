//! Asks a running server's admin listener how it is: one GET, everything bounded. For `relayd health`.

use crate::secret::Secret;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Answers are small; what is longer is cut.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the server listens, as it is configured.
    pub listen: SocketAddr,
    pub path: &'static str,
    /// Of a listener that wants one.
    pub token: Option<&'a Secret>,
    /// For all of it.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Up to the first 64 KiB; other characters than text are replaced.
    pub body: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("nobody answers at {address}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no answer from {address} within {} ms", timeout.as_millis())]
    TimedOut {
        address: SocketAddr,
        timeout: Duration,
    },
    #[error("the connection to {address} broke")]
    Broken {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{address} does not speak HTTP")]
    NoHttp { address: SocketAddr },
}

/// Asks, and returns the answer whatever its status is.
pub fn probe(question: &Question<'_>) -> Result<Answer, ProbeError> {
    let address = reachable(question.listen);
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => ProbeError::TimedOut {
            address,
            timeout: question.timeout,
        },
        ErrorKind::ConnectionRefused => ProbeError::Connect { address, source },
        _ => ProbeError::Broken { address, source },
    };
    let bytes = exchange(address, question).map_err(failed)?;
    parse(&bytes).ok_or(ProbeError::NoHttp { address })
}

/// A listener on every address is asked on loopback.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn exchange(address: SocketAddr, question: &Question<'_>) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + question.timeout;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    let authorization = match question.token {
        Some(token) => format!("Authorization: Bearer {}\r\n", token.expose()),
        None => String::new(),
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\r\n",
        question.path
    );
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The status line and the body (RFC 9112 §4).
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (version, rest) = head.lines().next()?.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let status = rest.split(' ').next()?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that takes one request and says `answer`; returns what the probe made of it, and the request.
    fn ask(answer: &'static str, token: Option<&Secret>) -> (Result<Answer, ProbeError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let question = Question {
            listen: listener.local_addr().expect("bound"),
            path: "/healthz",
            token,
            timeout: Duration::from_secs(20),
        };
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("accepted");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a request");
                    request.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).expect("sent");
                String::from_utf8(request).expect("text")
            });
            let answer = probe(&question);
            (answer, server.join().expect("answered"))
        })
    }

    #[test]
    fn an_answer_is_returned_whatever_its_status_is() {
        let (answer, request) = ask("HTTP/1.1 503 Busy\r\nX: y\r\n\r\n{\"a\":1}", None);
        let expected = Answer {
            status: 503,
            body: "{\"a\":1}".to_owned(),
        };
        assert_eq!(answer.expect("an answer"), expected);
        assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(!request.contains("Authorization"));
    }

    #[test]
    fn a_token_goes_along() {
        let token = Secret::new("a token");
        let (_, request) = ask("HTTP/1.1 200 OK\r\n\r\n", Some(&token));
        assert!(
            request.contains("\r\nAuthorization: Bearer a token\r\n"),
            "{request}"
        );
    }

    #[test]
    fn what_is_no_http_and_what_is_nobody_is_told_apart() {
        for answer in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 x y\r\n\r\n",
        ] {
            let (answer, _) = ask(answer, None);
            assert!(
                matches!(answer, Err(ProbeError::NoHttp { .. })),
                "{answer:?}"
            );
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let silent = Question {
            listen: listener.local_addr().expect("bound"),
            path: "/healthz",
            token: None,
            timeout: Duration::from_millis(50),
        };
        let answer = probe(&silent);
        assert!(
            matches!(answer, Err(ProbeError::TimedOut { .. })),
            "{answer:?}"
        );
        drop(listener);
        let answer = probe(&silent);
        assert!(
            matches!(answer, Err(ProbeError::Connect { .. })),
            "{answer:?}"
        );
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.3:3", "127.0.0.3:3"),
        ] {
            let of = reachable(listen.parse().expect("valid"));
            assert_eq!(of.to_string(), asked);
        }
    }
}

//! A client that says exactly what the test says, over TLS or in the clear.

use super::PATIENCE;
use super::message::{Message, Reader};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

pub struct Client {
    pub stream: Stream,
    pub reader: Reader,
}

impl Client {
    pub fn plain(addr: SocketAddr) -> Self {
        Self {
            stream: Stream::Plain(connect(addr)),
            reader: Reader::default(),
        }
    }

    /// The handshake is done when this returns.
    pub fn tls(addr: SocketAddr, name: &str, roots: RootCertStore, alpn: &[&str]) -> Self {
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, connect(addr));
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .expect("a handshake");
        }
        Self {
            stream: Stream::Tls(Box::new(stream)),
            reader: Reader::default(),
        }
    }

    pub fn alpn(&self) -> Option<String> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => {
                let protocol = stream.conn.alpn_protocol()?;
                Some(String::from_utf8_lossy(protocol).into_owned())
            }
        }
    }

    /// Sends bytes; an error is the peer's early end, which reading will show.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self
            .stream
            .write_all(bytes.as_ref())
            .and_then(|()| self.stream.flush());
    }

    /// The next answer, interim ones left out.
    pub fn answer(&mut self) -> Message {
        self.answer_to("GET")
    }

    pub fn answer_to(&mut self, method: &str) -> Message {
        loop {
            let message = self.reader.message(&mut self.stream, method == "HEAD");
            let message = message
                .expect("an answer")
                .expect("an answer before the end");
            if message.status() != 100 && message.status() != 103 {
                return message;
            }
        }
    }

    /// The head of the next answer; its body is still to come.
    pub fn answer_head(&mut self) -> Message {
        self.reader
            .head(&mut self.stream)
            .expect("a head")
            .expect("a head before the end")
    }

    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.reader
            .exactly(&mut self.stream, length)
            .expect("the bytes")
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        self.reader.until_end(&mut self.stream).expect("the end")
    }

    /// Whether the server has ended the connection without another byte.
    pub fn ended(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Says that nothing more will be sent: close_notify and FIN. An error is the peer's early end, as in `send`.
    pub fn half_close(&mut self) {
        let _ = match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream
                    .flush()
                    .and_then(|()| stream.sock.shutdown(Shutdown::Write))
            }
        };
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a socket option");
    stream
}

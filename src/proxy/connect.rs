//! A verified TLS connection to an allowed host: resolve, vet, dial, shake hands.
//!
//! Invariant: the address that is dialled is the very address that was judged; nothing is resolved twice. An address that
//! the rules deny is never sent a packet. Only `settings.resolve`, the operator's word, is dialled unjudged.

use super::Settings;
use super::resolve::{Cache, Unresolved};
use super::respond::ProxyError;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) type Stream = TlsStream<TcpStream>;

/// RFC 8305 §8, Connection Attempt Delay.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Silence on a connection after which the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What dialling needs of the settings in force.
pub(super) struct Dialer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) tls: &'a Arc<ClientConfig>,
    pub(super) names: &'a Cache,
}

impl Dialer<'_> {
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<Stream, ProxyError> {
        let addresses = self.vetted(host, port).await?;
        let wait = self.settings.timeouts.connect;
        let socket = match timeout(wait, connect(&addresses)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                tracing::debug!(target: "relayd::proxy", host, port, %error, "upstream not reached");
                return Err(ProxyError::ConnectFailed);
            }
            Err(_) => return Err(ProxyError::ConnectTimeout),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ProxyError::TlsFailed)?;
        let connector = TlsConnector::from(Arc::clone(self.tls));
        match timeout(wait, connector.connect(name, socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!(target: "relayd::proxy", host, port, %error, "upstream TLS failed");
                Err(problem(&error))
            }
            Err(_) => Err(ProxyError::TlsTimeout),
        }
    }

    /// The addresses that may be dialled, in the order in which they are tried; never none.
    async fn vetted(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ProxyError> {
        // One allocation a connection; the map's key owns its name.
        if let Some(address) = self.settings.resolve.get(&(host.to_owned(), port)) {
            return Ok(vec![*address]);
        }
        let wait = self.settings.timeouts.resolve;
        let found = match self.names.lookup(host, wait).await {
            Ok(found) => found,
            Err(Unresolved::NotFound) => return Err(ProxyError::ResolveFailed),
            Err(Unresolved::TimedOut) => return Err(ProxyError::ResolveTimeout),
        };
        let mut allowed = Vec::with_capacity(found.len());
        for ip in found.iter().copied() {
            let rule = self.settings.addresses.judge(ip);
            if rule.permits() {
                allowed.push(ip);
            } else {
                tracing::debug!(target: "relayd::proxy", host, %ip, %rule, "upstream address denied");
            }
        }
        if allowed.is_empty() {
            return Err(ProxyError::AddressDenied);
        }
        Ok(dialling_order(allowed, port))
    }
}

/// Those that are dialled of the addresses that the rules permit, in the order in which they are.
pub fn dialling_order(permitted: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let order = alternate(permitted).into_iter().take(ADDRESSES_MAX);
    order.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// RFC 8305 §4: the families take turns, each in the resolver's order.
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let total = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(total);
    while order.len() < total {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// The first connection that comes about; the next address is tried when one fails or [`STAGGER`] has passed.
pub async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut left = addresses.iter().copied();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = left.next() {
            attempts.push(Box::pin(open(address)));
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let round = poll_fn(|cx| poll_attempts(&mut attempts, cx));
        let ended = if left.len() > 0 {
            timeout(STAGGER, round).await.ok()
        } else {
            Some(round.await)
        };
        match ended {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

/// Ready when one attempt has ended; a failed one is removed.
fn poll_attempts(attempts: &mut Vec<Attempt>, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
    let ended = attempts
        .iter_mut()
        .enumerate()
        .find_map(|(index, attempt)| match attempt.as_mut().poll(cx) {
            Poll::Ready(result) => Some((index, result)),
            Poll::Pending => None,
        });
    let Some((index, result)) = ended else {
        return Poll::Pending;
    };
    drop(attempts.swap_remove(index));
    Poll::Ready(result)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    Ok(socket)
}

fn problem(error: &io::Error) -> ProxyError {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(fault)) = cause else {
        return ProxyError::TlsFailed;
    };
    match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ProxyError::TlsCertificateWrongName
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ProxyError::TlsCertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ProxyError::TlsCertificateNotYetValid
        }
        _ => ProxyError::TlsCertificateUntrusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_keep_their_order() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let order = alternate(vec![
            ip("2001:db8::1"),
            ip("2001:db8::2"),
            ip("2001:db8::3"),
            ip("192.0.2.1"),
        ]);
        assert_eq!(
            order,
            [
                ip("2001:db8::1"),
                ip("192.0.2.1"),
                ip("2001:db8::2"),
                ip("2001:db8::3")
            ]
        );
        assert!(alternate(Vec::new()).is_empty());
    }

    /// PROXY.md "Do better" 11: a WebSocket may be silent for an hour, and its upstream gone meanwhile.
    #[tokio::test]
    async fn upstream_sockets_have_no_delay_and_keepalive() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let socket = open(address).await.expect("connected");
        assert!(socket.nodelay().expect("open"));
        let socket = socket2::SockRef::from(&socket);
        assert!(socket.keepalive().expect("open"));
        assert_eq!(socket.tcp_keepalive_time().expect("open"), KEEPALIVE);
    }
}

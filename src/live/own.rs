//! The way to this machine's own listeners: which address stands for a listener, and the PROXY header where one is required.

use crate::listen;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From a load balancer that speaks for itself (the PROXY protocol, version 1): the connection's own addresses count.
const PROXY_HEADER: &[u8] = b"PROXY UNKNOWN\r\n";

/// A listener on every address is reached by loopback.
pub(super) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The same for one who wants to go there.
///
/// An error is a reason to leave a listener out. A machine whose IPv6 is switched off (`net.ipv6.conf.all.disable_ipv6`) lets a
/// server listen on `[::]` all the same, and has no loopback address by which anybody could reach it.
pub(super) fn way(listener: SocketAddr) -> Result<SocketAddr, &'static str> {
    let address = reachable(listener);
    let is_here = address == listener || UdpSocket::bind((address.ip(), 0)).is_ok();
    match (is_here, address) {
        (true, _) => Ok(address),
        (false, SocketAddr::V4(_)) => Err("this machine has no IPv4"),
        (false, SocketAddr::V6(_)) => Err("this machine has no IPv6"),
    }
}

/// Connects to a TCP or TLS listener, as somebody on this machine.
pub(super) async fn open(
    listener: SocketAddr,
    settings: &listen::Settings,
    wait: Duration,
) -> io::Result<TcpStream> {
    let open = async {
        let mut stream = TcpStream::connect(reachable(listener)).await?;
        stream.set_nodelay(true)?;
        let from = stream.local_addr()?.ip();
        let required = |net: &ipnet::IpNet| net.contains(&from);
        if settings.proxy_protocol_from.iter().any(required) {
            stream.write_all(PROXY_HEADER).await?;
        }
        Ok(stream)
    };
    timeout(wait, open)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

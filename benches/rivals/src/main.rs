//! The `turn` crate's server over UDP, as its authors show it: a rival for the benches.

use clap::Parser;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

/// Serves TURN over UDP with the `turn` crate until it is interrupted.
#[derive(Parser)]
struct Cli {
    /// Where to listen; port 0 takes any, and the address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, default_value = "u")]
    user: String,
    #[arg(long, default_value = "p")]
    password: String,
    #[arg(long, default_value = "bench")]
    realm: String,
}

struct OneUser {
    name: String,
    key: Vec<u8>,
}

impl AuthHandler for OneUser {
    fn auth_handle(
        &self,
        username: &str,
        _realm: &str,
        _from: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        if username == self.name {
            Ok(self.key.clone())
        } else {
            Err(turn::Error::ErrNoSuchUser)
        }
    }
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    let socket = Arc::new(UdpSocket::bind(cli.listen).await?);
    let addr = socket.local_addr()?;
    let user = OneUser {
        key: generate_auth_key(&cli.user, &cli.realm, &cli.password),
        name: cli.user,
    };
    let server = Server::new(ServerConfig {
        conn_configs: vec![ConnConfig {
            conn: socket,
            relay_addr_generator: Box::new(relays_on(addr.ip())),
        }],
        realm: cli.realm,
        auth_handler: Arc::new(user),
        channel_bind_timeout: Duration::ZERO,
        alloc_close_notify: None,
    })
    .await?;
    println!("{addr}");
    tokio::signal::ctrl_c().await?;
    server.close().await?;
    Ok(())
}

fn relays_on(ip: IpAddr) -> RelayAddressGeneratorStatic {
    RelayAddressGeneratorStatic {
        relay_address: ip,
        address: ip.to_string(),
        net: Arc::new(Net::new(None)),
    }
}

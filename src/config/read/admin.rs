//! `[admin]`: where health and metrics are served.

use crate::admin::Settings;
use crate::config::section::{At, Item, Table, Wrong};
use crate::config::values;
use std::net::SocketAddr;

pub(in crate::config) struct Admin {
    pub listen: Option<At<SocketAddr>>,
}

pub(in crate::config) fn read(table: &Table<'_>) -> Admin {
    let listen = match table.read("listen", listen) {
        Some(At { value, span }) => value.map(|addr| At { value: addr, span }),
        None => Settings::default().listen.map(At::absent),
    };
    Admin { listen }
}

fn listen(item: &Item<'_>) -> Result<Option<SocketAddr>, Wrong> {
    if item.maybe_text() == Some("off") {
        return Ok(None);
    }
    let addr = values::socket_addr(item)?;
    if !addr.ip().is_loopback() {
        return Err(Wrong::new(
            "is not a loopback address",
            "the admin listener asks for no credentials, so this version serves it on loopback only",
        )
        .help(format!(
            "write \"127.0.0.1:{}\", and let a local agent or a tunnel fetch /metrics; \"off\" turns it off",
            addr.port()
        )));
    }
    Ok(Some(addr))
}

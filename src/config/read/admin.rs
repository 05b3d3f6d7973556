//! `[admin]`: where health, metrics and the admin API are served, and who may ask.

use crate::admin::Settings;
use crate::config::section::{At, Draft, Item, Table, Wrong, is_reference};
use crate::config::{Surroundings, secrets, values};
use crate::secret::Secret;
use std::net::SocketAddr;

/// 16 characters of 64 kinds are 96 bits.
const TOKEN_BYTES_MIN: usize = 16;

pub(in crate::config) struct Admin {
    pub listen: Option<At<SocketAddr>>,
    pub token: Option<Secret>,
    pub coturn_metrics: bool,
}

pub(in crate::config) fn read(table: &Table<'_>, around: &Surroundings<'_>) -> Admin {
    let defaults = Settings::default();
    let token = table.read("token", |item| token(item, around));
    // A token that cannot be used is a problem of its own.
    let has_token = table.item("token").is_some();
    let listen = match table.read("listen", |item| listen(item, has_token)) {
        Some(At { value, span }) => value.map(|addr| At { value: addr, span }),
        None => defaults.listen.map(At::absent),
    };
    if let Some(At { value, span }) = &listen
        && !value.ip().to_canonical().is_loopback()
        && token.is_some()
    {
        table.reader().push(
            Draft::warning(
                format!("the admin listener {value} is served without TLS"),
                "who can listen on the network between can read the token",
            )
            .at(span.clone())
            .help("put a proxy with TLS or a tunnel before it, or keep it on loopback"),
        );
    }
    let coturn_metrics = table.read("coturn_metrics", Item::boolean);
    Admin {
        listen,
        token: token.map(|token| token.value),
        coturn_metrics: coturn_metrics.map_or(defaults.coturn_metrics, |at| at.value),
    }
}

fn listen(item: &Item<'_>, has_token: bool) -> Result<Option<SocketAddr>, Wrong> {
    if item.maybe_text() == Some("off") {
        return Ok(None);
    }
    let addr = values::socket_addr(item)?;
    if !has_token && !addr.ip().to_canonical().is_loopback() {
        return Err(Wrong::new(
            "is not a loopback address",
            "without `admin.token` everybody who reaches this address could end calls",
        )
        .help(format!(
            "write \"127.0.0.1:{}\"; or token = \"file:PATH\" beside it, a file with the output of `openssl rand -hex 32`; \"off\" turns it off",
            addr.port()
        )));
    }
    Ok(Some(addr))
}

/// Only by reference: a file that is shown around and backed up is no place for what ends calls.
fn token(item: &Item<'_>, around: &Surroundings<'_>) -> Result<Secret, Wrong> {
    if !item.maybe_text().is_some_and(is_reference) {
        item.mask_all(true);
        item.text("\"file:PATH\" or \"env:NAME\"")?;
        return Err(Wrong::new(
            "is written in the file itself",
            "accepted: \"file:PATH\" or \"env:NAME\"",
        )
        .help("put it in a file of its own, as with `openssl rand -hex 32 > admin.token`, and write \"file:admin.token\""));
    }
    let token = secrets::secret(item, around)?;
    let sendable = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !token.expose().bytes().all(sendable) {
        return Err(Wrong::new(
            "has characters that a bearer token cannot have",
            "accepted: letters, digits and -._~+/= (RFC 6750 §2.1)",
        ));
    }
    if token.expose().len() < TOKEN_BYTES_MIN {
        return Err(Wrong::new(
            "is too short",
            format!("accepted: {TOKEN_BYTES_MIN} characters or more"),
        )
        .help(
            "put a value there that nobody guesses, such as the output of `openssl rand -hex 32`",
        ));
    }
    Ok(token)
}

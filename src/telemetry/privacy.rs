//! What a log line may say about people: the one place that decides it, by the names of fields.
//!
//! - Credentials are in no field. Tokens that clients put into paths are blanked at every level.
//! - With `log.privacy`, lines of `info` and above have neither user names nor clients' addresses, whatever the level:
//!   of their fields only those pass that are known here to hold no such thing.
//!
//! A test reads every `info!`, `warn!` and `error!` of the code base: each field must have its class here, and the
//! message must be fixed text, so that nothing is said past this module.

use std::net::{IpAddr, SocketAddr};
use tracing::Level;

/// What a field is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The server, its configuration, counts, closed lists of words.
    Plain,
    /// A user name, or what clients may have put one into.
    User,
    /// The address of a client, or of the peer that it talks to.
    Address,
    /// A host that a client has named.
    Host,
    /// The path of a request.
    Path,
    /// Free text, mostly the system's.
    Prose,
    /// Lines of the operator's own file, which name users.
    Quotation,
    Unknown,
}

/// Sorted by class, and then by name.
pub(super) fn class(field: &str) -> Class {
    match field {
        "account"
        | "address"
        | "admin"
        | "allocations"
        | "allocations_max"
        // Of the operator, at the admin listener: who changed something there must be told.
        | "asked_by"
        | "authority"
        | "bytes"
        | "bytes_to_client"
        | "bytes_to_upstream"
        | "change"
        | "client_jitter_ms"
        | "client_loss_ratio"
        | "client_round_trip_ms"
        | "connections_max"
        | "duration_ms"
        | "duration_s"
        | "end"
        | "file"
        | "failures"
        | "folder"
        | "format"
        | "former"
        | "generation"
        | "got_bytes"
        | "id"
        | "ip"
        | "key"
        | "keys"
        | "left"
        | "level"
        | "lost"
        | "method"
        | "names"
        | "next"
        | "not_after"
        | "order"
        | "peer_jitter_ms"
        | "peer_loss_ratio"
        | "peer_round_trip_ms"
        | "pid"
        | "reason"
        | "relayed"
        | "repeated"
        | "request_bytes"
        | "route"
        | "result"
        | "retry_s"
        | "serving"
        | "socket"
        | "sockets"
        | "status"
        | "step"
        | "successor"
        | "tcp"
        | "threads"
        | "timeout_s"
        | "tls"
        | "to"
        | "to_client_bytes"
        | "to_client_packets"
        | "to_peer_bytes"
        | "to_peer_packets"
        | "transport"
        | "ttl_s"
        | "udp"
        | "upstream_connections_max"
        | "upstream_ms"
        | "valid_until"
        | "vendor"
        | "version"
        | "wanted_bytes"
        | "watchdog_usec"
        | "workers" => Class::Plain,
        "name" | "user" | "username" => Class::User,
        "client" | "from" | "peer" | "remote" | "source" => Class::Address,
        "host" => Class::Host,
        "path" => Class::Path,
        "cause" | "error" => Class::Prose,
        "changes" | "report" | "warning" => Class::Quotation,
        _ => Class::Unknown,
    }
}

/// Who is told: which of these a line may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    /// `log.privacy` holds for this line.
    private: bool,
}

impl Reader {
    pub fn new(level: Level, privacy: bool) -> Self {
        // `tracing` orders levels by how much they let through: ERROR is the least.
        let private = privacy && level <= Level::INFO;
        Self { private }
    }

    /// Free text without the addresses that the reader may not know.
    pub fn prose(self, text: String) -> String {
        if self.private {
            without_addresses(&text)
        } else {
            text
        }
    }
}

/// A field's text as `reader` may see it; `None` where the field is left out.
pub(super) fn shown(field: &str, text: String, reader: Reader) -> Option<String> {
    match class(field) {
        Class::Plain => Some(text),
        Class::User | Class::Address | Class::Quotation | Class::Unknown => {
            (!reader.private).then_some(text)
        }
        Class::Host if text.contains('@') => Some(BLANK.to_owned()),
        Class::Host => (!reader.private || !is_address(&text)).then_some(text),
        Class::Path if reader.private => Some(host_of_path(&text)),
        Class::Path => Some(without_tokens(&text)),
        Class::Prose => Some(reader.prose(text)),
    }
}

/// What stands where something was taken out.
const BLANK: &str = "*";
/// A run of so many characters with a digit among them is taken for a token, as is one of twice as many without: the
/// longest name of a resource in the vendors' paths has 19.
const TOKEN_LEN: usize = 20;

/// The path with everything blanked that may be a token or a password.
fn without_tokens(path: &str) -> String {
    let segments = path.split('/').enumerate().map(|(index, segment)| {
        // Segment 0 is what stands before the first slash: nothing.
        if index == 1 && is_name_of_host(segment) {
            segment.to_owned()
        } else {
            without_token(segment)
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

fn without_token(segment: &str) -> String {
    // `user:password@host`, and a JWT: base64url of `{"`.
    if segment.contains('@') || segment.starts_with("eyJ") {
        return BLANK.to_owned();
    }
    if let Some((name, _)) = segment.split_once('=') {
        return format!("{}={BLANK}", without_token(name));
    }
    let in_token = |c: char| c.is_ascii_alphanumeric() || "-_~+%".contains(c) || !c.is_ascii();
    let mut kept = String::with_capacity(segment.len());
    let mut rest = segment;
    while !rest.is_empty() {
        let end = rest.find(|c| !in_token(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let digits = run.bytes().any(|byte| byte.is_ascii_digit());
        let long = run.len() >= TOKEN_LEN && (digits || run.len() >= 2 * TOKEN_LEN);
        kept.push_str(if long { BLANK } else { run });
        let separator = after.chars().next().map_or(0, char::len_utf8);
        let (separator, after) = after.split_at(separator);
        kept.push_str(separator);
        rest = after;
    }
    kept
}

/// The path's first segment if it names a host, since the operator must see which one was refused; not the rest.
fn host_of_path(path: &str) -> String {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match (is_name_of_host(first), rest) {
        (true, "") => format!("/{first}"),
        (true, _) => format!("/{first}/{BLANK}"),
        (false, _) => format!("/{BLANK}"),
    }
}

/// A DNS name of two labels at least whose last one has letters alone, perhaps with a port: no address and no token.
fn is_name_of_host(text: &str) -> bool {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => text,
    };
    let Some((labels, top)) = name.rsplit_once('.') else {
        return false;
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_top = (2..=24).contains(&top.len()) && top.bytes().all(|b| b.is_ascii_lowercase());
    is_top && name.len() <= 253 && labels.split('.').all(is_label)
}

fn is_address(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

/// The text with every IP address in it blanked.
fn without_addresses(text: &str) -> String {
    let part_of_address = |c: char| c.is_ascii_hexdigit() || ".:[]%".contains(c);
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !part_of_address(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let bare = run.trim_end_matches(['.', ':']);
        if is_address(bare) || is_address(run) {
            kept.push_str(BLANK);
            kept.push_str(run.get(bare.len()..).unwrap_or_default());
        } else {
            kept.push_str(run);
        }
        let other = after.find(part_of_address).unwrap_or(after.len());
        let (between, after) = after.split_at(other);
        kept.push_str(between);
        rest = after;
    }
    kept
}

#[cfg(test)]
mod tests;

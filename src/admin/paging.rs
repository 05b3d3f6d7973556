//! Pages: a cursor is the place of the last item of the page before, so the server remembers nothing between pages.
//!
//! What lives all the while and keeps its place is shown exactly once, whatever begins and ends between two pages. A list by
//! a number that moves (bytes) is a picture at each page; one by `id` is complete.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::net::SocketAddr;

/// Items of a page if the request does not say, and at most.
pub(super) const LIMIT_DEFAULT: usize = 100;
pub(super) const LIMIT_MAX: usize = 1000;
/// No cursor is longer: a user name is 513 bytes at most (RFC 8489 §14.3), which JSON may write six times as long.
const CURSOR_BYTES_MAX: usize = 6 << 10;

/// A value of what a list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CursorKey {
    Number(u64),
    Text(String),
    Address(SocketAddr),
}

/// Where an item stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub key: CursorKey,
    pub id: u64,
}

impl Position {
    pub(super) fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let ascending = self.key.cmp(&other.key).then(self.id.cmp(&other.id));
        match descending {
            true => ascending.reverse(),
            false => ascending,
        }
    }
}

/// What a cursor says; it belongs to one list in one order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    list: String,
    descending: bool,
    key: CursorKey,
    id: u64,
}

/// `list` names the list and what it is sorted by.
pub(super) fn cursor(list: &str, descending: bool, last: &Position) -> String {
    let cursor = Cursor {
        list: list.to_owned(),
        descending,
        key: last.key.clone(),
        id: last.id,
    };
    BASE64.encode(serde_json::to_vec(&cursor).expect("text and numbers are JSON"))
}

/// The place that a cursor of this list in this order names.
pub(super) fn read_cursor(text: &str, list: &str, descending: bool) -> Option<Position> {
    if text.len() > CURSOR_BYTES_MAX {
        return None;
    }
    let cursor: Cursor = serde_json::from_slice(&BASE64.decode(text).ok()?).ok()?;
    let fits = cursor.list == list && cursor.descending == descending;
    fits.then_some(Position {
        key: cursor.key,
        id: cursor.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_and_order_only() {
        for key in [
            CursorKey::Number(u64::MAX),
            CursorKey::Text("a \"name\"\u{1}".repeat(60)),
            CursorKey::Address("[2001:db8::1]:7".parse().expect("valid")),
        ] {
            let position = Position { key, id: 7 };
            let text = cursor("allocations by bytes", true, &position);
            let read = |list, descending| read_cursor(&text, list, descending);
            assert_eq!(read("allocations by bytes", true), Some(position));
            assert_eq!(read("allocations by bytes", false), None);
            assert_eq!(read("allocations by id", true), None);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = "A".repeat(1 << 20);
        for text in ["", "x", "////", "e30", "bnVsbA", &long] {
            assert_eq!(read_cursor(text, "tunnels by id", false), None);
        }
    }
}

//! What the admin API is asked, and how that is written. Pure.

use http::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Stats,
    History,
    Allocations(PageQuery),
    Allocation(u64),
    Tunnels(PageQuery),
    End(Ending),
}

/// What is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Allocation(u64),
    Tunnel(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageQuery {
    pub filter: Vec<(&'static str, String)>,
    pub sort: &'static str,
    pub descending: bool,
    pub limit: usize,
    pub cursor: Option<String>,
}

impl Question {
    pub(super) fn method(&self) -> Method {
        match self {
            Self::End(_) => Method::DELETE,
            Self::Stats
            | Self::History
            | Self::Allocations(_)
            | Self::Allocation(_)
            | Self::Tunnels(_) => Method::GET,
        }
    }

    /// Path and query.
    pub(super) fn target(&self) -> String {
        match self {
            Self::Stats => "/stats".to_owned(),
            Self::History => "/history?span=1h".to_owned(),
            Self::Allocations(page) => page.target("/allocations"),
            Self::Allocation(id) | Self::End(Ending::Allocation(id)) => {
                format!("/allocations/{id}")
            }
            Self::Tunnels(page) => page.target("/tunnels"),
            Self::End(Ending::Tunnel(id)) => format!("/tunnels/{id}"),
        }
    }
}

impl PageQuery {
    fn target(&self, path: &str) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        let mut target = format!(
            "{path}?sort={}&order={order}&limit={}",
            self.sort, self.limit
        );
        let cursor = self.cursor.iter().map(|cursor| ("cursor", cursor));
        let filter = self.filter.iter().map(|(name, value)| (*name, value));
        for (name, value) in filter.chain(cursor) {
            target.push_str(&format!("&{name}={}", encode(value)));
        }
        target
    }
}

/// RFC 3986 §2.3: everything but unreserved characters is escaped.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reaches_the_server_as_it_was_typed() {
        let page = PageQuery {
            filter: vec![
                ("user", "a b&c=é".to_owned()),
                ("client", "[::1]:4".to_owned()),
            ],
            sort: "trouble",
            descending: true,
            limit: 20,
            cursor: Some("eyJ_-".to_owned()),
        };
        assert_eq!(
            Question::Allocations(page).target(),
            "/allocations?sort=trouble&order=desc&limit=20&user=a%20b%26c%3D%C3%A9&client=%5B%3A%3A1%5D%3A4&cursor=eyJ_-"
        );
    }

    #[test]
    fn ending_names_one_thing_by_its_id() {
        let end = Question::End(Ending::Tunnel(7));
        assert_eq!(
            (end.method(), end.target().as_str()),
            (Method::DELETE, "/tunnels/7")
        );
        let end = Question::End(Ending::Allocation(8));
        assert_eq!(
            (end.method(), end.target().as_str()),
            (Method::DELETE, "/allocations/8")
        );
        assert_eq!(Question::Allocation(8).method(), Method::GET);
    }
}

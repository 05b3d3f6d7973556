//! The rows of a list that are seen, and what each carries in a second. Pure.

use super::answers::{Allocation, Flow, Moment, Page, Tunnel};
use super::rates::{FlowRate, Span};
use super::walk::{Sort, Walk};
use std::collections::BTreeMap;

/// Something that a list shows.
pub(super) trait Row {
    fn id(&self) -> u64;
    /// What has been carried towards the far side, and towards the client.
    fn flows(&self) -> [Flow; 2];
}

impl Row for Allocation {
    fn id(&self) -> u64 {
        self.id
    }

    fn flows(&self) -> [Flow; 2] {
        [self.to_peer, self.to_client]
    }
}

impl Row for Tunnel {
    fn id(&self) -> u64 {
        self.id
    }

    fn flows(&self) -> [Flow; 2] {
        [self.bytes_to_upstream, self.bytes_to_client].map(|bytes| Flow {
            packets: None,
            bytes,
        })
    }
}

pub(super) struct List<T> {
    pub walk: Walk,
    pub rows: Vec<T>,
    /// By ID; of those that two answers had.
    pub rates: BTreeMap<u64, [FlowRate; 2]>,
    counted: BTreeMap<u64, [Flow; 2]>,
    counted_at: Moment,
}

impl<T: Row> List<T> {
    pub(super) fn new(sorts: &'static [Sort]) -> Self {
        Self {
            walk: Walk::new(sorts),
            rows: Vec::new(),
            rates: BTreeMap::new(),
            counted: BTreeMap::new(),
            counted_at: Moment::default(),
        }
    }

    pub(super) fn selected(&self) -> Option<&T> {
        self.rows.get(self.walk.selected)
    }

    /// Nothing that is shown is there any more.
    pub(super) fn forget(&mut self) {
        self.rows.clear();
        self.rates.clear();
    }

    /// Takes the answer to the walk's question. Returns whether to ask again.
    pub(super) fn take(&mut self, page: Page<T>) -> bool {
        self.rows = page.rows;
        self.count(page.moment);
        if self.walk.is_from_end() {
            self.rows.reverse();
        }
        let ids = self.rows.iter().map(Row::id).collect();
        self.walk.take(ids, page.total, page.next)
    }

    fn count(&mut self, moment: Moment) {
        let span = Span::between(self.counted_at, moment);
        let rate = |row: &T| {
            let ([far, near], [old_far, old_near]) = (row.flows(), self.counted.get(&row.id())?);
            let span = span?;
            Some((
                row.id(),
                [span.flow(*old_far, far), span.flow(*old_near, near)],
            ))
        };
        self.rates = self.rows.iter().filter_map(rate).collect();
        self.counted = self
            .rows
            .iter()
            .map(|row| (row.id(), row.flows()))
            .collect();
        self.counted_at = moment;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::key::Key;
    use crate::top::question::PageQuery;
    use crate::top::walk::ALLOCATION_SORTS;

    /// A server with so many allocations, sorted by their numbers.
    struct Server(Vec<u64>);

    impl Server {
        fn answer(&self, query: &PageQuery, uptime_s: f64) -> Page<Allocation> {
            let mut ids = self.0.clone();
            if query.descending {
                ids.reverse();
            }
            let after = query
                .cursor
                .as_ref()
                .map(|cursor| cursor.parse::<u64>().expect("mine"));
            let is_after = |id: &u64| match (after, query.descending) {
                (None, _) => true,
                (Some(after), false) => *id > after,
                (Some(after), true) => *id < after,
            };
            let left: Vec<u64> = ids.into_iter().filter(is_after).collect();
            let page: Vec<u64> = left.iter().copied().take(query.limit).collect();
            let rows = page.iter().map(|id| Allocation {
                id: *id,
                to_peer: Flow {
                    packets: Some(1),
                    bytes: Some((uptime_s * 100.0) as u64),
                },
                ..Allocation::default()
            });
            Page {
                moment: Moment {
                    time: None,
                    uptime_s: Some(uptime_s),
                },
                total: Some(self.0.len() as u64),
                next: (left.len() > page.len()).then(|| page.last().expect("some").to_string()),
                rows: rows.collect(),
            }
        }

        fn refresh(&self, list: &mut List<Allocation>) {
            let page = self.answer(&list.walk.query(), 1.0);
            list.take(page);
        }
    }

    fn list(count: u64) -> (Server, List<Allocation>) {
        let server = Server((1..=count).collect());
        let mut list = List::new(ALLOCATION_SORTS);
        assert!(list.walk.sort_by_name("id"));
        list.walk.resize(10);
        server.refresh(&mut list);
        (server, list)
    }

    fn ids(list: &List<Allocation>) -> (u64, u64, u64) {
        let id = |row: Option<&Allocation>| row.map_or(0, |row| row.id);
        (
            id(list.rows.first()),
            id(list.rows.last()),
            id(list.selected()),
        )
    }

    #[test]
    fn ten_thousand_are_walked_a_page_at_a_time_from_both_ends() {
        let (server, mut list) = list(10_000);
        let mut go = |key: Key| {
            if list.walk.go(key) {
                server.refresh(&mut list);
            }
            assert!(list.rows.len() <= 10);
            (ids(&list), list.walk.shown)
        };
        assert_eq!(go(Key::PageDown), ((1, 10, 10), Some((1, 10))));
        assert_eq!(go(Key::Down), ((11, 20, 11), Some((11, 20))));
        assert_eq!(go(Key::Up), ((1, 10, 10), Some((1, 10))));
        assert_eq!(go(Key::End), ((9991, 10_000, 10_000), Some((9991, 10_000))));
        assert_eq!(
            go(Key::Down),
            ((9991, 10_000, 10_000), Some((9991, 10_000)))
        );
        go(Key::PageUp);
        assert_eq!(go(Key::PageUp), ((9981, 9990, 9990), Some((9981, 9990))));
        assert_eq!(go(Key::Down), ((9991, 10_000, 9991), Some((9991, 10_000))));
        assert_eq!(go(Key::Home), ((1, 10, 1), Some((1, 10))));
        assert_eq!(go(Key::Up), ((1, 10, 1), Some((1, 10))));
    }

    #[test]
    fn every_one_is_met_exactly_once_on_the_way_down_and_up() {
        for count in [0, 1, 9, 10, 11, 35] {
            let (server, mut list) = list(count);
            let mut met = Vec::new();
            for _ in 0..count {
                met.extend(list.selected().map(|row| row.id));
                if list.walk.go(Key::Down) {
                    server.refresh(&mut list);
                }
            }
            assert_eq!(met, server.0);
            if list.walk.go(Key::End) {
                server.refresh(&mut list);
            }
            met.clear();
            for _ in 0..count {
                met.extend(list.selected().map(|row| row.id));
                if list.walk.go(Key::Up) {
                    server.refresh(&mut list);
                }
            }
            met.reverse();
            assert_eq!(met, server.0);
        }
    }

    #[test]
    fn the_selected_one_stays_selected_wherever_it_moves() {
        let (mut server, mut list) = list(8);
        list.walk.go(Key::Down);
        list.walk.go(Key::Down);
        assert_eq!(list.selected().map(|row| row.id), Some(3));
        server.0.remove(0);
        server.refresh(&mut list);
        assert_eq!(list.selected().map(|row| row.id), Some(3));
        server.0.retain(|id| *id != 3);
        server.refresh(&mut list);
        assert_eq!(
            list.selected().map(|row| row.id),
            Some(4),
            "what took its place"
        );
        server.0.clear();
        server.refresh(&mut list);
        assert!(list.selected().is_none());
    }

    #[test]
    fn a_page_that_has_ended_leads_back_to_the_one_before() {
        let (mut server, mut list) = list(12);
        list.walk.go(Key::End);
        list.walk.go(Key::Home);
        server.refresh(&mut list);
        list.walk.go(Key::PageDown);
        assert!(list.walk.go(Key::Down));
        server.refresh(&mut list);
        assert_eq!(ids(&list), (11, 12, 11));
        server.0.truncate(4);
        server.refresh(&mut list);
        server.refresh(&mut list);
        assert_eq!(ids(&list), (1, 4, 4));
    }

    #[test]
    fn rates_of_rows_come_from_two_answers_of_one_server() {
        let (server, mut list) = list(3);
        assert!(list.rates.is_empty());
        list.take(server.answer(&list.walk.query(), 3.0));
        assert_eq!(list.rates[&1][0].bits, Some(800.0));
        assert_eq!(list.rates[&1][1].bits, None);
        list.take(server.answer(&list.walk.query(), 0.5));
        assert!(list.rates.is_empty(), "the server has started anew");
    }

    #[test]
    fn sorts_are_stepped_through_in_their_own_ways() {
        let (_, mut list) = list(3);
        list.walk.sort_by(0);
        assert_eq!(
            (list.walk.sort_name(), list.walk.descending),
            ("trouble", true)
        );
        list.walk.sort_step(false);
        assert_eq!((list.walk.sort_name(), list.walk.descending), ("id", false));
        list.walk.sort_step(true);
        assert_eq!(list.walk.sort_name(), "trouble");
        list.walk.reverse();
        assert!(!list.walk.descending);
        assert!(!list.walk.sort_by_name("colour"));
    }
}

//! The way through a list that the server sorts, filters and pages; only the page that is seen is known. Pure.
//!
//! Pages are walked by the server's cursors, from the beginning or from the end: those from the end are asked for in the
//! opposite order and turned round. So the last of ten thousand costs as much as the first.

use super::filter::Pairs;
use super::key::Key;
use super::question::PageQuery;

/// Rows that a page has at least, so that a tiny window does not ask at each key.
const ROWS_MIN: usize = 5;
/// And at most: the API's own limit.
const ROWS_MAX: usize = 1000;

/// What a list can be sorted by: the API's name, the way in which the interesting ones come first, and what it means.
pub(super) struct Sort {
    pub name: &'static str,
    pub descending: bool,
    pub meaning: &'static str,
}

const fn sort(name: &'static str, descending: bool, meaning: &'static str) -> Sort {
    Sort {
        name,
        descending,
        meaning,
    }
}

pub(super) const ALLOCATION_SORTS: &[Sort] = &[
    sort("trouble", true, "trouble with the call"),
    sort("bytes", true, "bytes relayed, both ways"),
    sort("packets", true, "packets relayed, both ways"),
    sort("to_peer_bytes", true, "bytes to peers"),
    sort("to_client_bytes", true, "bytes to the client"),
    sort("age", false, "age"),
    sort("lifetime", false, "time until it ends unless refreshed"),
    sort("user", false, "user name"),
    sort("client", false, "client's address"),
    sort("id", false, "number"),
];

pub(super) const TUNNEL_SORTS: &[Sort] = &[
    sort("age", false, "age"),
    sort("idle", true, "time without a byte"),
    sort("bytes", true, "bytes carried, both ways"),
    sort("id", false, "number"),
];

/// Where a page begins: after which row, and after how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Start {
    cursor: Option<String>,
    offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Landing {
    First,
    Last,
}

pub(super) struct Walk {
    pub sorts: &'static [Sort],
    /// Index into `sorts`.
    pub sort: usize,
    pub descending: bool,
    /// As it was typed.
    pub filter_text: String,
    /// Index of a row that is seen.
    pub selected: usize,
    /// On all pages.
    pub total: Option<u64>,
    /// The numbers of the rows that are seen, from 1; `None` without rows.
    pub shown: Option<(u64, u64)>,
    /// Why the server does not answer to this sort and filter.
    pub refused: Option<String>,
    filter: Pairs,
    /// Of the rows that are seen, in their order.
    ids: Vec<u64>,
    /// Rows that can be seen.
    height: usize,
    /// The API's cursor of the page after this one, away from where the walk began.
    next: Option<String>,
    /// Never empty; the last one is the page that is seen.
    starts: Vec<Start>,
    from_end: bool,
    /// Where the selection goes with the answer that is awaited.
    landing: Option<Landing>,
    selected_id: Option<u64>,
}

impl Walk {
    pub(super) fn new(sorts: &'static [Sort]) -> Self {
        Self {
            sorts,
            sort: 0,
            descending: sorts.first().is_some_and(|sort| sort.descending),
            filter_text: String::new(),
            selected: 0,
            total: None,
            shown: None,
            refused: None,
            filter: Pairs::new(),
            ids: Vec::new(),
            height: ROWS_MIN,
            next: None,
            starts: vec![Start::default()],
            from_end: false,
            landing: None,
            selected_id: None,
        }
    }

    pub(super) fn query(&self) -> PageQuery {
        PageQuery {
            filter: self.filter.clone(),
            sort: self.sort_name(),
            descending: self.descending != self.from_end,
            limit: self.height,
            cursor: self.start().cursor,
        }
    }

    pub(super) fn sort_name(&self) -> &'static str {
        self.sorts.get(self.sort).map_or("id", |sort| sort.name)
    }

    /// Rows that can be seen. Returns whether another page is wanted.
    pub(super) fn resize(&mut self, height: usize) -> bool {
        let before = self.height;
        self.height = height.clamp(ROWS_MIN, ROWS_MAX);
        self.height > before && self.next.is_some()
    }

    /// Sorts by another one of `sorts`, in the way in which the interesting ones come first.
    pub(super) fn sort_by(&mut self, index: usize) {
        let Some(sort) = self.sorts.get(index) else {
            return;
        };
        self.sort = index;
        self.descending = sort.descending;
        self.begin(false);
    }

    /// The sort of this name, if there is one.
    pub(super) fn sort_by_name(&mut self, name: &str) -> bool {
        let found = self.sorts.iter().position(|sort| sort.name == name);
        if let Some(index) = found {
            self.sort_by(index);
        }
        found.is_some()
    }

    /// The sort after or before this one. Returns whether another page is wanted, which is so.
    pub(super) fn sort_step(&mut self, forward: bool) -> bool {
        let count = self.sorts.len().max(1);
        let step = if forward { 1 } else { count - 1 };
        self.sort_by((self.sort + step) % count);
        true
    }

    /// The other way round. Returns whether another page is wanted, which is so.
    pub(super) fn reverse(&mut self) -> bool {
        self.descending = !self.descending;
        self.begin(false);
        true
    }

    pub(super) fn filter_by(&mut self, text: String, filter: Pairs) {
        self.filter = filter;
        self.filter_text = text;
        self.begin(false);
    }

    /// Whether the rows of an answer come in the opposite order.
    pub(super) fn is_from_end(&self) -> bool {
        self.from_end
    }

    /// Takes what an answer to [`Walk::query`] says, its rows in the order in which they are shown. Returns whether to ask
    /// again: what was there has ended.
    pub(super) fn take(&mut self, ids: Vec<u64>, total: Option<u64>, next: Option<String>) -> bool {
        self.ids = ids;
        self.total = total;
        self.next = next;
        self.refused = None;
        self.shown = self.numbers();
        self.selected = self.place_of_selection();
        self.remember();
        let is_empty = self.ids.is_empty() && self.starts.len() > 1;
        if is_empty {
            self.starts.pop();
            self.landing = Some(match self.from_end {
                false => Landing::Last,
                true => Landing::First,
            });
        }
        is_empty
    }

    /// Nothing is shown until sort or filter are others.
    pub(super) fn refuse(&mut self, message: String) {
        self.take(Vec::new(), None, None);
        self.refused = Some(message);
    }

    /// Moves by a key of the arrows' kind. Returns whether another page is wanted.
    pub(super) fn go(&mut self, key: Key) -> bool {
        let last = self.ids.len().saturating_sub(1);
        let page = self.height.saturating_sub(1).max(1);
        let before = self.starts.clone();
        let begun = self.from_end;
        match key {
            Key::Up if self.selected == 0 => self.turn(false),
            Key::Up => self.selected -= 1,
            Key::Down if self.selected >= last => self.turn(true),
            Key::Down => self.selected += 1,
            Key::PageUp if self.selected == 0 => self.turn(false),
            Key::PageUp => self.selected = self.selected.saturating_sub(page),
            Key::PageDown if self.selected >= last => self.turn(true),
            Key::PageDown => self.selected = (self.selected + page).min(last),
            Key::Home if self.is_settled() && self.is_first_page() => self.selected = 0,
            Key::Home => self.begin(false),
            Key::End if self.is_settled() && self.is_last_page() => self.selected = last,
            Key::End => self.begin(true),
            _ => {}
        }
        let turned = self.starts != before || self.from_end != begun;
        if !turned {
            self.remember();
        }
        turned
    }

    /// Whether the rows are those that were asked for last.
    fn is_settled(&self) -> bool {
        self.landing.is_none()
    }

    fn is_first_page(&self) -> bool {
        match self.from_end {
            false => self.starts.len() == 1,
            true => self.next.is_none(),
        }
    }

    fn is_last_page(&self) -> bool {
        match self.from_end {
            false => self.next.is_none(),
            true => self.starts.len() == 1,
        }
    }

    /// To the page after or before this one.
    fn turn(&mut self, towards_end: bool) {
        let landing = if towards_end {
            Landing::First
        } else {
            Landing::Last
        };
        if towards_end == self.from_end {
            if self.starts.len() > 1 {
                self.starts.pop();
                self.land(landing);
            }
        } else if let Some(cursor) = self.next.take() {
            let offset = self.start().offset + self.ids.len() as u64;
            let cursor = Some(cursor);
            self.starts.push(Start { cursor, offset });
            self.land(landing);
        }
    }

    /// Walks anew, from one end.
    fn begin(&mut self, from_end: bool) {
        self.from_end = from_end;
        self.starts = vec![Start::default()];
        self.next = None;
        self.refused = None;
        self.land(if from_end {
            Landing::Last
        } else {
            Landing::First
        });
    }

    fn land(&mut self, landing: Landing) {
        self.landing = Some(landing);
    }

    fn numbers(&self) -> Option<(u64, u64)> {
        let count = self.ids.len() as u64;
        let offset = self.start().offset;
        let first = match self.from_end {
            false => offset,
            true => self.total?.saturating_sub(offset + count),
        };
        (count > 0).then_some((first + 1, first + count))
    }

    fn start(&self) -> Start {
        self.starts.last().cloned().unwrap_or_default()
    }

    /// The row that was selected stays so, wherever it has moved to.
    fn place_of_selection(&mut self) -> usize {
        let last = self.ids.len().saturating_sub(1);
        match self.landing.take() {
            Some(Landing::First) => 0,
            Some(Landing::Last) => last,
            None => {
                let id = self.selected_id;
                let same = self.ids.iter().position(|one| Some(*one) == id);
                same.unwrap_or(self.selected).min(last)
            }
        }
    }

    fn remember(&mut self) {
        self.selected_id = self.ids.get(self.selected).copied();
    }
}

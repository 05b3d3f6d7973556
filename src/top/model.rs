//! What is known, what is shown and what is asked next. Pure: time is passed in, questions are returned.

use super::answers::{Allocation, Moment, One, Tunnel};
use super::client::{Answer, Trouble};
use super::editor::Editor;
use super::filter::{Kind, Pairs};
use super::list::List;
use super::numbers::Numbers;
use super::question::{Ending, Question};
use super::rates::{FlowRate, Span};
use super::text::Clean;
use super::view::Seen;
use super::walk::{ALLOCATION_SORTS, TUNNEL_SORTS, Walk};
use std::time::Duration;

/// Questions that may be under way at once.
const UNDER_WAY_MAX: usize = 8;
/// How long a notice stays.
const NOTICE_FOR: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Allocations,
    /// Of the allocation that `Model::detail` holds.
    Detail,
    Tunnels,
    Upstreams,
    Drops,
    Help,
}

pub(super) enum Popup {
    /// Index into the walk's sorts.
    Sort(usize),
    Confirm {
        ending: Ending,
        text: String,
    },
    Filter {
        kind: Kind,
        editor: Editor,
        wrong: Option<String>,
    },
}

/// What the driver is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Ask(Question),
    Quit,
    /// As Ctrl-Z does.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

pub(super) struct Detail {
    pub id: u64,
    pub allocation: Option<Allocation>,
    /// To the peer and to the client.
    pub rates: [FlowRate; 2],
    pub has_ended: bool,
    counted_at: Moment,
}

/// Whether the server answers.
#[derive(Default)]
pub(super) struct Link {
    pub good_at: Option<Duration>,
    pub trouble: Option<Trouble>,
}

pub(super) struct Model {
    pub screen: Screen,
    pub popup: Option<Popup>,
    pub allocations: List<Allocation>,
    pub tunnels: List<Tunnel>,
    pub detail: Option<Detail>,
    pub numbers: Numbers,
    pub link: Link,
    pub place: Clean,
    pub interval: Duration,
    pub paused: bool,
    /// First line that is seen of a screen without a list.
    pub scroll: usize,
    /// The last line that may be first, and lines that a page has: by the last drawing.
    pub scroll_max: usize,
    pub page_lines: usize,
    /// Since the program began.
    pub now: Duration,
    notice: Option<(String, Duration)>,
    under_way: Vec<Question>,
}

impl Model {
    pub(super) fn new(place: Clean, interval: Duration) -> Self {
        Self {
            screen: Screen::Allocations,
            popup: None,
            allocations: List::new(ALLOCATION_SORTS),
            tunnels: List::new(TUNNEL_SORTS),
            detail: None,
            numbers: Numbers::default(),
            link: Link::default(),
            place,
            interval,
            paused: false,
            scroll: 0,
            scroll_max: 0,
            page_lines: 1,
            now: Duration::ZERO,
            notice: None,
            under_way: Vec::new(),
        }
    }

    /// Learns what a drawing had room for; a list with more room than it has rows for is asked for again.
    pub(super) fn saw(&mut self, seen: Seen) -> Vec<Effect> {
        self.scroll_max = seen.scroll_max;
        self.scroll = self.scroll.min(seen.scroll_max);
        self.page_lines = seen.page_lines.max(1);
        match self.kind() {
            Some(kind) if self.walk_of(kind).resize(seen.rows) => self.ask_for_screen(),
            Some(_) | None => Vec::new(),
        }
    }

    /// What is asked at each interval.
    pub(super) fn tick(&mut self) -> Vec<Effect> {
        if self.paused {
            return Vec::new();
        }
        let mut asked = self.ask(Question::Stats);
        // While nobody answers, one question tells when it is over; a wrong token is not tried more often than that.
        if self.link.trouble.is_none() {
            asked.extend(self.ask_for_screen());
        }
        asked
    }

    /// What the screen needs beside the numbers.
    pub(super) fn ask_for_screen(&mut self) -> Vec<Effect> {
        match self.screen {
            Screen::Allocations => self.ask(Question::Allocations(self.allocations.walk.query())),
            Screen::Tunnels => self.ask(Question::Tunnels(self.tunnels.walk.query())),
            Screen::Detail => match &self.detail {
                Some(detail) if !detail.has_ended => self.ask(Question::Allocation(detail.id)),
                Some(_) | None => Vec::new(),
            },
            Screen::Upstreams | Screen::Drops | Screen::Help => Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, question: Question) -> Vec<Effect> {
        if self.under_way.contains(&question) || self.under_way.len() >= UNDER_WAY_MAX {
            return Vec::new();
        }
        self.under_way.push(question.clone());
        vec![Effect::Ask(question)]
    }

    pub(super) fn take(
        &mut self,
        question: &Question,
        answer: Result<Answer, Trouble>,
    ) -> Vec<Effect> {
        self.under_way.retain(|other| other != question);
        match answer {
            Ok(answer) => {
                let was_away = self.link.trouble.take().is_some();
                self.link.good_at = Some(self.now);
                let mut asked = self.take_answer(question, answer);
                if was_away {
                    asked.extend(self.ask_for_screen());
                }
                asked
            }
            Err(trouble) => self.take_trouble(question, trouble),
        }
    }

    fn take_answer(&mut self, question: &Question, answer: Answer) -> Vec<Effect> {
        match (question, answer) {
            (Question::Stats, Answer::Stats(stats)) => {
                let is_other = self.numbers.take(*stats);
                let mut asked = match is_other {
                    true => self.start_anew(),
                    false => Vec::new(),
                };
                if self.numbers.wants_history() {
                    asked.extend(self.ask(Question::History));
                }
                return asked;
            }
            (Question::History, Answer::History(history)) => self.numbers.take_history(&history),
            (Question::Allocations(query), Answer::Allocations(page)) => {
                let is_awaited = *query == self.allocations.walk.query();
                if is_awaited && self.allocations.take(page) {
                    return self.ask_for_screen();
                }
            }
            (Question::Tunnels(query), Answer::Tunnels(page)) => {
                let is_awaited = *query == self.tunnels.walk.query();
                if is_awaited && self.tunnels.take(page) {
                    return self.ask_for_screen();
                }
            }
            (Question::Allocation(id), Answer::Allocation(one)) => {
                if let Some(detail) = self.detail.as_mut().filter(|detail| detail.id == *id) {
                    detail.take(*one);
                }
            }
            (Question::End(ending), Answer::Ended) => {
                self.note(format!("{} has ended", ending.name()));
                return self.ask_for_screen();
            }
            // The client answers each question with its own kind.
            _ => {}
        }
        Vec::new()
    }

    /// Another process is behind the address: an ID that was seen is nobody's, or somebody else's.
    fn start_anew(&mut self) -> Vec<Effect> {
        if matches!(self.popup, Some(Popup::Confirm { .. })) {
            self.popup = None;
        }
        if let Some(detail) = &mut self.detail {
            detail.has_ended = true;
        }
        self.allocations.forget();
        self.tunnels.forget();
        self.note("the server has started anew".to_owned());
        self.ask_for_screen()
    }

    fn take_trouble(&mut self, question: &Question, trouble: Trouble) -> Vec<Effect> {
        match (question, trouble) {
            (
                Question::History,
                Trouble::NotFound | Trouble::NotRelayd | Trouble::Refused { .. },
            ) => self.numbers.lacks_history(),
            // Asked for again with the next numbers.
            (Question::History, _) => {}
            (Question::Allocation(id), Trouble::NotFound) => {
                if let Some(detail) = self.detail.as_mut().filter(|detail| detail.id == *id) {
                    detail.has_ended = true;
                }
            }
            (Question::End(ending), Trouble::NotFound) => {
                self.note(format!("{} had ended already", ending.name()));
                return self.ask_for_screen();
            }
            (Question::End(ending), trouble) => {
                let reason = trouble.sentence();
                self.note(format!("{} was not ended: {reason}", ending.name()));
            }
            (
                Question::Allocations(_),
                Trouble::Refused {
                    status: 400,
                    message,
                },
            ) => {
                return self.refused(Kind::Allocations, &message);
            }
            (
                Question::Tunnels(_),
                Trouble::Refused {
                    status: 400,
                    message,
                },
            ) => {
                return self.refused(Kind::Tunnels, &message);
            }
            (_, trouble) => self.link.trouble = Some(trouble),
        }
        Vec::new()
    }

    /// A sort that an older server has not got gives way to one that all have; a filter is the user's to correct.
    fn refused(&mut self, kind: Kind, message: &Clean) -> Vec<Effect> {
        let walk = self.walk_of(kind);
        if message.as_str().starts_with("`sort`") && walk.sort_name() != "id" {
            let asked = walk.sort_name();
            walk.sort_by_name(if asked == "bytes" { "id" } else { "bytes" });
            self.note(format!("this server does not sort by {asked}"));
            return self.ask_for_screen();
        }
        walk.refuse(message.to_string());
        Vec::new()
    }

    pub(super) fn walk_of(&mut self, kind: Kind) -> &mut Walk {
        match kind {
            Kind::Allocations => &mut self.allocations.walk,
            Kind::Tunnels => &mut self.tunnels.walk,
        }
    }

    /// Which list the screen shows, if it shows one.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.screen {
            Screen::Allocations => Some(Kind::Allocations),
            Screen::Tunnels => Some(Kind::Tunnels),
            Screen::Detail | Screen::Upstreams | Screen::Drops | Screen::Help => None,
        }
    }

    pub(super) fn show(&mut self, screen: Screen) -> Vec<Effect> {
        self.screen = screen;
        self.scroll = 0;
        self.ask_for_screen()
    }

    pub(super) fn open(&mut self, id: u64) -> Vec<Effect> {
        self.detail = Some(Detail {
            id,
            allocation: None,
            rates: [FlowRate::default(); 2],
            has_ended: false,
            counted_at: Moment::default(),
        });
        self.show(Screen::Detail)
    }

    pub(super) fn filter(&mut self, kind: Kind, text: String, filter: Pairs) {
        self.walk_of(kind).filter_by(text, filter);
    }

    pub(super) fn note(&mut self, text: String) {
        self.notice = Some((text, self.now + NOTICE_FOR));
    }

    pub(super) fn notice(&self) -> Option<&str> {
        let (text, until) = self.notice.as_ref()?;
        (self.now < *until).then_some(text.as_str())
    }

    /// How old what is shown is.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(self.now.saturating_sub(self.link.good_at?))
    }
}

impl Detail {
    fn take(&mut self, one: One) {
        // What has the same ID there is somebody else's.
        if self.has_ended || one.moment.is_of_another_process(self.counted_at) {
            self.has_ended = true;
            return;
        }
        let span = Span::between(self.counted_at, one.moment);
        let rates = self.allocation.as_ref().zip(span).map(|(old, span)| {
            let new = &one.allocation;
            [
                span.flow(old.to_peer, new.to_peer),
                span.flow(old.to_client, new.to_client),
            ]
        });
        self.rates = rates.unwrap_or_default();
        self.counted_at = one.moment;
        self.allocation = Some(one.allocation);
    }
}

impl Ending {
    fn name(self) -> String {
        match self {
            Self::Allocation(id) => format!("allocation {id}"),
            Self::Tunnel(id) => format!("tunnel {id}"),
        }
    }
}

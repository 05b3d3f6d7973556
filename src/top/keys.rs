//! What each key does. Pure.

use super::editor::Editor;
use super::filter::{self, Kind};
use super::key::Key;
use super::model::{Effect, Model, Popup, Screen};
use super::question::{Ending, Question};
use std::time::Duration;

/// What + and - step through.
const INTERVALS_MS: [u64; 8] = [500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000];

impl Model {
    pub(super) fn key(&mut self, key: Key) -> Vec<Effect> {
        match key {
            Key::Control('c') => return vec![Effect::Quit],
            Key::Control('z') => return vec![Effect::Suspend],
            Key::Control('l') => return vec![Effect::Redraw],
            _ => {}
        }
        match self.popup.take() {
            Some(popup) => self.key_of_popup(popup, key),
            None => self.key_of_screen(key),
        }
    }

    fn key_of_screen(&mut self, key: Key) -> Vec<Effect> {
        match key {
            Key::Char('q') => vec![Effect::Quit],
            Key::Escape => self.back(),
            Key::Char('?' | 'h') => self.toggle(Screen::Help),
            Key::Char('a') => self.show(Screen::Allocations),
            Key::Char('t') => self.toggle(Screen::Tunnels),
            Key::Char('u') => self.toggle(Screen::Upstreams),
            Key::Char('d') => self.toggle(Screen::Drops),
            Key::Char('p') => self.pause(),
            Key::Char('+' | '=') => self.step_interval(true),
            Key::Char('-') => self.step_interval(false),
            Key::Char('x' | 'K') | Key::Delete => self.confirm(),
            Key::Enter => self.enter(),
            key => match self.kind() {
                Some(kind) => self.key_of_list(kind, key),
                None => self.scroll_by(key),
            },
        }
    }

    fn key_of_list(&mut self, kind: Kind, key: Key) -> Vec<Effect> {
        let walk = self.walk_of(kind);
        let wanted = match key {
            Key::Char('s') => {
                self.popup = Some(Popup::Sort(walk.sort));
                false
            }
            Key::Char('/') => {
                let editor = Editor::new(&walk.filter_text);
                self.popup = Some(Popup::Filter {
                    kind,
                    editor,
                    wrong: None,
                });
                false
            }
            Key::Char('<') => walk.sort_step(false),
            Key::Char('>') => walk.sort_step(true),
            Key::Char('r') => walk.reverse(),
            key => walk.go(as_arrow(key)),
        };
        match wanted {
            true => self.ask_for_screen(),
            false => Vec::new(),
        }
    }

    fn scroll_by(&mut self, key: Key) -> Vec<Effect> {
        self.scroll = match as_arrow(key) {
            Key::Up => self.scroll.saturating_sub(1),
            Key::Down => self.scroll + 1,
            Key::PageUp => self.scroll.saturating_sub(self.page_lines),
            Key::PageDown => self.scroll + self.page_lines,
            Key::Home => 0,
            Key::End => usize::MAX,
            _ => self.scroll,
        }
        .min(self.scroll_max);
        Vec::new()
    }

    fn back(&mut self) -> Vec<Effect> {
        match self.screen {
            Screen::Allocations => Vec::new(),
            Screen::Detail | Screen::Tunnels | Screen::Upstreams | Screen::Drops | Screen::Help => {
                self.show(Screen::Allocations)
            }
        }
    }

    /// To a screen, and from it back to the allocations.
    fn toggle(&mut self, screen: Screen) -> Vec<Effect> {
        match self.screen == screen {
            true => self.show(Screen::Allocations),
            false => self.show(screen),
        }
    }

    fn pause(&mut self) -> Vec<Effect> {
        self.paused = !self.paused;
        self.tick()
    }

    fn step_interval(&mut self, longer: bool) -> Vec<Effect> {
        let now = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let mut steps = INTERVALS_MS.into_iter();
        let next = match longer {
            true => steps.find(|step| *step > now),
            false => steps.rev().find(|step| *step < now),
        };
        if let Some(next) = next {
            self.interval = Duration::from_millis(next);
        }
        Vec::new()
    }

    fn enter(&mut self) -> Vec<Effect> {
        let selected = self.allocations.selected().map(|row| row.id);
        match (self.screen, selected) {
            (Screen::Allocations, Some(id)) => self.open(id),
            _ => Vec::new(),
        }
    }

    /// Asks whether to end what is selected, by a name that cannot be mistaken.
    fn confirm(&mut self) -> Vec<Effect> {
        let allocation = match self.screen {
            Screen::Allocations => self.allocations.selected(),
            Screen::Detail => self
                .detail
                .as_ref()
                .filter(|detail| !detail.has_ended)
                .and_then(|detail| detail.allocation.as_ref()),
            Screen::Tunnels | Screen::Upstreams | Screen::Drops | Screen::Help => None,
        };
        let allocation = allocation.map(|one| {
            let text = format!(
                "End allocation {} of {}, {} from {}?",
                one.id, one.user, one.transport, one.client
            );
            (Ending::Allocation(one.id), text)
        });
        let tunnel = self.tunnels.selected();
        let tunnel = tunnel
            .filter(|_| self.screen == Screen::Tunnels)
            .map(|one| {
                let text = format!("End tunnel {} of {} to {}?", one.id, one.client, one.host);
                (Ending::Tunnel(one.id), text)
            });
        if let Some((ending, text)) = allocation.or(tunnel) {
            self.popup = Some(Popup::Confirm { ending, text });
        }
        Vec::new()
    }

    fn key_of_popup(&mut self, popup: Popup, key: Key) -> Vec<Effect> {
        match popup {
            Popup::Confirm { ending, text } => match key {
                Key::Char('y' | 'Y') => self.ask(Question::End(ending)),
                Key::Char('n' | 'N' | 'q') | Key::Escape => Vec::new(),
                // Another key is no answer.
                _ => self.keep(Popup::Confirm { ending, text }),
            },
            Popup::Sort(index) => self.key_of_sorts(index, key),
            Popup::Filter { kind, editor, .. } => self.key_of_filter(kind, editor, key),
        }
    }

    fn key_of_sorts(&mut self, index: usize, key: Key) -> Vec<Effect> {
        let Some(kind) = self.kind() else {
            return Vec::new();
        };
        let walk = self.walk_of(kind);
        let last = walk.sorts.len().saturating_sub(1);
        match as_arrow(key) {
            Key::Up => self.keep(Popup::Sort(index.saturating_sub(1))),
            Key::Down => self.keep(Popup::Sort((index + 1).min(last))),
            Key::Home => self.keep(Popup::Sort(0)),
            Key::End => self.keep(Popup::Sort(last)),
            Key::Enter => {
                walk.sort_by(index);
                self.ask_for_screen()
            }
            Key::Escape | Key::Char('q' | 's') => Vec::new(),
            _ => self.keep(Popup::Sort(index)),
        }
    }

    fn key_of_filter(&mut self, kind: Kind, mut editor: Editor, key: Key) -> Vec<Effect> {
        match key {
            Key::Escape => Vec::new(),
            Key::Enter => match filter::parse(kind, &editor.text()) {
                Ok(pairs) => {
                    self.filter(kind, editor.text(), pairs);
                    self.ask_for_screen()
                }
                Err(wrong) => self.keep(Popup::Filter {
                    kind,
                    editor,
                    wrong: Some(wrong),
                }),
            },
            key => {
                editor.take(key);
                self.keep(Popup::Filter {
                    kind,
                    editor,
                    wrong: None,
                })
            }
        }
    }

    fn keep(&mut self, popup: Popup) -> Vec<Effect> {
        self.popup = Some(popup);
        Vec::new()
    }
}

/// vi's letters for the arrows.
fn as_arrow(key: Key) -> Key {
    match key {
        Key::Char('j') => Key::Down,
        Key::Char('k') => Key::Up,
        Key::Char('g') => Key::Home,
        Key::Char('G') => Key::End,
        Key::Char(' ') | Key::Control('f') => Key::PageDown,
        Key::Control('b') => Key::PageUp,
        key => key,
    }
}

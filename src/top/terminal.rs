//! The terminal: taken over, given back, and given back whatever happens.

use super::key::Key;
use super::model::Model;
use super::theme::Theme;
use super::view::{self, Seen};
use crossterm::cursor::Show;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, terminal};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm;
use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::thread;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Keys that may wait; a faster typist waits for the terminal.
const KEYS_MAX: usize = 64;

pub(super) enum Input {
    Key(Key),
    /// The window has another size.
    Resized,
}

/// The terminal in raw mode on its alternate screen, until this is dropped.
pub(super) struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        restore_on_panic();
        let entered = take().and_then(|()| ratatui::Terminal::new(CrosstermBackend::new(stdout())));
        if entered.is_err() {
            give_back();
        }
        Ok(Self { terminal: entered? })
    }

    pub(super) fn draw(&mut self, model: &Model, theme: Theme) -> io::Result<Seen> {
        let mut seen = Seen::default();
        self.terminal.draw(|frame| {
            seen = view::draw(model, theme, frame.buffer_mut());
            if let Some(cursor) = seen.cursor {
                frame.set_cursor_position(cursor);
            }
        })?;
        Ok(seen)
    }

    /// Forgets what the terminal shows, so that the next drawing writes everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal for its cursor, and would wait for the thread of keys to tell it.
        let area = self.terminal.size()?.into();
        self.terminal.resize(area)
    }

    /// Gives the terminal back for as long as `meanwhile` takes.
    pub(super) fn leave_for(&mut self, meanwhile: impl FnOnce()) -> io::Result<()> {
        give_back();
        meanwhile();
        take()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// A terminal that is gone needs nothing back.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A message of a panic must be read on the ordinary screen, with lines that end.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

pub(super) fn size() -> Option<(u16, u16)> {
    terminal::size().ok()
}

/// Keys and sizes, read on a thread of their own: it ends with the process, or when nobody listens any more.
pub(super) fn inputs() -> io::Result<Receiver<Input>> {
    let (sender, inputs) = channel(KEYS_MAX);
    thread::Builder::new()
        .name("relayd-keys".to_owned())
        .spawn(move || read(&sender))?;
    Ok(inputs)
}

fn read(sender: &Sender<Input>) {
    while let Ok(event) = event::read() {
        let input = match event {
            Event::Key(event) => key(event).map(Input::Key),
            Event::Resize(..) => Some(Input::Resized),
            Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
        };
        if input.is_some_and(|input| sender.blocking_send(input).is_err()) {
            return;
        }
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char(char) if control => Key::Control(char.to_ascii_lowercase()),
        KeyCode::Char(char) => Key::Char(char),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}

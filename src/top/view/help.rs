//! What keys and columns mean.

use super::Look;
use crate::top::text::{cut, left};
use ratatui::text::{Line, Span};

const KEYS: &[(&str, &str)] = &[
    ("q  Ctrl-C", "leave"),
    ("Esc", "back to the allocations"),
    (
        "↑ ↓ j k",
        "one row up or down; at the edge to the next page",
    ),
    ("PgUp PgDn Home End", "a page; to the first, to the last"),
    ("Enter", "streams, permissions, channels and history of one"),
    ("s", "choose what to sort by"),
    ("<  >", "sort by the one before, by the next"),
    ("r", "the other way round"),
    ("/", "filter: user, transport, client, relayed, peer"),
    ("x  K  Del", "end the selected one, after a question"),
    ("a t u d", "allocations, tunnels, upstreams, drops"),
    ("p", "pause and go on"),
    ("+  -", "ask less often, more often"),
    ("Ctrl-L  Ctrl-Z", "draw anew, suspend"),
];

const WORDS: &[(&str, &str)] = &[
    ("c|p", "side of the client | side of the peer"),
    ("to peer, to client", "bits a second, relayed payload"),
    ("loss", "of RTP packets in the last 10 s"),
    ("jitter, rtt", "milliseconds"),
    ("trouble", "0 to 100, its cause and its side"),
    ("cpu", "processors in use"),
    ("-", "not measured, or an older server"),
];

pub(super) fn lines(look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", look.theme.head())];
    lines.extend(KEYS.iter().map(|pair| line(*pair, look)));
    lines.push(Line::default());
    lines.push(Line::styled("Words", look.theme.head()));
    lines.extend(WORDS.iter().map(|pair| line(*pair, look)));
    lines
}

fn line((name, meaning): (&'static str, &'static str), look: Look) -> Line<'static> {
    let columns = if look.width < 60 { 12 } else { 20 };
    let room = look.width.saturating_sub(columns + 3);
    Line::from(vec![
        Span::raw("  "),
        Span::styled(left(name, columns), look.theme.head()),
        Span::raw(" "),
        Span::raw(cut(meaning, room)),
    ])
}

//! What each screen looks like, as text in `screens/`. With `RELAYD_UPDATE_SCREENS=1` the files are written anew.

use super::fixtures::{allocations, answer_all, busy, empty, one, read, stats, tunnels};
use crate::top::client::{Answer, Trouble};
use crate::top::key::Key;
use crate::top::model::{Effect, Model, Screen};
use crate::top::once::lines;
use crate::top::question::Question;
use crate::top::text::Clean;
use crate::top::theme::Theme;
use crate::top::view::draw;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

fn drawn(model: &Model, (width, height): (u16, u16), theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no I/O");
    let frame = terminal.draw(|frame| {
        let _ = draw(model, theme, frame.buffer_mut());
    });
    frame.expect("no I/O").buffer.clone()
}

fn text(model: &Model, size: (u16, u16)) -> String {
    lines(&drawn(model, size, Theme::Colours)).join("\n") + "\n"
}

fn press(model: &mut Model, keys: &[Key]) {
    for key in keys {
        let asked = model.key(*key);
        answer_all(model, asked, 4);
    }
}

#[track_caller]
fn same(name: &str, model: &Model, size: (u16, u16)) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/top/tests/screens")
        .join(format!("{name}.txt"));
    let shown = text(model, size);
    if std::env::var_os("RELAYD_UPDATE_SCREENS").is_some() {
        std::fs::write(&file, &shown).expect("the screens can be written");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "{name} looks different:\n{shown}");
}

#[test]
fn the_allocations_are_shown_with_what_there_is_room_for() {
    let model = busy();
    same("allocations-132x30", &model, (132, 30));
    same("allocations-80x24", &model, (80, 24));
    same("allocations-40x10", &model, (40, 10));
}

/// README's picture is no drawing.
#[test]
fn the_readme_shows_what_is_shown() {
    let shown = text(&busy(), (100, 24));
    let shown: String = shown
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.to_owned() + "\n")
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("README.md is there");
    assert!(
        readme.contains(&format!("```text\n{shown}```\n")),
        "README.md is to have\n{shown}"
    );
}

#[test]
fn one_allocation_is_shown_with_streams_and_history() {
    let mut model = busy();
    press(&mut model, &[Key::Enter]);
    let asked = model.tick();
    answer_all(&mut model, asked, 6);
    same("detail-100x60", &model, (100, 60));
    same("detail-40x10", &model, (40, 10));
}

#[test]
fn the_other_screens_look_as_they_should() {
    for (key, name) in [
        ('t', "tunnels"),
        ('u', "upstreams"),
        ('d', "drops"),
        ('?', "help"),
    ] {
        let mut model = busy();
        press(&mut model, &[Key::Char(key)]);
        same(&format!("{name}-100x30"), &model, (100, 30));
        same(&format!("{name}-40x10"), &model, (40, 10));
    }
}

#[test]
fn questions_to_the_user_are_boxes_and_a_line() {
    let mut model = busy();
    press(&mut model, &[Key::Char('s'), Key::Down]);
    same("sorts-80x24", &model, (80, 24));
    press(&mut model, &[Key::Escape, Key::Down, Key::Char('x')]);
    same("confirm-80x24", &model, (80, 24));
    same("confirm-40x10", &model, (40, 10));
    press(&mut model, &[Key::Char('n'), Key::Char('/')]);
    for char in "usr=bob".chars() {
        press(&mut model, &[Key::Char(char)]);
    }
    same("filter-80x24", &model, (80, 24));
    press(&mut model, &[Key::Enter]);
    same("filter-wrong-80x24", &model, (80, 24));
}

/// A server from before `/stats`, `/history` and quality: version, drain and the list.
#[test]
fn what_an_older_server_lacks_is_a_dash() {
    let mut model = empty();
    let asked = model.tick();
    for effect in asked {
        let Effect::Ask(question) = effect else {
            continue;
        };
        let answer = match &question {
            Question::Stats => {
                let drain = json!({"time": 1.0, "uptime_s": 7.0, "draining": true, "stopping": false, "left": {"allocations": 4, "requests": 0, "tunnels": 1, "connections": 2}});
                let version = json!({"version": "0.0.9"});
                Answer::Stats(Box::new(crate::top::answers::Stats::of_older(
                    read(version),
                    read(drain),
                )))
            }
            Question::Allocations(_) => {
                let mut page = allocations(0);
                for one in page["allocations"].as_array_mut().expect("a list") {
                    one.as_object_mut().expect("an object").remove("quality");
                }
                Answer::Allocations(read(page))
            }
            other => panic!("{other:?}"),
        };
        let more = model.take(&question, Ok(answer));
        for effect in more {
            if let Effect::Ask(Question::History) = effect {
                assert!(
                    model
                        .take(&Question::History, Err(Trouble::NotFound))
                        .is_empty()
                );
            }
        }
    }
    assert!(model.link.trouble.is_none());
    same("older-120x24", &model, (120, 24));
}

#[test]
fn a_server_that_is_away_or_refuses_is_told_of_with_the_age_of_the_data() {
    let mut model = busy();
    model.now = Duration::from_secs(14);
    let reason = Clean::new("cannot connect to 127.0.0.1:9641: Connection refused (os error 111)");
    model.take(&Question::Stats, Err(Trouble::Away(reason)));
    same("away-100x24", &model, (100, 24));
    let mut model = empty();
    model.take(
        &Question::Stats,
        Err(Trouble::Unauthorized { with_token: false }),
    );
    let shown = text(&model, (160, 10));
    assert!(
        shown.contains("no data yet: the server wants its admin.token: give --token-file FILE"),
        "{shown}"
    );
}

#[test]
fn every_screen_is_drawn_at_every_size() {
    for screen in screens() {
        for model in [empty(), busy()] {
            let mut model = model;
            screen(&mut model);
            for width in [1, 2, 3, 5, 9, 10, 20, 39, 40, 57, 79, 80, 99, 100, 133, 250] {
                for height in [1, 2, 3, 4, 5, 8, 10, 16, 23, 24, 60] {
                    drawn(&model, (width, height), Theme::Colours);
                }
            }
        }
    }
}

fn screens() -> Vec<fn(&mut Model)> {
    vec![
        |_| (),
        |model| press(model, &[Key::Enter]),
        |model| press(model, &[Key::Char('t')]),
        |model| press(model, &[Key::Char('u')]),
        |model| press(model, &[Key::Char('d')]),
        |model| press(model, &[Key::Char('?')]),
        |model| press(model, &[Key::Char('s'), Key::End]),
        |model| press(model, &[Key::Char('x')]),
        |model| press(model, &[Key::Char('/'), Key::Char('王')]),
    ]
}

/// Every text that a server can send.
#[test]
fn nothing_that_a_server_says_reaches_the_terminal_as_a_command() {
    let evil = "a\x1b[2J\x1b]0;owned\x07\u{9b}31m\r\n\u{202e}\u{2066}b\u{0}\u{7f}";
    let spoil = |mut value: Value| {
        spoil(&mut value, evil);
        value
    };
    for screen in screens() {
        let mut model = empty();
        for after_s in [0, 2] {
            let list = Question::Allocations(model.allocations.walk.query());
            let tunnel_list = Question::Tunnels(model.tunnels.walk.query());
            model.take(
                &Question::Stats,
                Ok(Answer::Stats(Box::new(read(spoil(stats(after_s)))))),
            );
            model.take(
                &list,
                Ok(Answer::Allocations(read(spoil(allocations(after_s))))),
            );
            model.take(
                &tunnel_list,
                Ok(Answer::Tunnels(read(spoil(tunnels(after_s))))),
            );
        }
        model.open(17);
        model.take(
            &Question::Allocation(17),
            Ok(Answer::Allocation(Box::new(read(spoil(one(2)))))),
        );
        if !matches!(model.screen, Screen::Detail) {
            panic!("the detail is open");
        }
        let detail = drawn(&model, (120, 60), Theme::Colours);
        model.show(Screen::Allocations);
        screen(&mut model);
        let refused = Trouble::Refused {
            status: 500,
            message: Clean::new(evil),
        };
        model.take(&Question::Stats, Err(refused));
        for buffer in [detail, drawn(&model, (200, 40), Theme::Colours)] {
            for cell in buffer.content() {
                let harmless = |char: char| {
                    !char.is_control()
                        && !('\u{202a}'..='\u{202e}').contains(&char)
                        && !('\u{2066}'..='\u{2069}').contains(&char)
                };
                assert!(cell.symbol().chars().all(harmless), "{:?}", cell.symbol());
            }
        }
    }
}

fn spoil(value: &mut Value, evil: &str) {
    match value {
        // The cursor goes back to the server only, and escaped.
        Value::String(text) => text.push_str(evil),
        Value::Array(all) => all.iter_mut().for_each(|one| spoil(one, evil)),
        Value::Object(map) => {
            let old = std::mem::take(map);
            for (name, mut value) in old {
                spoil(&mut value, evil);
                // A key that is a label, not a field.
                let is_label = value.is_number() && !["packets", "bytes"].contains(&name.as_str());
                if is_label {
                    map.insert(format!("{name}{evil}"), value.clone());
                }
                map.insert(name, value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

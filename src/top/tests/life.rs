//! Keys and answers in, questions out.

use super::fixtures::{answer_all, busy, empty};
use crate::top::client::{Answer, Trouble};
use crate::top::key::Key;
use crate::top::model::{Effect, Model, Popup, Screen};
use crate::top::question::{Ending, Question};
use crate::top::rates::Rates;
use crate::top::text::Clean;
use crate::top::view::Seen;
use std::time::Duration;

fn asked(effects: &[Effect]) -> Vec<String> {
    let questions = effects.iter().filter_map(|effect| match effect {
        Effect::Ask(question) => Some(format!("{} {}", question.method(), question.target())),
        Effect::Quit | Effect::Suspend | Effect::Redraw => None,
    });
    questions.collect()
}

fn away() -> Trouble {
    Trouble::Away(Clean::new("nobody"))
}

#[test]
fn at_each_interval_only_what_is_seen_is_asked_for() {
    let mut model = empty();
    model.saw(Seen {
        rows: 17,
        ..Seen::default()
    });
    let list = "GET /allocations?sort=trouble&order=desc&limit=17";
    assert_eq!(asked(&model.tick()), ["GET /stats", list]);
    assert_eq!(asked(&model.tick()), [""; 0], "both are under way");
    let mut model = busy();
    let effects = model.key(Key::Enter);
    assert_eq!(asked(&effects), ["GET /allocations/17"]);
    answer_all(&mut model, effects, 4);
    assert_eq!(asked(&model.tick()), ["GET /stats", "GET /allocations/17"]);
    let mut model = busy();
    let effects = model.key(Key::Char('u'));
    assert_eq!(asked(&effects), [""; 0]);
    assert_eq!(asked(&model.tick()), ["GET /stats"]);
}

#[test]
fn ending_needs_a_yes_to_a_question_that_names_it() {
    let mut model = busy();
    model.key(Key::Down);
    assert_eq!(model.key(Key::Char('x')), []);
    let named = |model: &Model| match &model.popup {
        Some(Popup::Confirm { text, .. }) => text.clone(),
        _ => String::new(),
    };
    let question =
        "End allocation 4711 of 1800003600:bob@example.com, tls from [2001:db8:1:2:3:4:5:6]:51234?";
    assert_eq!(named(&model), question);
    assert_eq!(model.key(Key::Enter), [], "Enter is no yes");
    assert_eq!(named(&model), question);
    assert_eq!(model.key(Key::Char('n')), []);
    assert!(model.popup.is_none());
    model.key(Key::Delete);
    // What is selected may have changed by then.
    model.allocations.walk.go(Key::Home);
    let effects = model.key(Key::Char('y'));
    assert_eq!(asked(&effects), ["DELETE /allocations/4711"]);
    answer_all(&mut model, effects, 4);
    assert_eq!(model.notice(), Some("allocation 4711 has ended"));
    let end = Question::End(Ending::Allocation(4711));
    model.take(&end, Err(Trouble::NotFound));
    assert_eq!(model.notice(), Some("allocation 4711 had ended already"));
    model.take(&end, Err(away()));
    assert_eq!(
        model.notice(),
        Some("allocation 4711 was not ended: nobody")
    );
    model.now += Duration::from_secs(60);
    assert_eq!(model.notice(), None);
}

/// Another process behind the same address: its IDs begin anew, so what was chosen may be somebody else's.
#[test]
fn after_a_restart_nothing_is_ended_that_was_chosen_before() {
    // Restarted a moment ago, and up for longer than the one before.
    for uptime_s in [1, 50_000] {
        let restarted = || {
            let mut stats = super::fixtures::stats(4);
            stats["uptime_s"] = uptime_s.into();
            Answer::Stats(Box::new(super::fixtures::read(stats)))
        };
        let mut model = busy();
        model.key(Key::Char('x'));
        assert!(model.popup.is_some());
        let effects = model.take(&Question::Stats, Ok(restarted()));
        assert!(model.popup.is_none());
        assert_eq!(model.notice(), Some("the server has started anew"));
        assert_eq!(model.numbers.rates, Rates::default());
        assert!(model.key(Key::Char('x')).is_empty() && model.popup.is_none());
        let list = "GET /allocations?sort=trouble&order=desc&limit=5".to_owned();
        assert!(asked(&effects).contains(&list), "{effects:?}");

        let mut model = busy();
        let effects = model.key(Key::Enter);
        answer_all(&mut model, effects, 4);
        model.key(Key::Char('x'));
        model.take(&Question::Stats, Ok(restarted()));
        assert!(model.popup.is_none());
        assert!(model.detail.as_ref().is_some_and(|detail| detail.has_ended));
    }
}

/// The answer about an allocation may come before the numbers.
#[test]
fn an_allocation_of_another_process_is_not_taken_for_the_one_that_is_shown() {
    let mut model = busy();
    let effects = model.key(Key::Enter);
    answer_all(&mut model, effects, 4);
    let mut other = super::fixtures::one(6);
    other["uptime_s"] = 1.into();
    other["allocation"]["user"] = "mallory".into();
    let other = Answer::Allocation(Box::new(super::fixtures::read(other)));
    model.take(&Question::Allocation(17), Ok(other));
    let detail = model.detail.as_ref().expect("it is shown");
    assert!(detail.has_ended);
    let shown = detail.allocation.as_ref().expect("it was answered");
    assert_eq!(shown.user.as_str(), "alice");
}

#[test]
fn a_tunnel_and_the_allocation_of_the_detail_are_ended_as_well() {
    let mut model = busy();
    let effects = model.key(Key::Char('t'));
    answer_all(&mut model, effects, 4);
    model.key(Key::Char('K'));
    assert_eq!(asked(&model.key(Key::Char('y'))), ["DELETE /tunnels/3"]);
    let mut model = busy();
    let effects = model.key(Key::Enter);
    answer_all(&mut model, effects, 4);
    model.key(Key::Char('x'));
    assert_eq!(
        asked(&model.key(Key::Char('Y'))),
        ["DELETE /allocations/17"]
    );
    model.take(&Question::Allocation(17), Err(Trouble::NotFound));
    assert!(model.detail.as_ref().is_some_and(|detail| detail.has_ended));
    model.key(Key::Char('x'));
    assert!(model.popup.is_none(), "it has ended");
    assert!(model.link.trouble.is_none());
}

#[test]
fn sorting_and_filtering_are_the_servers_work() {
    let mut model = busy();
    let effects = model.key(Key::Char('>'));
    assert_eq!(
        asked(&effects),
        ["GET /allocations?sort=bytes&order=desc&limit=5"]
    );
    let effects = model.key(Key::Char('r'));
    assert_eq!(
        asked(&effects),
        ["GET /allocations?sort=bytes&order=asc&limit=5"]
    );
    model.key(Key::Char('s'));
    for key in [Key::End, Key::Char('k'), Key::Char('k')] {
        model.key(key);
    }
    let effects = model.key(Key::Enter);
    assert_eq!(
        asked(&effects),
        ["GET /allocations?sort=user&order=asc&limit=5"]
    );
    model.key(Key::Char('/'));
    for char in "alice tls".chars() {
        model.key(Key::Char(char));
    }
    let effects = model.key(Key::Enter);
    let filtered = "GET /allocations?sort=user&order=asc&limit=5&user=alice&transport=tls";
    assert_eq!(asked(&effects), [filtered]);
    let effects = model.key(Key::Char('q'));
    assert_eq!(effects, [Effect::Quit], "no editor is open any more");
}

#[test]
fn a_server_that_does_not_know_a_sort_is_asked_for_another_and_a_bad_filter_is_told() {
    let mut model = empty();
    model.tick();
    let refused = |message: &str| Trouble::Refused {
        status: 400,
        message: Clean::new(message),
    };
    let list = Question::Allocations(model.allocations.walk.query());
    let effects = model.take(
        &list,
        Err(refused("`sort` cannot be \"trouble\"; accepted: id")),
    );
    assert_eq!(
        asked(&effects),
        ["GET /allocations?sort=bytes&order=desc&limit=5"]
    );
    assert_eq!(model.notice(), Some("this server does not sort by trouble"));
    let list = Question::Allocations(model.allocations.walk.query());
    assert_eq!(
        model.take(&list, Err(refused("`client` cannot be \"x\""))),
        []
    );
    assert_eq!(
        model.allocations.walk.refused.as_deref(),
        Some("`client` cannot be \"x\"")
    );
    assert!(model.link.trouble.is_none());
}

#[test]
fn an_answer_to_what_is_no_longer_asked_changes_nothing() {
    let mut model = busy();
    let former = Question::Allocations(model.allocations.walk.query());
    model.key(Key::Char('>'));
    model.allocations.rows.clear();
    model.take(&former, Ok(super::fixtures::answer(&former, 4)));
    assert!(model.allocations.rows.is_empty());
    model.take(&Question::Allocation(99), Ok(Answer::Ended));
    assert!(model.detail.is_none());
}

#[test]
fn while_the_server_is_away_one_question_is_asked_and_all_when_it_is_back() {
    let mut model = busy();
    let effects = model.tick();
    for effect in effects {
        if let Effect::Ask(question) = effect {
            model.take(&question, Err(away()));
        }
    }
    assert!(model.link.trouble.is_some());
    assert_eq!(model.age(), Some(Duration::ZERO));
    model.now += Duration::from_secs(5);
    assert_eq!(model.age(), Some(Duration::from_secs(5)));
    assert_eq!(asked(&model.tick()), ["GET /stats"]);
    let stats = Ok(super::fixtures::answer(&Question::Stats, 9));
    let effects = model.take(&Question::Stats, stats);
    assert_eq!(
        asked(&effects),
        ["GET /allocations?sort=trouble&order=desc&limit=5"]
    );
    assert!(model.link.trouble.is_none());
}

#[test]
fn a_pause_asks_nothing_by_itself_and_keys_still_do() {
    let mut model = busy();
    assert_eq!(model.key(Key::Char('p')), []);
    assert_eq!(model.tick(), []);
    assert_eq!(model.key(Key::Char('>')).len(), 1);
    assert_eq!(asked(&model.key(Key::Char('p')))[0], "GET /stats");
}

#[test]
fn the_interval_goes_by_steps_between_its_bounds() {
    let mut model = empty();
    for _ in 0..20 {
        model.key(Key::Char('+'));
    }
    assert_eq!(model.interval, Duration::from_secs(60));
    model.key(Key::Char('-'));
    assert_eq!(model.interval, Duration::from_secs(30));
    for _ in 0..20 {
        model.key(Key::Char('-'));
    }
    assert_eq!(model.interval, Duration::from_millis(500));
}

#[test]
fn escape_leads_back_and_scrolling_ends_with_the_last_line() {
    let mut model = busy();
    model.key(Key::Char('?'));
    model.saw(Seen {
        scroll_max: 5,
        page_lines: 3,
        ..Seen::default()
    });
    model.key(Key::PageDown);
    assert_eq!(model.scroll, 3);
    for key in [Key::Down, Key::Down, Key::Down, Key::End] {
        model.key(key);
        assert!(model.scroll <= 5);
    }
    model.key(Key::Escape);
    assert_eq!((model.screen, model.scroll), (Screen::Allocations, 0));
    model.key(Key::Escape);
    assert_eq!(model.screen, Screen::Allocations);
    assert_eq!(model.key(Key::Control('c')), [Effect::Quit]);
    assert_eq!(model.key(Key::Control('z')), [Effect::Suspend]);
}

#[test]
fn questions_under_way_are_bounded() {
    let mut model = empty();
    let mut under_way = 0;
    for id in 0..100 {
        under_way += model.open(id).len();
    }
    assert_eq!(under_way, 8);
}

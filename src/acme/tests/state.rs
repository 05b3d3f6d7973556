//! What is on disk: permissions, replacement as a whole, locks, files that are damaged.

use super::{Dir, settings};
use crate::acme::schedule::{History, Validity};
use crate::acme::state::{State, StateError, Turn};
use crate::secret::Secret;
use crate::sys::clock;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

fn history() -> History {
    let mut history = History::default();
    let names = ["a.example".to_owned()];
    history.succeed(clock::now(), Validity::new(0, 90), &names);
    history.begin(clock::now());
    history.fail();
    history
}

#[test]
fn folder_and_files_are_for_the_owner_alone_whatever_they_were() {
    let dir = Dir::new();
    let settings = settings(dir.0.join("not/there/yet"));
    let state = State::new(settings.folder());
    state
        .save_certificate(&Secret::new("one"))
        .expect("written");
    let file = settings.certificate_file();
    assert_eq!(mode(&settings.folder()), 0o700);
    assert_eq!(mode(&file), 0o600);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("own file");
    fs::set_permissions(settings.folder(), fs::Permissions::from_mode(0o755)).expect("own folder");
    let left = settings.folder().join("certificate.pem.new");
    fs::write(&left, "of a crash").expect("written");
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).expect("own file");
    state
        .save_certificate(&Secret::new("two"))
        .expect("written");
    assert_eq!(fs::read_to_string(&file).expect("read"), "two");
    assert_eq!((mode(&settings.folder()), mode(&file)), (0o700, 0o600));
    assert!(!left.exists());
    drop(state.lock());
    assert_eq!(mode(&settings.folder().join("lock")), 0o600);
}

#[test]
fn a_write_that_fails_leaves_the_file_of_before_and_nothing_beside_it() {
    let dir = Dir::new();
    let folder = dir.0.join("ca");
    let state = State::new(folder.clone());
    state.save_history(&History::default()).expect("written");
    // A directory cannot be replaced by a file: the rename is what fails.
    fs::create_dir(folder.join("certificate.pem")).expect("made");
    let error = state
        .save_certificate(&Secret::new("x"))
        .expect_err("it cannot be replaced");
    assert!(matches!(error, StateError::Write { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate.pem"), "{error}");
    let mut left: Vec<_> = fs::read_dir(&folder)
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["certificate.pem", "history.json"]);
}

#[test]
fn a_place_that_cannot_be_made_is_named() {
    let dir = Dir::new();
    let file = dir.0.join("file");
    fs::write(&file, "").expect("written");
    let state = State::new(file.join("ca"));
    let error = state
        .save_certificate(&Secret::new("x"))
        .expect_err("below a file");
    assert!(matches!(&error, StateError::Folder { path, .. } if *path == file.join("ca")));
    assert!(matches!(state.lock(), Turn::Unknown(_)));
}

#[test]
fn history_comes_back_as_it_was_and_a_damaged_one_is_an_error() {
    let dir = Dir::new();
    let state = State::new(dir.0.join("ca"));
    assert!(state.history().expect("nothing is wrong").is_none());
    let before = history();
    state.save_history(&before).expect("written");
    assert_eq!(state.history().expect("read"), Some(before));
    for damage in ["", "{", "[]", "{\"attempts\": [-1]}", "\u{0}\u{0}\u{0}"] {
        fs::write(dir.0.join("ca/history.json"), damage).expect("written");
        let error = state.history().expect_err(damage);
        assert!(error.to_string().contains("history.json"), "{error}");
        fs::write(dir.0.join("ca/account.json"), damage).expect("written");
        let Err(error) = state.account() else {
            panic!("{damage:?} is no account");
        };
        assert!(error.to_string().contains("account.json"), "{error}");
    }
}

#[test]
fn one_relayd_at_a_time_has_the_turn() {
    let dir = Dir::new();
    let (first, second) = (State::new(dir.0.join("ca")), State::new(dir.0.join("ca")));
    let held = first.lock();
    assert!(matches!(held, Turn::Held { .. }));
    assert!(matches!(second.lock(), Turn::Taken));
    drop(held);
    assert!(matches!(second.lock(), Turn::Held { .. }));
}

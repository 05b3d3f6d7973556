//! The schedule on a clock of its own, the state on disk, the words for failures.

mod failures;
mod schedule;
mod state;

use super::Settings;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) fn settings(state_dir: PathBuf) -> Settings {
    Settings {
        names: vec!["relay.example.com".to_owned()],
        contact: Vec::new(),
        directory: "https://ca.example:14000/dir/acme".to_owned(),
        state_dir,
        ca_file: None,
        external_account: None,
        profile: None,
    }
}

/// A directory of its own for one test.
pub(super) struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relayd-acme-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn each_directory_has_a_folder_of_its_own() {
    let at = |directory: &str| Settings {
        directory: directory.to_owned(),
        ..settings(PathBuf::from("/state"))
    };
    let folders: Vec<_> = super::DIRECTORIES
        .iter()
        .map(|(_, url)| at(url).folder())
        .collect();
    assert_eq!(
        folders,
        [
            "/state/acme-v02.api.letsencrypt.org-directory",
            "/state/acme-staging-v02.api.letsencrypt.org-directory"
        ]
        .map(PathBuf::from)
    );
    // Whatever the URL has, the folder is below the state directory.
    for odd in [
        "https://../..",
        "https://a/../../etc",
        "https://[::1]:1/%2e%2e/",
    ] {
        let folder = at(odd).folder();
        assert_eq!(
            folder.parent(),
            Some(std::path::Path::new("/state")),
            "{odd}"
        );
        assert!(folder.file_name().is_some(), "{odd}");
    }
}

#[test]
fn settings_show_no_external_key() {
    let settings = Settings {
        external_account: Some(super::ExternalAccount {
            key_id: "kid-1".to_owned(),
            key: crate::secret::Secret::new("s3cret"),
        }),
        ..settings(PathBuf::new())
    };
    let shown = format!("{settings:?}");
    assert!(
        shown.contains("kid-1") && !shown.contains("s3cret"),
        "{shown}"
    );
}

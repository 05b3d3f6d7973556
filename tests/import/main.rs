//! `relayd import-coturn` from its command line to a relayd that serves what came of it.

// Each test binary uses its own part of this.
#[allow(dead_code)]
#[path = "../start/network.rs"]
mod network;
#[path = "../start/process.rs"]
#[allow(dead_code)] // A server is dropped here, not stopped.
mod process;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod command;
mod guides;
mod serving;

use process::{Ended, relayd, run};
use std::path::PathBuf;
use web::relayd::Directory;

/// A directory with a turnserver.conf, and where its import goes.
struct Move {
    dir: Directory,
}

impl Move {
    fn of(text: &str) -> Self {
        let dir = Directory::new();
        dir.write("turnserver.conf", text);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    fn import(&self, arguments: &[&str]) -> Ended {
        let mut command = relayd();
        command
            .arg("import-coturn")
            .arg(self.path("turnserver.conf"));
        run(command.args(arguments).current_dir(&self.dir.0))
    }

    /// Into relay.toml, which `relayd check` then takes.
    fn import_and_check(&self) -> Ended {
        let ended = self.import(&["-o", "relay.toml"]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let check = run(relayd()
            .args(["check", "--config"])
            .arg(self.path("relay.toml")));
        assert_eq!(check.code, Some(0), "{check:#?}");
        ended
    }

    fn toml(&self) -> String {
        std::fs::read_to_string(self.path("relay.toml")).expect("the result")
    }
}

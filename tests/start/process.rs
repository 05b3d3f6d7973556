//! A run of the binary: to its end, or until it serves.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a test waits for what must come; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Every password and secret of these tests has this in it, so that nothing may print it.
pub const SECRET_MARK: &str = "s3cret";

pub fn relayd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    command.env_remove("RUST_LOG");
    command
}

/// A run that is over. No secret is in what it printed.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn assert_says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
    }

    /// The output of `check --json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs to the end; a process that serves instead fails the test.
pub fn run(command: &mut Command) -> Ended {
    let mut child = Running(spawn(command));
    let (done, both) = channel();
    let stdout = child.0.stdout.take().expect("piped");
    let stderr = child.0.stderr.take().expect("piped");
    let read = move |mut from: Box<dyn Read + Send>, index: usize| {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            let _ = done.send((index, String::from_utf8_lossy(&bytes).into_owned()));
        });
    };
    read(Box::new(stdout), 0);
    read(Box::new(stderr), 1);
    let mut texts = [String::new(), String::new()];
    for _ in 0..2 {
        let (index, text) = both
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{command:?} does not end"));
        texts[index] = text;
    }
    let [stdout, stderr] = texts;
    let ended = Ended {
        code: child.0.wait().expect("an exit").code(),
        stdout,
        stderr,
    };
    let both = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!both.contains(SECRET_MARK), "a secret in {ended:#?}");
    ended
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run that serves.
pub struct Serving {
    child: Running,
    lines: Receiver<String>,
    /// Standard output so far.
    pub seen: Vec<String>,
}

impl Serving {
    /// Returns once a line of standard output has `mark` in it.
    pub fn start(command: &mut Command, mark: &str) -> Self {
        command.stderr(Stdio::inherit());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut child = Running(child);
        let output = BufReader::new(child.0.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut serving = Self {
            child,
            lines,
            seen: Vec::new(),
        };
        serving.wait_for(mark);
        serving
    }

    pub fn wait_for(&mut self, mark: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {mark:?} in {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(mark) {
                return line;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends SIGTERM and waits for the end; returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        self.child.0.wait().expect("an exit").code()
    }
}

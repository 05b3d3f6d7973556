//! `relayd top` as the foreground process of a pseudo-terminal of its own.

use crate::screen::Screen;
use crate::support::client::PATIENCE;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub struct Pty {
    child: Child,
    master: File,
    /// The terminal's own side: what a shell would find afterwards.
    terminal: File,
    output: Receiver<Vec<u8>>,
    pub screen: Screen,
    before: Termios,
}

impl Pty {
    pub fn top(admin: SocketAddr, more: &[&str]) -> Self {
        let url = format!("http://{admin}");
        let mut arguments = vec!["top", "--url", &url, "--interval", "500ms"];
        arguments.extend(more);
        Self::start(&arguments, |_| ())
    }

    pub fn start(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("the name is text");
        let no_ctty = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag");
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(no_ctty)
            .open(name)
            .expect("the terminal opens");
        let (columns, rows) = (120, 30);
        tcsetwinsize(&master, size(columns, rows)).expect("it has a size");
        let before = tcgetattr(&terminal).expect("it is a terminal");
        let end = || terminal.try_clone().expect("a descriptor");
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(env!("CARGO_BIN_EXE_relayd"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("RELAYD_ADMIN_TOKEN")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        change(&mut command);
        let child = command.spawn().expect("setsid (package util-linux) starts");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: nobody has the terminal open any more.
            while let Ok(len) = reader.read(&mut buffer) {
                if len == 0 || sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            master,
            terminal,
            output,
            screen: Screen::new(usize::from(columns), usize::from(rows)),
            before,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it listens");
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.resize(usize::from(columns), usize::from(rows));
        tcsetwinsize(&self.master, size(columns, rows)).expect("it has a size");
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(
            sent.expect("kill runs").success(),
            "{name} to a process that is gone"
        );
    }

    /// Reads until the screen is as wanted.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, look: impl Fn(&Screen) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(&self.screen) {
                return found;
            }
            let late = begin.elapsed() > PATIENCE * 2;
            assert!(!late, "{what}:\n{}", self.screen.text());
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.screen.write(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the terminal is gone"),
            }
        }
    }

    #[track_caller]
    pub fn until_shown(&mut self, text: &str) -> String {
        self.until(&format!("{text:?} is not shown"), |screen| {
            let shown = screen.text();
            shown.contains(text).then_some(shown)
        })
    }

    #[track_caller]
    pub fn until_gone(&mut self, text: &str) -> String {
        self.until(&format!("{text:?} is still shown"), |screen| {
            let shown = screen.text();
            (!shown.contains(text)).then_some(shown)
        })
    }

    /// Whether keys reach the program one by one and unseen.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("a terminal").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// The exit status, when it has ended by itself; then the terminal is as it was before.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(
                begin.elapsed() < PATIENCE * 2,
                "it does not end:\n{}",
                self.screen.text()
            );
            // The terminal's buffer must not fill while nobody reads.
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(20)) {
                self.screen.write(&bytes);
            }
        };
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.write(&bytes);
        }
        self.assert_given_back();
        status
    }

    #[track_caller]
    pub fn assert_given_back(&self) {
        assert!(!self.screen.is_alternate, "the alternate screen is left");
        assert!(self.screen.is_cursor_shown, "the cursor is back");
        let after = tcgetattr(&self.terminal).expect("a terminal");
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        assert_eq!(after.control_modes, self.before.control_modes);
        assert_eq!(after.local_modes, self.before.local_modes);
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Ours by its handle; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

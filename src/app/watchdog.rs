//! The service manager's watchdog: fed from the main thread while the main thread, every media worker and every signalling
//! thread make progress, and not otherwise.
//!
//! It is a task of the main thread, so a main thread that is stuck feeds nothing either. The admin thread is left out: a
//! slow scrape is no reason to end calls.

use super::signalling::Pulse;
use crate::io::MediaHandle;
use crate::systemd::{Manager, Rounds, Step};
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::spawn_local;
use tokio::time::Instant;
use tracing::error;

/// Every thread that calls depend on, beside the main one.
pub struct Threads {
    pub media: MediaHandle,
    pub signalling: Vec<Arc<Pulse>>,
}

impl Threads {
    fn ask(&self) {
        self.media.ask_for_life();
        self.signalling.iter().for_each(|pulse| pulse.ask());
    }

    /// The names of those that owe an answer.
    fn silent(&self) -> impl Iterator<Item = String> {
        let media = self.media.silent_workers();
        let signalling = self.signalling.iter().enumerate();
        let signalling = signalling.filter(|(_, pulse)| pulse.is_owed());
        media
            .map(|index| format!("media-{index}"))
            .chain(signalling.map(|(index, _)| format!("signal-{index}")))
    }
}

/// Feeds the watchdog for as long as the main thread's tasks run; nothing if the manager has none.
pub fn spawn(manager: Rc<Manager>, threads: Threads) {
    let Some(interval) = manager.watchdog() else {
        return;
    };
    spawn_local(async move {
        let mut rounds = Rounds::new(interval, Instant::now().into_std());
        loop {
            tokio::time::sleep(rounds.wait(Instant::now().into_std())).await;
            let answered = threads.silent().next().is_none();
            match rounds.look(Instant::now().into_std(), answered) {
                Step::Ask => threads.ask(),
                Step::Wait => {}
                Step::Feed => manager.alive(),
                Step::Report => {
                    let silent: Vec<String> = threads.silent().collect();
                    error!(
                        threads = silent.join(","),
                        "stuck: the watchdog is not fed, and systemd will end relayd"
                    );
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Media;
    use crate::sys::rng::SystemRng;
    use crate::turn;
    use std::ffi::OsString;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Duration;
    use tokio::runtime::Builder;
    use tokio::task::LocalSet;

    fn media() -> MediaHandle {
        let turn = turn::Shared::new(&mut SystemRng);
        let media = Media::bind(&crate::io::Settings::default(), Arc::default(), turn);
        media.expect("no listener to bind").start()
    }

    /// A manager with a watchdog of 200 ms, and its end of the socket.
    fn manager(name: &str) -> (UnixDatagram, Rc<Manager>) {
        let name = format!("relayd-app-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        socket.set_nonblocking(true).expect("set");
        let variable = |asked: &str| match asked {
            "NOTIFY_SOCKET" => Some(OsString::from(format!("@{name}"))),
            "WATCHDOG_USEC" => Some("200000".into()),
            _ => None,
        };
        (socket, Rc::new(Manager::new(variable, 1)))
    }

    #[test]
    fn threads_that_answer_feed_the_watchdog() {
        let (socket, manager) = manager("fed");
        let (media, pulse) = (media(), Arc::new(Pulse::default()));
        let threads = Threads {
            media: media.clone(),
            signalling: vec![Arc::clone(&pulse)],
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            spawn_local(async move { pulse.answer().await });
            spawn(manager, threads);
            let socket = tokio::net::UnixDatagram::from_std(socket).expect("watched");
            for _ in 0..3 {
                let mut word = [0; 64];
                let received = socket.recv(&mut word);
                let received = tokio::time::timeout(Duration::from_secs(20), received).await;
                let len = received.expect("in time").expect("received");
                assert_eq!(&word[..len], b"WATCHDOG=1");
            }
        });
        media.stop();
        media.join();
    }

    /// On a clock that runs ahead: ten intervals without an answer, and not one word.
    #[test]
    fn a_thread_that_is_stuck_starves_the_watchdog() {
        let starves = |name: &str, threads: Threads, silent: &[&str]| {
            let (socket, manager) = manager(name);
            let runtime = Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build();
            threads.ask();
            LocalSet::new().block_on(&runtime.expect("a runtime"), async {
                let threads = Threads {
                    media: threads.media.clone(),
                    signalling: threads.signalling.clone(),
                };
                spawn(manager, threads);
                tokio::time::sleep(Duration::from_secs(2)).await;
            });
            assert_eq!(threads.silent().collect::<Vec<_>>(), silent);
            let error = socket.recv(&mut [0; 64]).expect_err("not a word");
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        };
        // A worker whose loop has ended never takes its mail.
        let ended = media();
        ended.stop();
        ended.join();
        let only_media = Threads {
            media: ended.clone(),
            signalling: Vec::new(),
        };
        starves("media", only_media, &["media-0"]);
        let both = Threads {
            media: ended,
            signalling: vec![Arc::default(), Arc::default()],
        };
        starves("signalling", both, &["media-0", "signal-0", "signal-1"]);
    }
}

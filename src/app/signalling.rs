//! The signalling threads: a `current_thread` runtime each, with listeners and an upstream pool of its own.

use crate::accepted::Accepted;
use crate::io::MediaHandle;
use crate::listen::{self, ConnectionInfo, Handler, HttpStream, ThreadListeners};
use crate::proxy::{self, Local, Proxy};
use anyhow::Context as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tracing::debug;

/// What every signalling thread needs.
#[derive(Clone)]
pub struct Shared {
    pub tls: listen::Tls,
    pub listen: Arc<listen::Shared>,
    pub proxy: Arc<Proxy>,
    pub media: MediaHandle,
    /// Turns true when the server stops accepting.
    pub stopped: watch::Receiver<bool>,
    /// Turns true when connections are to end with their request.
    pub draining: watch::Receiver<bool>,
    /// Turns true when what still runs is to end.
    pub ended: watch::Receiver<bool>,
}

/// How one thread is asked for a sign of life.
#[derive(Debug, Default)]
pub struct Pulse {
    owes: AtomicBool,
    asked: Notify,
}

impl Pulse {
    /// Wakes the thread once; it owes an answer until its runtime has come round to this.
    pub fn ask(&self) {
        self.owes.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    pub fn is_owed(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    pub async fn answer(&self) {
        loop {
            self.asked.notified().await;
            self.owes.store(false, Ordering::Relaxed);
        }
    }
}

/// Starts one thread; its runtime is made here, so that a failure is still a failure to start.
pub fn spawn(
    index: usize,
    listeners: ThreadListeners,
    changes: mpsc::Receiver<listen::Change>,
    shared: Shared,
    pulse: Arc<Pulse>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make a signalling thread's runtime")?;
    thread::Builder::new()
        .name(format!("signal-{index}"))
        .spawn(move || {
            LocalSet::new().block_on(&runtime, run(listeners, changes, shared, pulse));
            // A lookup before a dead DNS server holds its thread for as long as the system's resolver likes: not the stop.
            runtime.shutdown_background();
        })
        .context("cannot start a signalling thread")
}

async fn run(
    listeners: ThreadListeners,
    changes: mpsc::Receiver<listen::Change>,
    shared: Shared,
    pulse: Arc<Pulse>,
) {
    spawn_local(async move { pulse.answer().await });
    let mut ended = shared.ended.clone();
    let handler = Rc::new(Demuxed {
        local: Local::new(Arc::clone(&shared.proxy)),
        media: shared.media.clone(),
        draining: shared.draining.clone(),
    });
    let accepted = listen::run(
        listeners,
        changes,
        shared.tls,
        shared.listen,
        handler,
        shared.stopped,
    );
    tokio::select! {
        () = accepted => {}
        _ = ended.wait_for(|ended| *ended) => return,
    }
    // Requests and tunnels are tasks of this thread: it lives until they may be cut off.
    let _ = ended.wait_for(|ended| *ended).await;
}

struct Demuxed {
    local: Rc<Local>,
    media: MediaHandle,
    draining: watch::Receiver<bool>,
}

impl Handler for Demuxed {
    fn turn(&self, accepted: Accepted) {
        if let Err(refused) = self.media.take_over(accepted) {
            debug!(
                transport = refused.five_tuple.transport.label(),
                "no media worker takes the connection"
            );
        }
    }

    fn http(&self, stream: HttpStream, info: ConnectionInfo) {
        let ConnectionInfo {
            client,
            server,
            tls,
            h2,
            guard,
            ..
        } = info;
        let local = Rc::clone(&self.local);
        let draining = self.draining.clone();
        spawn_local(async move {
            let info = proxy::ConnectionInfo {
                client,
                server,
                tls,
                h2,
            };
            local.serve(stream, info, draining).await;
            drop(guard);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Media;
    use crate::listen::Listeners;
    use crate::proxy::{Addresses, Resolve};
    use crate::sys::rng::SystemRng;
    use crate::turn;
    use std::io::Write;
    use std::net::TcpStream;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// The system's resolver before a DNS server that does not answer: a thread that cannot be called off.
    struct Stuck {
        asked: Sender<()>,
        released: Arc<Mutex<Receiver<()>>>,
    }

    impl Resolve for Stuck {
        fn resolve(&self, _: &str) -> Addresses {
            let (asked, released) = (self.asked.clone(), Arc::clone(&self.released));
            Box::pin(async move {
                let lookup = tokio::task::spawn_blocking(move || {
                    asked.send(()).expect("the test listens");
                    let _ = released.lock().expect("one lookup").recv();
                });
                lookup.await?;
                Ok(Vec::new())
            })
        }
    }

    #[test]
    fn a_lookup_that_does_not_end_does_not_hold_up_the_stop() {
        let (asked, was_asked) = channel();
        let (release, released) = channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let settings = proxy::Settings {
            allow: vec!["api.example.com".parse().expect("a rule")],
            ..proxy::Settings::default()
        };
        let proxy = Proxy::with_resolver(settings, Arc::new(Stuck { asked, released }));
        let media = Media::bind(
            &crate::io::Settings::default(),
            Arc::default(),
            turn::Shared::new(&mut SystemRng),
        );
        let media = media.expect("no listener to bind").start();
        let settings = listen::Settings {
            tcp: vec![([127, 0, 0, 1], 0).into()],
            ..listen::Settings::default()
        };
        let listeners = Listeners::bind(&settings, 1).expect("bound");
        let address = listeners.tcp_addresses()[0];
        let (draining, drain_watch) = watch::channel(false);
        let (ended, end_watch) = watch::channel(false);
        let shared = Shared {
            tls: Arc::default(),
            listen: listen::Shared::new(&settings),
            proxy: proxy.expect("a proxy"),
            media: media.clone(),
            stopped: drain_watch.clone(),
            draining: drain_watch,
            ended: end_watch,
        };
        let listeners = listeners.into_threads().pop().expect("one thread");
        let (_change, changes) = mpsc::channel(1);
        let thread = spawn(0, listeners, changes, shared, Arc::default()).expect("started");

        let mut client = TcpStream::connect(address).expect("connected");
        let request = "GET /api.example.com/ HTTP/1.1\r\nHost: proxy.test\r\n\r\n";
        client.write_all(request.as_bytes()).expect("sent");
        was_asked.recv().expect("a lookup");
        draining.send_replace(true);
        ended.send_replace(true);
        let (joined, was_joined) = channel();
        thread::spawn(move || joined.send(thread.join().is_ok()));
        let ended = was_joined.recv_timeout(Duration::from_secs(20));
        drop(release);
        media.stop();
        media.join();
        assert_eq!(ended, Ok(true));
    }
}

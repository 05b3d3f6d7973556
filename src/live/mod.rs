//! `relayd check --live`: tests the running server that a configuration describes, and the ways out that it needs.
//!
//! Each part finds out facts, over the network and within deadlines, and turns them into rows by pure functions; `text` shows the
//! rows. A client of everything: of relayd itself it uses the configuration, the client's half of the admin listener, and what the
//! proxy uses to reach upstreams (its rules for addresses, its roots), so that both come to the same answer.
//!
//! Nothing leaves for a host that the configuration or the command line does not name. No secret is in any row. What it opens
//! it closes: allocations are deleted, also after Ctrl-C, SIGTERM and SIGHUP, within [`FAREWELL`].

mod certificate;
mod http;
mod machine;
mod outside;
mod own;
mod report;
mod server;
#[cfg(test)]
mod tests;
mod text;
mod turn;
mod upstreams;
mod web;

pub use outside::StunServer;
pub use report::{Counts, Part, Report, Row, Verdict};
pub use text::Style;

use crate::config::{Loaded, Machine, Severity};
use crate::proxy::{Resolve, SystemResolver};
use crate::sys::clock;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// After a signal, for the deletion of allocations and the end of what is under way.
const FAREWELL: Duration = Duration::from_secs(2);
/// Tests of one part at once.
const AT_ONCE: usize = 16;

/// What to test.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The file as it was named, or what stands for it.
    pub source: String,
    /// `None`: a first try.
    pub file: Option<PathBuf>,
    /// In any order; the server itself is always asked.
    pub parts: Vec<Part>,
    /// STUN servers for the view from outside.
    pub stun: Vec<StunServer>,
    /// For each step of a test: a name, a connection, a handshake, an answer.
    pub step: Duration,
}

/// What every part needs.
struct Setup {
    asked: Asked,
    loaded: Loaded,
    machine: Machine,
    resolver: Arc<dyn Resolve>,
    stop: watch::Receiver<bool>,
    notice: fn(&str),
}

/// Tests; returns when all is over, or shortly after Ctrl-C, SIGTERM or SIGHUP. The process can end at once then.
///
/// `notice` is told at once what the rest of the report has to wait for.
pub fn run(asked: Asked, loaded: Loaded, machine: Machine, notice: fn(&str)) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = watch::channel(false);
    let setup = Rc::new(Setup {
        asked,
        loaded,
        machine,
        resolver: Arc::new(SystemResolver),
        stop: stopped,
        notice,
    });
    let report = LocalSet::new().block_on(&runtime, until_told(setup, stop));
    // A lookup that hangs holds a thread; nobody waits for it.
    runtime.shutdown_background();
    report
}

async fn until_told(setup: Rc<Setup>, stop: watch::Sender<bool>) -> io::Result<Report> {
    let begun = clock::now();
    let mut signals = Signals::new()?;
    let mut work = std::pin::pin!(rows(&setup));
    let (rows, interrupted) = tokio::select! {
        rows = &mut work => (rows, false),
        () = signals.stopped() => {
            stop.send_replace(true);
            tokio::select! {
                rows = timeout(FAREWELL, work) => (rows.unwrap_or_default(), true),
                () = signals.stopped() => (Vec::new(), true),
            }
        }
    };
    let took = clock::now().instant().duration_since(begun.instant());
    Ok(Report::new(
        setup.asked.source.clone(),
        begun.unix_s(),
        took,
        interrupted,
        rows,
    ))
}

/// Who runs it may end it by Ctrl-C, a service manager or `timeout` by SIGTERM, a terminal that closes by SIGHUP.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn stopped(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// All rows, in the order in which they are shown.
async fn rows(setup: &Rc<Setup>) -> Vec<Row> {
    let server = server::ask(setup).await;
    let mut rows = vec![file_row(setup)];
    rows.extend(server.rows(setup));
    if let Some(advice) = server.how_to_start(setup) {
        (setup.notice)(&advice);
    }
    let wanted = |part: Part| setup.asked.parts.contains(&part);
    let server = Rc::new(server);
    let upstreams = async {
        match wanted(Part::Upstreams) || wanted(Part::Machine) {
            true => upstreams::check(setup).await,
            false => upstreams::Checked::default(),
        }
    };
    let turn = when(wanted(Part::Turn), turn::check(setup, &server));
    let web = when(wanted(Part::Proxy), web::check(setup, &server));
    let outside = when(wanted(Part::Stun), outside::check(setup, &server));
    let (upstreams, turn, web, outside) = tokio::join!(upstreams, turn, web, outside);
    let web = web.rows(&upstreams.rows);
    if wanted(Part::Upstreams) {
        rows.extend(upstreams.rows);
    }
    rows.extend(turn);
    rows.extend(web);
    rows.extend(outside);
    if wanted(Part::Machine) {
        rows.extend(machine::rows(setup, &upstreams.skews));
    }
    rows
}

async fn when<T: Default>(wanted: bool, part: impl Future<Output = T>) -> T {
    match wanted {
        true => part.await,
        false => T::default(),
    }
}

fn file_row(setup: &Setup) -> Row {
    let warning = |problem: &&crate::config::Problem| problem.severity == Severity::Warning;
    let warnings = setup.loaded.warnings.iter().filter(warning).count();
    let what = setup.asked.source.clone();
    match warnings {
        0 => Row::ok(Part::Server, what, "no problems"),
        1 => Row::warn(Part::Server, what, "1 warning", READ_WARNINGS),
        n => Row::warn(Part::Server, what, format!("{n} warnings"), READ_WARNINGS),
    }
}

const READ_WARNINGS: &str = "`relayd check` without --live shows the warnings, each with its line.";

impl Setup {
    /// `None` when the user wants to stop first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            done = work => Some(done),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }
}

/// Runs so many of the tests at once; their results in the order of the tests.
async fn each<T, F>(tests: Vec<F>, at_once: usize) -> Vec<T>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let permits = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (index, test) in tests.into_iter().enumerate() {
        let permits = Arc::clone(&permits);
        tasks.spawn_local(async move {
            // It is never closed.
            let _permit = permits.acquire_owned().await;
            (index, test.await)
        });
    }
    let mut done = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => done.push(result),
            // A test without a row would look as if there were nothing to test.
            Err(error) => {
                // Else it was aborted, which nobody does.
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

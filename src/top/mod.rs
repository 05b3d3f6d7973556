//! `relayd top`: the admin API in a terminal.
//!
//! Owns the model (state; keys and answers in, questions out), the view (the model as characters) and a thin driver between
//! them, the terminal and HTTP. It is a client like any other: what it shows it has asked for, what it ends it asks to be
//! ended, and no more of a list is asked for than is seen. Absent: knowledge of the server's inside; the mouse.

mod answers;
mod client;
mod drive;
mod editor;
mod filter;
mod key;
mod keys;
mod list;
mod model;
mod numbers;
mod once;
mod question;
mod rates;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;
mod trail;
mod units;
mod view;
mod walk;

pub use client::{Client, UrlError};

use model::Model;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use theme::Theme;

/// Columns of a snapshot, whatever it is written to.
const SNAPSHOT_COLUMNS: u16 = 132;

/// How to begin.
#[derive(Clone, Debug)]
pub struct Options {
    pub interval: Duration,
    pub sort: Option<String>,
    /// As it is typed at `/`.
    pub filter: Option<String>,
    theme: Theme,
}

/// Why it cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
    #[error("signals cannot be awaited")]
    Signals(#[source] io::Error),
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error("no snapshot of {place}: {reason}")]
    NoAnswer { place: String, reason: String },
    #[error("{0}")]
    Filter(String),
}

impl Options {
    /// `no_color`: the environment's NO_COLOR; `is_plain`: no colours whatever it is.
    pub fn new(interval: Duration, no_color: Option<&str>, is_plain: bool) -> Self {
        Self {
            interval,
            sort: None,
            filter: None,
            theme: Theme::new(no_color, is_plain),
        }
    }
}

/// What the list can be sorted by.
pub fn sorts() -> Vec<&'static str> {
    walk::ALLOCATION_SORTS
        .iter()
        .map(|sort| sort.name)
        .collect()
}

/// Whether a filter can be used.
pub fn check_filter(text: &str) -> Result<(), String> {
    filter::parse(filter::Kind::Allocations, text).map(|_| ())
}

/// Shows the server until the user leaves.
pub fn run(client: Arc<Client>, options: &Options) -> Result<(), Failure> {
    let model = model(&client, options)?;
    until_done(drive::drive(client, model, options))?
}

/// What the server does at the moment, with so many allocations at most, as text.
pub fn snapshot(client: &Arc<Client>, options: &Options, rows: u16) -> Result<String, Failure> {
    let model = model(client, options)?;
    let taken = once::snapshot(client, model, (SNAPSHOT_COLUMNS, rows));
    until_done(taken)?.map_err(|trouble| Failure::NoAnswer {
        place: client.place().to_string(),
        reason: trouble.sentence(),
    })
}

/// Whether the window's size can be asked: where it cannot, there is no terminal to draw on.
pub fn is_drawable() -> bool {
    terminal::size().is_some()
}

fn model(client: &Client, options: &Options) -> Result<Model, Failure> {
    let mut model = Model::new(client.place(), options.interval);
    if let Some(sort) = &options.sort {
        model.allocations.walk.sort_by_name(sort);
    }
    if let Some(text) = &options.filter {
        let kind = filter::Kind::Allocations;
        let pairs = filter::parse(kind, text).map_err(Failure::Filter)?;
        model.filter(kind, text.clone(), pairs);
    }
    Ok(model)
}

fn until_done<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let done = runtime.block_on(work);
    // A lookup of a name that hangs holds a thread, for as long as the resolver likes; nobody waits for it.
    runtime.shutdown_background();
    Ok(done)
}

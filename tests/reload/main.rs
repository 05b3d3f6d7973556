//! Reloads of the real binary, by SIGHUP and by `POST /reload`: what comes into force, what goes on untouched, what is refused
//! as a whole, and what is said about it.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod calls;
mod certificates;
mod changes;
mod load;
mod refusals;
mod server;

//! What a person meets who starts, stops, misconfigures and installs relayd: the real binary from its command line to
//! its exit code.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod check;
mod first_try;
mod health;
mod lines;
mod network;
mod notify;
mod packaging;
mod ports;
mod process;
mod readme;
mod refused;
mod site;
mod stop;

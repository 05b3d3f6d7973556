//! What a person meets who starts, stops, misconfigures and installs relayd: the real binary from its command line to
//! its exit code.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod check;
mod first_try;
mod health;
mod image;
mod lines;
mod network;
mod notify;
mod package;
mod packaging;
mod ports;
mod process;
mod readme;
mod refused;
mod root;
mod site;
mod stop;

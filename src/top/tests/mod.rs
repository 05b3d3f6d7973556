//! The model and the view together, without a terminal and without a server.

mod fixtures;
mod life;
mod screens;

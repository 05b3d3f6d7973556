//! relayd: a TURN/STUN server and an HTTPS/WSS reverse proxy in one process. ARCHITECTURE.md is the map.

pub mod accepted;
pub mod addr;
pub mod admin;
pub mod app;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod entropy;
pub mod external_ip;
pub mod first_try;
pub mod io;
pub mod ip_rules;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod page;
pub mod proxy;
pub mod secret;
pub mod stun;
pub mod sys;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod turn;

//! `POST /credentials` of the real binary: who gets a credential, that TURN takes it until it is over, and how the rest is refused.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/web/mod.rs"]
mod web;

mod http;
mod jwt;
mod tokens;
mod turn;

use serde_json::Value;
use web::PATIENCE;
use web::message::Message;
use web::relayd::{Relayd, Setup};

const TOKEN: &str = "an-application-token";
const SECRET: &str = "the shared secret of this test";
const ORIGIN: &str = "https://app.example.org";

/// A server with the endpoint on; `lines` are more of its table, `proxy` those of `[proxy]`.
fn serving(lines: &str, proxy: &str) -> Relayd {
    Relayd::start(Setup {
        proxy: proxy.to_owned(),
        tables: table(lines),
        auth_secret: SECRET.to_owned(),
        ..Setup::default()
    })
}

fn table(lines: &str) -> String {
    format!("[credentials]\ntokens = {TOKEN:?}\n{lines}\n")
}

/// One request with a bearer token.
fn ask(relayd: &Relayd, token: &str, body: &str) -> Message {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Origin", ORIGIN),
    ];
    relayd.request("POST", "/credentials", &headers, body.as_bytes())
}

/// User name and password of a good answer.
fn pair(answer: &Value) -> (String, String) {
    let text = |key: &str| answer[key].as_str().expect("text").to_owned();
    (text("username"), text("credential"))
}

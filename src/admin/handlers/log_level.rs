//! `/log-level`: how much is logged, until the next reload or restart.

use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::control::LogLevel;
use crate::admin::routes::Call;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    level: String,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    level: LogLevel,
    lasts_until: &'static str,
}

pub async fn show(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    answer(&call)
}

pub async fn set(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    let media_type = call.headers.get(CONTENT_TYPE);
    let media_type = media_type.map(|value| value.to_str().unwrap_or_default());
    let is_json = |value: &str| {
        let name = value.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("application/json")
    };
    // A page of another site cannot send this type without asking first, and is never allowed to.
    if !media_type.is_some_and(is_json) {
        return Err(Fault::UnsupportedMediaType);
    }
    let wish: Result<Wish, _> = serde_json::from_slice(&call.body);
    let wish =
        wish.map_err(|_| Fault::bad("the body is not of the form {\"level\": \"debug\"}"))?;
    let control = call.control()?;
    control.set_log_level(&wish.level).map_err(Fault::Bad)?;
    answer(&call)
}

fn answer(call: &Call) -> Result<Reply, Fault> {
    Ok(ok(&Answer {
        level: call.control()?.log_level(),
        lasts_until: "the next reload or restart",
    }))
}

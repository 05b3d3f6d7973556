//! `/history`: the last hours in steps.

use super::Stamp;
use crate::admin::answer::{Fault, Reply, respond};
use crate::admin::history::{self, Span};
use crate::admin::routes::Call;
use http::StatusCode;

pub async fn show(call: Call) -> Result<Reply, Fault> {
    let span = call.query.value("span", "1h, 6h or 24h", Span::parse)?;
    call.query.finish()?;
    let stamp = Stamp::now(call.control()?.as_ref());
    // A copy: the next sample may come while it is written down.
    let shown = call.state.history(span.unwrap_or_default());
    let shown = shown.ok_or(Fault::Unavailable)?;
    let text = history::write(&stamp, &shown).await;
    Ok(respond(StatusCode::OK, "application/json", text))
}

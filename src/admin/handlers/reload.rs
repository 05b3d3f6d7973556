//! `POST /reload`: reads the file again, and tells what has come of it.

use crate::admin::answer::{Fault, Reply, respond};
use crate::admin::routes::Call;
use http::StatusCode;

/// The report of `relayd check` with what has changed; 422: the file is not in force.
pub async fn reload(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    let reloaded = call.state.reload().await.ok_or(Fault::Unavailable)?;
    let status = match reloaded.ok {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(respond(status, "application/json", reloaded.report))
}

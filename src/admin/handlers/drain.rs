//! `/drain`: no new allocations, /readyz says 503, and everything that runs goes on until somebody stops the process or
//! takes it back. The proxy goes on, too: calls that run need their signalling.

use super::Stamp;
use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::control::Calls;
use crate::admin::routes::Call;
use serde::Serialize;

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    stamp: Stamp,
    draining: bool,
    /// The process ends when its calls have: it cannot be taken back.
    stopping: bool,
    left: Calls,
}

pub async fn show(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    answer(&call)
}

pub async fn begin(call: Call) -> Result<Reply, Fault> {
    set(call, true)
}

pub async fn take_back(call: Call) -> Result<Reply, Fault> {
    set(call, false)
}

fn set(call: Call, draining: bool) -> Result<Reply, Fault> {
    call.query.finish()?;
    let control = call.control()?;
    let carry_out = || control.set_draining(draining);
    match call.state.set_draining(draining, carry_out) {
        Ok(()) => answer(&call),
        // To drain a server that stops is to change nothing.
        Err(_) if draining => answer(&call),
        Err(_) => Err(Fault::Conflict(
            "the server is starting or stopping, which is not taken back",
        )),
    }
}

fn answer(call: &Call) -> Result<Reply, Fault> {
    let control = call.control()?;
    let (draining, stopping) = call.state.draining();
    Ok(ok(&Answer {
        stamp: Stamp::now(control.as_ref()),
        draining,
        stopping,
        left: control.calls(),
    }))
}

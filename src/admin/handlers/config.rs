//! `/config`: what is in force, secrets masked.

use crate::admin::answer::{Fault, Reply, ok};
use crate::admin::routes::Call;

pub async fn show(call: Call) -> Result<Reply, Fault> {
    call.query.finish()?;
    Ok(ok(&call.control()?.config()))
}
